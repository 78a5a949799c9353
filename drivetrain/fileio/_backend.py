"""What a storage can do, and which paths are URLs."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from drivetrain.errors import ArgumentTypeError

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


def local_path(path: str | Path) -> str:
    """`path` as a string the operating system takes: without `file://`."""
    text = os.fspath(path)
    found = _FILE_URL.match(text)
    return text[found.end() :] if found else text


class StorageBackend(ABC):
    """A place that holds files: the local disk, or a remote one."""

    @abstractmethod
    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""

    @abstractmethod
    def open_to_read(self, filepath: str | Path) -> IO[bytes]:
        """A file opened for reading bytes."""

    @abstractmethod
    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole, with the folders above it."""

    @abstractmethod
    def exists(self, filepath: str | Path) -> bool:
        """Whether a file or folder is there."""

    @abstractmethod
    def isdir(self, filepath: str | Path) -> bool:
        """Whether a folder is there."""

    @abstractmethod
    def isfile(self, filepath: str | Path) -> bool:
        """Whether a file is there."""

    @abstractmethod
    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts as one path."""

    @abstractmethod
    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""

    @abstractmethod
    def get_local_path(self, filepath: str | Path) -> AbstractContextManager[str | Path]:
        """A path on the local disk with the file's content."""

    @abstractmethod
    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffixes = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it, in sorted order; see `drivetrain.fileio.list_dir_or_file`."""
        if list_dir and suffix is not None:
            raise ArgumentTypeError(
                f"list_dir_or_file: suffix={suffix!r} selects files, so it needs list_dir=False (list_dir is True)."
            )
        return self._walk(dir_path, "", list_dir, list_file, suffix, recursive)

    def _walk(
        self, folder: str | Path, prefix: str, list_dir: bool, list_file: bool, suffix: Suffixes, recursive: bool
    ) -> Iterator[str]:
        for name, is_folder in self.scan(folder):
            path = f"{prefix}{name}"
            if not is_folder:
                if list_file and not name.startswith(".") and (suffix is None or name.endswith(suffix)):
                    yield path
                continue
            if list_dir:
                yield path
            if recursive:
                inside = self.join_path(folder, name)
                yield from self._walk(inside, f"{path}/", list_dir, list_file, suffix, recursive)
