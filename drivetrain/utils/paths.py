"""Paths of the local disk: make folders, link, list, find."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from drivetrain.errors import ArgumentTypeError, MissingFileError

_URL = re.compile(r"[A-Za-z][\w+.-]+://")


def is_filepath(x: Any) -> bool:
    """Whether `x` can name a file: a `str` or a `Path`."""
    return isinstance(x, (str, Path))


def fopen(filepath: str | Path, *args: Any, **kwargs: Any) -> IO[Any]:
    """Open a file; the further arguments are those of `open`.

    Raises:
        ArgumentTypeError: `filepath` is neither a `str` nor a `Path`.
    """
    return open(_checked("fopen", filepath), *args, **kwargs)


def check_file_exist(filename: str | Path, msg_tmpl: str = 'file "{}" does not exist') -> None:
    """Raise when there is no such file (a folder is none).

    Args:
        filename: the file.
        msg_tmpl: the message, with `{}` for the name.

    Raises:
        MissingFileError: there is no such file.
    """
    if not os.path.isfile(filename):
        raise MissingFileError(msg_tmpl.format(filename))


def mkdir_or_exist(dir_name: str | Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, where there is none; `~` is the home folder, an empty name does nothing.

    Raises:
        FileExistsError: a file has that name.
    """
    if os.fspath(dir_name):
        os.makedirs(os.path.expanduser(dir_name), mode=mode, exist_ok=True)


def symlink(src: str | Path, dst: str | Path, overwrite: bool = True, **kwargs: Any) -> None:
    """Make `dst` a symbolic link to `src`.

    Args:
        src: what the link points to, relative to the folder of `dst`.
        dst: the link.
        overwrite: replace a file or link that has that name.
        kwargs: passed to `os.symlink`.

    Raises:
        FileExistsError: `dst` is there and `overwrite` is False.
    """
    if overwrite and os.path.lexists(dst):
        os.remove(dst)
    os.symlink(src, dst, **kwargs)


def scandir(
    dir_path: str | Path,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    case_sensitive: bool = True,
) -> Iterator[str]:
    """List the files of a folder, in sorted order, without those whose name begins with a dot.

    Args:
        dir_path: the folder.
        suffix: list only files that end so.
        recursive: list the files of the folders inside as well.
        case_sensitive: whether the case of the suffix matters.

    Returns:
        An iterator of paths relative to `dir_path`.

    Raises:
        ArgumentTypeError: `dir_path` is no path, or `suffix` neither a string nor a tuple of strings.
        FileNotFoundError: no such folder (on first use of the iterator).
    """
    folder = os.fspath(_checked("scandir", dir_path))
    endings = (suffix,) if type(suffix) is str else suffix
    if endings is not None and (type(endings) is not tuple or any(type(ending) is not str for ending in endings)):
        raise ArgumentTypeError(f"suffix must be a string or a tuple of strings, got {suffix!r}.")
    if endings is not None and not case_sensitive:
        endings = tuple(ending.lower() for ending in endings)
    return _files_in(folder, "", endings, recursive, case_sensitive)


def _files_in(
    folder: str, prefix: str, endings: tuple[str, ...] | None, recursive: bool, case_sensitive: bool
) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_file(), entry.is_dir()) for entry in entries)
    for name, is_file, is_folder in found:
        if is_file and not name.startswith("."):
            if endings is None or (name if case_sensitive else name.lower()).endswith(endings):
                yield os.path.join(prefix, name)
        elif is_folder and recursive:
            inside = os.path.join(folder, name), os.path.join(prefix, name)
            yield from _files_in(*inside, endings, recursive, case_sensitive)


def is_abs(path: str | Path) -> bool:
    """Whether a path stands alone: absolute on this machine, or a URL such as `s3://bucket/key`."""
    text = os.fspath(path)
    return os.path.isabs(text) or _URL.match(text) is not None


def find_vcs_root(path: str | Path, markers: Sequence[str] = (".git",)) -> str | None:
    """The folder, `path` or one above it, that holds a version control marker; None where there is none.

    Args:
        path: a file or folder.
        markers: names of files or folders, one of which marks the root.
    """
    if not os.fspath(path):
        return None
    start = Path(os.path.abspath(path))
    folders = [start, *start.parents] if start.is_dir() else start.parents
    return next((str(folder) for folder in folders if any((folder / marker).exists() for marker in markers)), None)


def _checked(caller: str, path: Any) -> str | Path:
    if not is_filepath(path):
        raise ArgumentTypeError(f"{caller} needs a path, a str or a Path, got {path!r}.")
    checked: str | Path = path
    return checked
