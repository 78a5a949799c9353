"""What a storage can do, and which paths are URLs."""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from drivetrain.errors import ArgumentTypeError, MissingAttributeError

# Two letters at least, so that a Windows drive is no scheme; `simplecache::s3://` is fsspec's way to chain.
_URL = re.compile(r"(?:[A-Za-z][\w+.-]+::)*([A-Za-z][\w+.-]+)://")
_FILE_URL = re.compile(r"(?:file|local)://", re.IGNORECASE)

Suffixes = str | tuple[str, ...] | None


def scheme_of(path: str | Path) -> str | None:
    """The scheme of a URL, lower case (the last one of a chain); None for a local path, `file://` included.

    >>> scheme_of("s3://bucket/key"), scheme_of("C:/data"), scheme_of("file:///data")
    ('s3', None, None)
    """
    found = _URL.match(os.fspath(path))
    if found is None or _FILE_URL.match(found.group()):
        return None
    return found.group(1).lower()


def chain_of(url: str) -> tuple[str, str, str]:
    """A URL of fsspec as what goes before its first path, the path with its scheme, and what follows.

    >>> chain_of("simplecache::zip://a.txt::s3://bucket/b.zip")
    ('simplecache::', 'zip://a.txt', '::s3://bucket/b.zip')
    """
    links = url.split("::")
    at = next((i for i, link in enumerate(links) if "://" in link), 0)
    return "".join(f"{link}::" for link in links[:at]), links[at], "".join(f"::{link}" for link in links[at + 1 :])


def local_path(path: str | Path) -> str:
    """`path` as a string the operating system takes: without `file://`."""
    text = os.fspath(path)
    found = _FILE_URL.match(text)
    return text[found.end() :] if found else text


class BaseStorageBackend(ABC):
    """A place that holds files. Derive from it to bring your own, and make it known with `register_backend`.

    `get` and `get_text` are all that reading needs. A backend that also writes, lists or copies defines the methods of
    `LocalBackend` for it, by the same names; each function of this room calls the method that has its name.
    """

    _allow_symlink = False

    @property
    def allow_symlink(self) -> bool:
        """Whether the storage knows symbolic links."""
        return self._allow_symlink

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    @abstractmethod
    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""

    @abstractmethod
    def get_text(self, filepath: str | Path) -> str:
        """The content of a text file."""

    @contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """A path on the local disk with the file's content: a temporary copy, deleted when the block ends."""
        with tempfile.TemporaryDirectory(prefix="drivetrain-") as folder:
            copy = Path(folder, os.path.basename(os.fspath(filepath).rstrip("/")) or "file")
            copy.write_bytes(self.get(filepath))
            yield str(copy)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what a method that is missing would have been for."""
            needed = f", which drivetrain.fileio.{name} calls" if hasattr(LinkingStorage, name) else ""
            raise MissingAttributeError(f"the storage backend {type(self).__name__} has no {name!r}{needed}.")


class Storage(Protocol):
    """All that a storage may do; the functions of the room call it, and a backend has what it can."""

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The content of a text file."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole, with the folders above it."""

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text file whole, with the folders above it."""

    def exists(self, filepath: str | Path) -> bool:
        """Whether a file or folder is there."""

    def isdir(self, filepath: str | Path) -> bool:
        """Whether a folder is there."""

    def isfile(self, filepath: str | Path) -> bool:
        """Whether a file is there."""

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts as one path."""

    def get_local_path(self, filepath: str | Path) -> AbstractContextManager[str | Path]:
        """A path on the local disk with the file's content."""

    def copyfile(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file within the storage."""

    def copytree(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a folder within the storage."""

    def copyfile_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a local file here."""

    def copytree_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a local folder here."""

    def copyfile_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file to the local disk."""

    def copytree_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a folder to the local disk."""

    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""

    def rmtree(self, dir_path: str | Path) -> None:
        """Delete a folder with all that is in it."""

    def copy_if_symlink_fails(self, src: str | Path, dst: str | Path) -> bool:
        """Make `dst` a link to `src`, or a copy."""

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffixes = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it."""


class LinkingStorage(Storage, Protocol):
    """A storage that makes links, as object stores do."""

    def generate_presigned_url(self, url: str, client_method: str = "get_object", expires_in: int = 3600) -> str:
        """A link that opens a file without credentials, for a while."""


def text_of(storage: Storage, filepath: str | Path, encoding: str) -> str:
    """The content of a text file; a backend of a user's own need not take an encoding."""
    return storage.get_text(filepath) if encoding == "utf-8" else storage.get_text(filepath, encoding)


class Listable(Protocol):
    """What listing needs of a storage."""

    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts as one path."""


def listing(
    storage: Listable, folder: str | Path, list_dir: bool, list_file: bool, suffix: Suffixes, recursive: bool
) -> Iterator[str]:
    """Paths in a folder, relative to it, in sorted order, without files whose name begins with a dot.

    Raises:
        ArgumentTypeError: `suffix` together with `list_dir`.
    """
    if list_dir and suffix is not None:
        raise ArgumentTypeError(
            f"list_dir_or_file: suffix={suffix!r} selects files, so it needs list_dir=False (list_dir is True)."
        )
    return _listed(storage, folder, "", list_dir, (suffix or "") if list_file else None, recursive)


def _listed(
    storage: Listable,
    folder: str | Path,
    prefix: str,
    list_dir: bool,
    suffix: str | tuple[str, ...] | None,
    recursive: bool,
) -> Iterator[str]:
    for name, is_folder in storage.scan(folder):
        path = f"{prefix}{name}"
        if is_folder:
            if list_dir:
                yield path
            if recursive:
                inside = storage.join_path(folder, name)
                yield from _listed(storage, inside, f"{path}/", list_dir, suffix, recursive)
        elif suffix is not None and not name.startswith(".") and name.endswith(suffix):
            yield path


def files_under(storage: Listable, folder: str | Path, prefix: str = "") -> Iterator[str]:
    """Paths of all files in a folder and below, relative to it, those with a leading dot included."""
    for name, is_folder in storage.scan(folder):
        if is_folder:
            yield from files_under(storage, storage.join_path(folder, name), f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"
