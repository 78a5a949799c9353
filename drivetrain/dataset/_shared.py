"""Arrays in memory that processes share: whoever is forked or spawned maps the same pages and gets no copy.

The memory is an anonymous file: a memfd on Linux, which needs no /dev/shm (64 MB in many containers), and an unlinked
temporary file elsewhere. It is gone when the last process that has it open is gone, killed or not. A process that is
being spawned is handed the open file; a pickle made for any other end holds the content.

Each process maps the file copy-on-write: writing into an array stays the matter of that process, as with memory that a
fork copied.
"""

from __future__ import annotations

import copy
import ctypes
import mmap
import os
import sys
import tempfile
import weakref
from contextlib import suppress
from multiprocessing import context, reduction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._node import the_one_of_this_node

SMALLEST = 100_000
"""Bytes up to which an array stays in the process's own memory: a copy is cheaper than an open file."""

_ALIGNMENT = 64
_BUFFER = 1 << 20
_MOST_FILES = 200  # a fork server hands over 252 open files at a time, and raises above


class Region:
    """A piece of memory that arrays lie in, shared where it has an open file.

    Args:
        fd: the open file, which the region closes when nobody needs it any more; None for memory of this process.
        memory: the content, where there is no file.
    """

    def __init__(self, fd: int | None, memory: Any = b"") -> None:
        self.fd = fd
        self.memory = memory if fd is None else mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
        if fd is not None:
            weakref.finalize(self, os.close, fd).atexit = False

    def array(self, kind: type[SharedArray], start: int, dtype: str, count: int) -> SharedArray:
        """The `count` entries from byte `start` on."""
        found = np.frombuffer(self.memory, dtype, count, start).view(kind)
        found._region, found._start = self, start
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Region:
        return Region(None, bytearray(self.memory)) if self.fd is None else Region(os.dup(self.fd))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.fd is None or not _can_be_handed(self.fd):
            return Region, (None, bytearray(self.memory))
        return _received, (reduction.DupFd(self.fd),)


class SharedArray(np.ndarray[Any, Any]):
    """A NumPy array in a `Region`. Its slices and copies have none: they are pickled by content."""

    _region: Region | None = None
    _start = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._region is None or context.get_spawning_popen() is None:
            return self._with_content(protocol)
        return _attached, (self._region, type(self), self._start, self.dtype.str, self.size)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> Any:
        if self._region is None:
            return self.copy()
        return _attached(copy.deepcopy(self._region, memo), type(self), self._start, self.dtype.str, self.size)

    def _with_content(self, protocol: Any) -> Any:
        """How it is pickled for a file: as an ordinary array."""
        return self.view(np.ndarray).__reduce_ex__(protocol)


class Spool:
    """Collects bytes for a region: in the memory of the process while they are few, then in a file."""

    def __init__(self) -> None:
        self.size = 0
        self._few = bytearray()
        self._fd: int | None = None
        self._file: IO[bytes] | None = None
        self._limit: float = SMALLEST

    def write(self, data: Any) -> None:
        """Append bytes."""
        self.size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._few += data
        if self.size > self._limit:
            self._to_file()

    def append(self, array: NDArray[Any]) -> tuple[int, str, int]:
        """Append an array at an aligned place.

        Returns:
            Where it starts (bytes), its dtype and its length, as `Region.array` takes them.
        """
        self.write(bytes(-self.size % _ALIGNMENT))
        start = self.size
        if array.size:
            self.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return start, array.dtype.str, array.size

    def region(self) -> Region:
        """What was written; processes of one node that wrote the same get the same memory. The spool is used up."""
        if self._file is None or self._fd is None:
            return Region(None, self._few)
        self._file.close()
        region = Region(self._fd)
        found = the_one_of_this_node(self._fd, region.memory)
        return region if found is None else Region(found)

    def _to_file(self) -> None:
        self._fd, self._limit = _anonymous_file(), float("inf")
        if self._fd is not None:
            self._file = open(self._fd, "wb", buffering=_BUFFER, closefd=False)  # noqa: SIM115
            self._file.write(self._few)
            self._few = bytearray()


def shared(array: NDArray[Any]) -> SharedArray:
    """A copy of a one-dimensional array in a region."""
    spool = Spool()
    layout = spool.append(array)
    return spool.region().array(SharedArray, *layout)


def give_back_freed_memory() -> None:
    """Return to the system what the C library keeps of freed memory, where it can be told to (glibc).

    A forked worker inherits it, and holds on to the old pages once the parent uses them anew.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def _anonymous_file() -> int | None:
    """An open file without a name, or None where an open file cannot be handed to a new process (Windows)."""
    if not hasattr(reduction, "DupFd"):
        return None
    try:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("drivetrain-annotations", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        pass  # not allowed in this sandbox: a file does as well
    try:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    except OSError:
        return None


def _can_be_handed(fd: int) -> bool:
    """Whether the process being spawned can be given this file: each once, and not too many."""
    files = getattr(context.get_spawning_popen(), "_fds", None)
    return files is not None and fd not in files and len(files) < _MOST_FILES


def _received(handed: Any) -> Region:
    return Region(handed.detach())


def _attached(region: Region, kind: type[SharedArray], start: int, dtype: str, count: int) -> SharedArray:
    return region.array(kind, start, dtype, count)
