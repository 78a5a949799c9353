"""Write a file so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from drivetrain.errors import ArgumentError, IsFolderError

_TEXT = {"w": True, "wt": True, "wb": False}


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing that takes the place of `path` when the block ends without an error.

    The bytes go to a hidden temporary file in the same folder (created if need be), are flushed to the disk, and the
    file is renamed over `path`; then the folder is flushed too. An error in the block removes the temporary file and
    leaves `path` as it was. A symbolic link stays one: the file it points to is replaced.

    Args:
        path: the local file to write.
        mode: 'wb' for bytes, 'w' for text in UTF-8.

    Yields:
        The open temporary file.

    Raises:
        ArgumentError: `mode` is neither.
        IsFolderError: `path` is a folder.
    """
    if mode not in _TEXT:
        raise ArgumentError(f"atomic_write takes the mode 'wb' (bytes) or 'w' (text), got {mode!r}.")
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsFolderError(f"cannot write the file {os.fspath(path)!r}: a folder stands there.")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = _temporary_name(target)
    try:
        with _open_new(temporary, text=_TEXT[mode]) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _take_place(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _temporary_name(target: str) -> str:
    folder, name = os.path.split(target)
    # Cut, so that the temporary name stays within the 255 bytes of a file system even when `name` just does.
    return os.path.join(folder, f".{name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _open_new(path: str, text: bool) -> IO[Any]:
    return open(path, "x", encoding="utf-8", newline="\n") if text else open(path, "xb")


def _take_place(temporary: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.copymode(target, temporary)
    os.replace(temporary, target)
    _flush_folder(os.path.dirname(target))


def _flush_folder(folder: str) -> None:
    """Make a rename in `folder` survive a power cut (POSIX; Windows cannot open a folder)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems refuse to flush a folder; the file itself is on the disk by then.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
