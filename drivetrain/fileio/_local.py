"""The local disk, through `os` and `open`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from drivetrain.errors import IsFolderError, NotAFolderError

from ._atomic import atomic_write
from ._backend import BaseStorageBackend, Suffixes, listing, local_path
from ._missing import missing_file

_PIECE = 1 << 20
"""Bytes that a copy moves at a time."""


class LocalBackend(BaseStorageBackend):
    """Files of this machine, by path or `file://` URL. What it writes is written whole (see `atomic_write`)."""

    _allow_symlink = True

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""
        with self.open_to_read(filepath) as file:
            return file.read()

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The content of a text file; every kind of line end becomes a line feed."""
        return as_text(self.get(filepath), encoding)

    def open_to_read(self, filepath: str | Path) -> IO[bytes]:
        """A file opened for reading bytes."""
        path = local_path(filepath)
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise missing_file(path) from None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole, with the folders above it."""
        with atomic_write(local_path(filepath)) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text file whole, with the folders above it."""
        self.put(obj.encode(encoding), filepath)

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

    @contextlib.contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """The path itself."""
        yield filepath if local_path(filepath) == os.fspath(filepath) else local_path(filepath)

    def copyfile(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file, with its permissions; folders above `dst` are created.

        Args:
            src: the file.
            dst: the new file, or an existing folder to put it in.

        Returns:
            The path of the copy.
        """
        source, target = local_path(src), local_path(dst)
        if os.path.isdir(target):
            dst = target = os.path.join(target, os.path.basename(source))
        if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
            raise shutil.SameFileError(f"{source!r} and {target!r} are the same file.")
        with self.open_to_read(source) as read, atomic_write(target) as write:
            shutil.copyfileobj(read, write, _PIECE)
        shutil.copymode(source, target)
        return dst

    def copytree(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a folder with all that is in it.

        Args:
            src: the folder.
            dst: the new folder; a `FileExistsError` if there is one.

        Returns:
            `dst`.
        """
        source = local_path(src)
        if not os.path.exists(source):
            raise missing_file(source, "folder")
        shutil.copytree(source, local_path(dst))
        return dst

    def copyfile_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """The same as `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """The same as `copytree`."""
        return self.copytree(src, dst)

    def copyfile_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """The same as `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """The same as `copytree`."""
        return self.copytree(src, dst)

    def remove(self, filepath: str | Path) -> None:
        """Delete a file; a folder is refused."""
        path = local_path(filepath)
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsFolderError(f"remove takes a file, and {path!r} is a folder. rmtree deletes a folder.")
        try:
            os.remove(path)
        except FileNotFoundError:
            raise missing_file(path) from None

    def rmtree(self, dir_path: str | Path) -> None:
        """Delete a folder with all that is in it; a file is refused."""
        path = local_path(dir_path)
        if not os.path.lexists(path):
            raise missing_file(path, "folder")
        if not os.path.isdir(path) or os.path.islink(path):
            raise NotAFolderError(f"rmtree takes a folder, and {path!r} is none. remove deletes a file.")
        shutil.rmtree(path)

    def copy_if_symlink_fails(self, src: str | Path, dst: str | Path) -> bool:
        """Make `dst` a symbolic link to `src`, or where the disk knows none, a copy of the file or folder.

        Returns:
            Whether it is a link.
        """
        source, target = os.path.abspath(local_path(src)), local_path(dst)
        if os.path.islink(target):
            os.remove(target)
        try:
            os.symlink(source, target)
        except OSError:
            copy = self.copytree if os.path.isdir(source) else self.copyfile
            copy(source, target)
            return False
        return True

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffixes = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it, in sorted order; see `drivetrain.fileio.list_dir_or_file`."""
        return listing(self, dir_path, list_dir, list_file, suffix, recursive)

    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""
        path = local_path(folder)
        try:
            with os.scandir(path) as entries:
                return sorted((entry.name, entry.is_dir()) for entry in entries)
        except FileNotFoundError:
            raise missing_file(path, "folder") from None


LOCAL = LocalBackend()


def as_text(content: bytes, encoding: str = "utf-8") -> str:
    """Bytes as text, with line feeds for every kind of line end."""
    text = content.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
