"""The last entries of a series of numbers, contiguous in memory, at O(1) a new entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_FIRST_ROOM = 64


class Tail:
    """Keeps the last `capacity` values and their counts.

    A ring read in order: entries are appended to a block of at most twice the capacity, and when it is full the newest
    `capacity` move to its front. So a window is always one contiguous slice, and memory is taken only as it is needed.

    Args:
        capacity: how many entries to keep.
        values: the entries to start with, shape (n,); their dtype holds until an entry needs a wider one. None leaves
            the dtype to the first entry.
        counts: their counts, shape (n,).
    """

    __slots__ = ("_counts", "_size", "_values", "capacity")

    def __init__(self, capacity: int, values: Array | None = None, counts: Array | None = None) -> None:
        self.capacity = capacity
        self._values: Array | None = values
        self._counts: Array = np.ones(0, dtype=np.int64) if counts is None else counts
        self._size = len(self._counts)

    def __len__(self) -> int:
        return min(self._size, self.capacity)

    def last(self, size: int) -> tuple[Array, Array]:
        """The newest `size` values and counts (fewer when there are not so many), oldest first, as views."""
        begin = max(self._size - min(size, self.capacity), 0)
        values = np.zeros(0) if self._values is None else self._values
        return values[begin : self._size], self._counts[begin : self._size]

    def clear(self) -> None:
        """Forget all entries; the dtype stays."""
        self._size = 0

    def extend(self, values: Array, counts: Array) -> None:
        """Append `values` and `counts`, both of shape (n,)."""
        values, counts = values[-self.capacity :], counts[-self.capacity :]
        self._make_room(values, counts)
        end = self._size + len(values)
        self._room()[self._size : end] = values
        self._counts[self._size : end] = counts
        self._size = end

    def _room(self) -> Array:
        return self._counts if self._values is None else self._values

    def _make_room(self, values: Array, counts: Array) -> None:
        """Have a free place for every entry, in a dtype that holds old and new ones."""
        dtype = values.dtype if self._values is None else np.result_type(self._values, values)
        count_dtype = np.result_type(self._counts, counts)
        needed = self._size + len(values)
        fits = self._values is not None and needed <= len(self._values)
        if fits and dtype == self._room().dtype and count_dtype == self._counts.dtype:
            return
        old_values, old_counts = self.last(self.capacity)
        room = min(max(_FIRST_ROOM, 2 * (len(old_values) + len(values))), 2 * self.capacity + len(values))
        self._values, self._counts = np.empty(room, dtype), np.empty(room, count_dtype)
        self._size = len(old_values)
        self._values[: self._size] = old_values
        self._counts[: self._size] = old_counts
