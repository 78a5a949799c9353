"""The annotations of a dataset packed into one shared array of bytes, and the choice of some of them."""

from __future__ import annotations

import array
import functools
import operator
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import ArgumentTypeError, OutOfRangeError

from . import _columns
from ._shared import SMALLEST, SharedArray, Spool, give_back_freed_memory, shared

Bytes = NDArray[np.uint8]
Ends = NDArray[np.int64]


def packed(records: Sequence[Any], by_column: bool = False) -> tuple[Bytes, Ends]:
    """Pickle each record and lay them behind each other, in memory that forked and spawned processes share.

    Args:
        records: the annotations.
        by_column: keep them by column instead, where all are dicts with the same keys in the same order.

    Returns:
        The bytes, uint8 (total,), and where each record ends, int64 (N,); by column, which row is whose.

    Raises:
        ArgumentTypeError: a record cannot be pickled.
    """
    spool = Spool()
    pickled = functools.partial(_pickled, records)
    if by_column and _columns.written(records, spool, pickled):
        return _arrays(spool, _columns.ColumnBytes, np.arange(len(records), dtype=np.int64))
    ends = array.array("q")
    for place, record in enumerate(records):
        spool.write(pickled(place, record))
        ends.append(spool.size)
    return _arrays(spool, SharedArray, np.frombuffer(ends, np.int64))


def give_back(data: Bytes) -> None:
    """Return the memory of records that were let go of to the system, where they were many."""
    if data.nbytes > SMALLEST:
        give_back_freed_memory()


def unpacked(data: Bytes, ends: Ends, place: int) -> Any:
    """The record at `place` (0 to N-1), as a new object."""
    if type(data) is _columns.ColumnBytes:
        return data.record(ends.item(place))
    start = ends[place - 1] if place else 0
    return pickle.loads(data[start : ends[place]].data)


def subset(data: Bytes, ends: Ends, places: Sequence[int]) -> tuple[Bytes, Ends]:
    """The records at `places`, packed anew; of columns the rows, which share the bytes."""
    if type(data) is _columns.ColumnBytes:
        return data, shared(np.asarray(ends)[places] if places else ends[:0])
    spool, sizes = Spool(), array.array("q")
    for place in places:
        spool.write(data[ends[place - 1] if place else 0 : ends[place]].data)
        sizes.append(spool.size)
    return _arrays(spool, SharedArray, np.frombuffer(sizes, np.int64))


def _arrays(spool: Spool, kind: type[SharedArray], ends: Ends) -> tuple[Bytes, Ends]:
    size = spool.size
    layout = spool.append(ends)
    region = spool.region()
    return region.array(kind, 0, "|u1", size), region.array(SharedArray, *layout)


def _pickled(records: Sequence[Any], place: int, value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=4)
    except Exception as error:  # whatever an object of the user's raises when it is pickled
        path, culprit = _culprit(records[place], "")
        raise ArgumentTypeError(
            f"annotation {place} cannot be pickled{path and f', because of {path}'}: {culprit!r} of type "
            f"{type(culprit).__name__} ({error}). Keep data in the annotations (text, numbers, lists, arrays) and make "
            "the rest in the pipeline, or set serialize_data=False, which copies the annotations into each worker."
        ) from error


def _culprit(value: Any, path: str) -> tuple[str, Any]:
    """The innermost item of dicts and lists that cannot be pickled, and where it is."""
    items = value.items() if type(value) is dict else enumerate(value) if type(value) in (list, tuple) else ()
    for key, item in items:
        try:
            pickle.dumps(item, protocol=4)
        except Exception:  # the one that is looked for
            return _culprit(item, f"{path}[{key!r}]")
    return path, value


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
