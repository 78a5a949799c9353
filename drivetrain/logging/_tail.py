"""The last entries of a series of numbers, contiguous in memory, at O(1) a new entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_FIRST_ROOM = 64
_MOST_WAITING = 4096


class Tail:
    """Keeps the last `capacity` values and their counts.

    A ring read in order: entries are appended to a block of at most twice the capacity, and when it is full the newest
    `capacity` move to its front. So a window is always one contiguous slice, and memory is taken only as it is needed.

    Floats that count once, the bulk of a run, wait in a list; a short window of them needs neither block nor ring.

    Args:
        capacity: how many entries to keep.
        values: the entries to start with, shape (n,); their dtype holds until an entry needs a wider one. None leaves
            the dtype to the first entry.
        counts: their counts, shape (n,). While every count is 1 none is kept.
    """

    __slots__ = ("_counts", "_floats", "_size", "_values", "capacity")

    def __init__(self, capacity: int, values: Array | None = None, counts: Array | None = None) -> None:
        self.capacity = capacity
        self._values: Array | None = values
        self._counts: Array | None = counts
        self._size = 0 if values is None else len(values)
        self._floats: list[float] = []

    def __len__(self) -> int:
        return min(self._size + len(self._floats), self.capacity)

    def last(self, size: int) -> tuple[Array, Array]:
        """The newest `size` values and counts (fewer when there are not so many), oldest first; do not write there."""
        values = self.values(size)
        waiting = len(self._floats)
        if self._counts is None or len(values) <= waiting:
            return values, np.ones(len(values), dtype=np.int64)
        return values, self._counts[self._size - len(values) : self._size]

    def values(self, size: int) -> Array:
        """The newest `size` values (fewer when there are not so many), oldest first; do not write there."""
        size = min(size, self.capacity)
        if 0 < size <= len(self._floats):
            return np.array(self._floats[-size:])
        self._fetch_floats()
        return np.zeros(0) if self._values is None else self._values[max(self._size - size, 0) : self._size]

    def floats(self, size: int) -> list[float]:
        """The newest `size` values if there are so many, all of them floats that count once; else an empty list."""
        if 0 < size <= len(self._floats):
            return self._floats[-size:]
        values = self.values(size) if self._counts is None else np.zeros(0)
        floats: list[float] = values.tolist() if len(values) == size and values.dtype == np.float64 else []
        return floats

    def clear(self) -> None:
        """Forget all entries; the dtype stays."""
        self._fetch_floats()
        self._size = 0

    def extend_floats(self, values: Sequence[float]) -> None:
        """Append floats of Python that count once."""
        self._floats += values
        if len(self._floats) > 2 * self.capacity:
            del self._floats[: -self.capacity]
            self._size = 0  # what the block holds is older
        elif len(self._floats) > _MOST_WAITING:
            self._fetch_floats()

    def _fetch_floats(self) -> None:
        if self._floats:
            waiting, self._floats = self._floats, []
            self.extend(np.array(waiting))

    def extend(self, values: Array, counts: Array | None = None) -> None:
        """Append `values` and `counts`, both of shape (n,); without counts, each counts once."""
        self._fetch_floats()
        values = values[-self.capacity :]
        if counts is not None or self._counts is not None:
            counts = self._written_out(counts, len(values))
        self._make_room(values, counts)
        end = self._size + len(values)
        if self._values is not None:
            self._values[self._size : end] = values
        if self._counts is not None:
            self._counts[self._size : end] = counts
        self._size = end

    def _written_out(self, counts: Array | None, size: int) -> Array:
        """The last `size` of `counts`; from now on the counts are kept."""
        if self._counts is None:
            self._counts = np.ones(0 if self._values is None else len(self._values), dtype=np.int64)
        return np.ones(size, dtype=np.int64) if counts is None else counts[-size:]

    def _make_room(self, values: Array, counts: Array | None) -> None:
        """Have a free place for every entry, in a dtype that holds old and new ones."""
        needed = self._size + len(values)
        fits = self._values is not None and needed <= len(self._values)
        if fits and _holds(self._values, values) and (counts is None or _holds(self._counts, counts)):
            return
        old_values, old_counts = self.last(self.capacity)
        room = min(max(_FIRST_ROOM, 2 * (len(old_values) + len(values))), 2 * self.capacity + len(values))
        self._size = len(old_values)
        self._values = _moved(old_values, room, values if self._values is None else np.result_type(old_values, values))
        if counts is not None:
            self._counts = _moved(old_counts, room, np.result_type(old_counts, counts))


def _holds(block: Array | None, entries: Array) -> bool:
    """Whether `entries` can be written into `block` as they are."""
    return block is not None and (block.dtype == entries.dtype or block.dtype == np.result_type(block, entries))


def _moved(entries: Array, room: int, like: Any) -> Array:
    """A block of `room` places that begins with `entries`, of the dtype `like` or that of the array `like`."""
    block = np.empty(room, dtype=getattr(like, "dtype", like))
    block[: len(entries)] = entries
    return block
