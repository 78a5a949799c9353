"""Count, sum, least and greatest of a series, kept while it passes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ._tail import Array


class Running:
    """The statistics of everything added so far, in five numbers.

    Args:
        entries: number of values.
        weight: sum of their counts.
        total: sum of the values.
        low: least value.
        high: greatest value; NaN, like `low`, once a NaN was among the values.
    """

    __slots__ = ("entries", "high", "low", "total", "weight")

    def __init__(
        self,
        entries: int = 0,
        weight: float = 0.0,
        total: float = 0.0,
        low: float = math.inf,
        high: float = -math.inf,
    ) -> None:
        self.entries, self.weight, self.total, self.low, self.high = entries, weight, total, low, high

    @classmethod
    def of(cls, values: Sequence[float] | Array, counts: Sequence[int] | Array | None = None) -> Running:
        """The statistics of `values` with `counts`, both of length n; without counts, each counts once."""
        size = len(values)
        if not size:
            return cls()
        weight = size if counts is None else sum(counts)
        total = sum(values)
        if total != total:  # a NaN, before which min and max would depend on the order
            return cls(size, weight, total, math.nan, math.nan)
        return cls(size, weight, total, min(values), max(values))

    def merged(self, other: Running) -> Running:
        """The statistics of everything that either has seen; a new object, so a reader never sees half a change."""
        low, high = self.low, self.high
        if not low <= other.low and low == low:  # so that a NaN on either side stays
            low = other.low
        if not high >= other.high and high == high:
            high = other.high
        return Running(self.entries + other.entries, self.weight + other.weight, self.total + other.total, low, high)

    @property
    def mean(self) -> np.float64:
        """Sum of the values by the sum of their counts; NaN of nothing."""
        with np.errstate(all="ignore"):
            return np.float64(self.total) / np.float64(self.weight)

    def state(self) -> Array:
        """The five numbers, float64, shape (5,)."""
        return np.array([self.entries, self.weight, self.total, self.low, self.high], dtype=np.float64)

    @classmethod
    def from_state(cls, state: Iterable[float]) -> Running:
        """The statistics that `state` described."""
        entries, *others = map(float, state)
        return cls(int(entries), *others)
