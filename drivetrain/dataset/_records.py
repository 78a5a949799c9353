"""The annotations of a dataset packed into one array of bytes, and the choice of some of them."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import ArgumentTypeError, OutOfRangeError

Bytes = NDArray[np.uint8]
Ends = NDArray[np.int64]


def packed(records: Sequence[Any]) -> tuple[Bytes, Ends]:
    """Pickle each record and lay them behind each other.

    One array of bytes has one reference count, so that forked workers share its pages; a list of dicts would be copied
    as its counts change.

    Returns:
        The bytes, uint8 (total,), and where each record ends, int64 (N,).
    """
    blobs = [pickle.dumps(record, protocol=4) for record in records]
    ends = np.cumsum([len(blob) for blob in blobs], dtype=np.int64)
    return np.frombuffer(bytearray().join(blobs), dtype=np.uint8), ends


def unpacked(data: Bytes, ends: Ends, place: int) -> Any:
    """The record at `place` (0 to N-1), as a new object."""
    start = ends[place - 1] if place else 0
    return pickle.loads(data[start : ends[place]].data)


def subset(data: Bytes, ends: Ends, places: Sequence[int]) -> tuple[Bytes, Ends]:
    """The records at `places`, packed anew."""
    parts = [data[ends[place - 1] if place else 0 : ends[place]] for place in places]
    sizes = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return (np.concatenate(parts) if parts else data[:0]), sizes


def chosen(indices: Any, length: int) -> list[int]:
    """The places that `indices` means, each from 0 to `length - 1`.

    Args:
        indices: a count (the first so many; the last so many when negative) or a sequence of places, negative ones from
            the end.
        length: records there are.

    Raises:
        ArgumentTypeError: it is neither.
        OutOfRangeError: a place is not there.
    """
    if type(indices) is int:
        return list(range(length))[:indices] if indices >= 0 else list(range(length))[indices:]
    if not isinstance(indices, Sequence) and getattr(indices, "ndim", 0) != 1:
        raise _no_indices(indices)
    return [place_of(item, length, indices) for item in indices]


def place_of(index: Any, length: int, indices: Any = None) -> int:
    """An index as a place from 0 to `length - 1`; negative ones count from the end.

    Raises:
        ArgumentTypeError: it is no whole number.
        OutOfRangeError: it is not there.
    """
    try:
        place = operator.index(index)
    except TypeError:
        raise _no_indices(index if indices is None else indices) from None
    if type(index) is bool:
        raise _no_indices(index if indices is None else indices)
    if not -length <= place < length:
        raise OutOfRangeError(
            f"there is no sample {place} in a dataset of {length}: indices go from {-length} to {length - 1}."
        )
    return place % length if place < 0 else place


def _no_indices(indices: Any) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"indices must be an int (the first so many samples; negative: the last) or a sequence of ints, got "
        f"{type(indices).__name__}: {indices!r}. For a mask, pass numpy.flatnonzero(mask).tolist()."
    )
