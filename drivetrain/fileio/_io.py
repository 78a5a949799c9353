"""The functions of the room: each finds the storage of its path and asks it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ._backend import StorageBackend, Suffixes, local_path, scheme_of
from ._choice import backend_for
from ._local import LOCAL
from ._missing import missing_file


def get(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> bytes:
    """Read a file as bytes.

    Args:
        filepath: a local path or a URL.
        backend_args: options of the remote storage, handed to fsspec; None for local files.

    Raises:
        MissingFileError: no such file; the message names the nearest one.
        MissingPackageError: the package behind the URL's scheme is not installed.
    """
    return backend_for(filepath, backend_args).get(filepath)


def get_text(filepath: str | Path, encoding: str = "utf-8", backend_args: dict[str, Any] | None = None) -> str:
    """Read a file as text; every kind of line end becomes a line feed. Arguments and errors as in `get`."""
    text = get(filepath, backend_args).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def put(obj: bytes, filepath: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Write bytes to a file, with the folders above it; a local file is replaced whole (see `atomic_write`)."""
    backend_for(filepath, backend_args).put(obj, filepath)


def put_text(obj: str, filepath: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Write text to a file in UTF-8, as `put` does."""
    put(obj.encode("utf-8"), filepath, backend_args)


def exists(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> bool:
    """Whether a file or folder is there."""
    return backend_for(filepath, backend_args).exists(filepath)


def isdir(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> bool:
    """Whether `filepath` is a folder."""
    return backend_for(filepath, backend_args).isdir(filepath)


def isfile(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> bool:
    """Whether `filepath` is a file."""
    return backend_for(filepath, backend_args).isfile(filepath)


def join_path(filepath: str | Path, *filepaths: str | Path, backend_args: dict[str, Any] | None = None) -> str:
    """Join path parts: by the rules of the operating system, or by a slash for a URL.

    >>> join_path("s3://bucket/data/", "train", "a.json")
    's3://bucket/data/train/a.json'
    """
    return backend_for(filepath, backend_args).join_path(filepath, *filepaths)


def remove(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Delete a file.

    Raises:
        MissingFileError: there is none.
        IsFolderError: it is a folder.
    """
    backend_for(filepath, backend_args).remove(filepath)


def copyfile(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a file, also between storages; folders above `dst` are created.

    Args:
        src: the file.
        dst: the new file, or an existing folder to put it in.
        backend_args: options of the remote storage at either end.

    Returns:
        The path of the copy.

    Raises:
        MissingFileError: there is no `src`.
    """
    source, target = _end_of_copy(src, backend_args), _end_of_copy(dst, backend_args)
    if target.isdir(dst):
        dst = target.join_path(dst, os.path.basename(os.fspath(src)))
    if source is LOCAL and target is LOCAL:
        _copy_local(local_path(src), local_path(dst))
    else:
        target.put(source.get(src), dst)
    return dst


def _end_of_copy(path: str | Path, backend_args: dict[str, Any] | None) -> StorageBackend:
    """The storage of one end; options meant for a remote end are not forced on a local one."""
    remote = scheme_of(path) is not None or "backend" in (backend_args or {})
    return backend_for(path, backend_args if remote else None)


def _copy_local(src: str, dst: str) -> None:
    if not os.path.exists(src):
        raise missing_file(src)
    os.makedirs(os.path.dirname(os.path.abspath(dst)), exist_ok=True)
    shutil.copy(src, dst)


def list_dir_or_file(
    dir_path: str | Path,
    list_dir: bool = True,
    list_file: bool = True,
    suffix: Suffixes = None,
    recursive: bool = False,
    backend_args: dict[str, Any] | None = None,
) -> Iterator[str]:
    """List a folder, in sorted order. Files whose name begins with a dot are left out.

    Args:
        dir_path: the folder.
        list_dir: list folders.
        list_file: list files.
        suffix: list only files that end so; needs `list_dir=False`.
        recursive: go into folders.
        backend_args: options of the remote storage.

    Returns:
        An iterator of paths relative to `dir_path`.

    Raises:
        ArgumentTypeError: `suffix` together with `list_dir=True`.
        MissingFileError: no such folder (on first use of the iterator).
    """
    backend = backend_for(dir_path, backend_args)
    return backend.list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)


def get_local_path(
    filepath: str | Path, backend_args: dict[str, Any] | None = None
) -> AbstractContextManager[str | Path]:
    """A context with a local path to a file: its own path, or a temporary copy of a remote file.

    >>> with get_local_path("s3://bucket/clip.mp4") as path:  # doctest: +SKIP
    ...     video = read_video(path)
    """
    return backend_for(filepath, backend_args).get_local_path(filepath)
