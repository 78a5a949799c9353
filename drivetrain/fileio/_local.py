"""The local disk, through `os` and `open`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from drivetrain.errors import IsFolderError

from ._atomic import atomic_write
from ._backend import StorageBackend, local_path
from ._missing import missing_file


class LocalBackend(StorageBackend):
    """Files of this machine."""

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""
        with self.open_to_read(filepath) as file:
            return file.read()

    def open_to_read(self, filepath: str | Path) -> IO[bytes]:
        """A file opened for reading bytes."""
        path = local_path(filepath)
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise missing_file(path) from None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole: a reader sees the old one or the new one."""
        with atomic_write(local_path(filepath)) as file:
            file.write(obj)

    def exists(self, filepath: str | Path) -> bool:
        """Whether a file or folder is there."""
        return os.path.exists(local_path(filepath))

    def isdir(self, filepath: str | Path) -> bool:
        """Whether a folder is there."""
        return os.path.isdir(local_path(filepath))

    def isfile(self, filepath: str | Path) -> bool:
        """Whether a file is there."""
        return os.path.isfile(local_path(filepath))

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts as one path."""
        return os.path.join(local_path(filepath), *filepaths)

    def remove(self, filepath: str | Path) -> None:
        """Delete a file; a folder is refused."""
        path = local_path(filepath)
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsFolderError(f"remove takes a file, and {path!r} is a folder. shutil.rmtree deletes a folder.")
        try:
            os.remove(path)
        except FileNotFoundError:
            raise missing_file(path) from None

    @contextlib.contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """The path itself."""
        yield filepath if local_path(filepath) == os.fspath(filepath) else local_path(filepath)

    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""
        path = local_path(folder)
        try:
            with os.scandir(path) as entries:
                return sorted((entry.name, entry.is_dir()) for entry in entries)
        except FileNotFoundError:
            raise missing_file(path, "folder") from None


LOCAL = LocalBackend()
