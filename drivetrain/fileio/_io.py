"""The functions of the room: each finds the storage of its path and asks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ._backend import LinkingStorage, Suffixes, text_of
from ._choice import backend_for


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
    return text_of(backend_for(filepath, backend_args), filepath, encoding)


def put(obj: bytes, filepath: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Write bytes to a file, with the folders above it; a local file is replaced whole (see `atomic_write`)."""
    backend_for(filepath, backend_args).put(obj, filepath)


def put_text(obj: str, filepath: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Write text to a file in UTF-8, as `put` does."""
    backend_for(filepath, backend_args).put_text(obj, filepath)


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


@contextmanager
def get_local_path(filepath: str | Path, backend_args: dict[str, Any] | None = None) -> Iterator[str | Path]:
    """A context with a local path to a file: its own path, or a temporary copy of a remote file.

    >>> with get_local_path("s3://bucket/clip.mp4") as path:  # doctest: +SKIP
    ...     video = read_video(path)
    """
    with backend_for(filepath, backend_args).get_local_path(filepath) as path:
        yield path


def rmtree(dir_path: str | Path, backend_args: dict[str, Any] | None = None) -> None:
    """Delete a folder with all that is in it.

    Raises:
        MissingFileError: there is none.
        NotAFolderError: it is a file.
    """
    backend_for(dir_path, backend_args).rmtree(dir_path)


def generate_presigned_url(
    url: str, client_method: str = "get_object", expires_in: int = 3600, backend_args: dict[str, Any] | None = None
) -> str:
    """A link that opens a file of an object store without credentials, for a while.

    Args:
        url: the file.
        client_method: what the link may be used for, as S3 names it: 'get_object', 'put_object'.
        expires_in: seconds until it stops working.
        backend_args: options of the storage.

    Raises:
        NotSupportedError: the storage makes no such links.
        MissingAttributeError: it is the local disk.
    """
    backend = cast("LinkingStorage", backend_for(url, backend_args))
    return backend.generate_presigned_url(url, client_method, expires_in)
