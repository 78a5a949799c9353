"""Annotations kept by column: one array for each key whose values are alike, no pickle for each record.

Bytes of a column file: the columns, each at an aligned place; a pickled header that says what they are; the header's
length in the last eight bytes.
"""

from __future__ import annotations

import itertools
import operator
import pickle
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._shared import SharedArray, Spool

LONGEST = 64
"""Longest list that is kept in a column."""

Values: TypeAlias = Sequence[Any]
Arrays: TypeAlias = list[NDArray[Any]]
Reader: TypeAlias = Callable[[int], Any]
_PROTOCOL = 4
_LENGTH = struct.Struct("<q")


class ColumnBytes(SharedArray):
    """The bytes of a column file, uint8 (total,), which reads records out of them."""

    _columns: _Columns | None = None

    def record(self, row: int) -> dict[str, Any]:
        """The record in a row, as a new dict with new values."""
        if self._columns is None:
            self._columns = _opened(self.view(np.ndarray))
        return self._columns.record(row)

    def _with_content(self, protocol: Any) -> Any:
        return _read_as_columns, (self.view(np.ndarray),)


class _Column(NamedTuple):
    key: Any
    kind: str
    arrays: list[tuple[int, str, int]]
    shape: tuple[int, ...]  # of one value


class _Columns(NamedTuple):
    keys: tuple[Any, ...]
    plain: list[tuple[Any, Reader]]
    others: tuple[Any, ...]
    read_others: Reader

    def record(self, row: int) -> dict[Any, Any]:
        found = dict.fromkeys(self.keys)
        for key, read in self.plain:
            found[key] = read(row)
        if self.others:
            found.update(zip(self.others, self.read_others(row), strict=True))
        return found


def written(records: Sequence[Any], spool: Spool, pickled: Callable[[int, Any], bytes]) -> bool:
    """Write records by column, if all of them are dicts with the same keys in the same order.

    Values of one key that are all int, float, bool, str or None, or lists, tuples or arrays of one length or shape with
    numbers of one type, become a column. The other values of a record are pickled together. One object that is both a
    value and inside of another value comes back as two.

    Args:
        records: the annotations.
        spool: where to; nothing is written if the records differ.
        pickled: called with a place and those values of the record there that are in no column: their bytes.

    Returns:
        Whether they were written.
    """
    keys = tuple(records[0]) if records and type(records[0]) is dict else ()
    if not keys or any(type(record) is not dict or tuple(record) != keys for record in records):
        return False
    values = {key: [record[key] for record in records] for key in keys}
    together = _with_common_objects(values)
    columns = [column for key in keys if key not in together and (column := _column(key, values[key], spool))]
    others = tuple(key for key in keys if key not in {column.key for column in columns})
    blobs = list(itertools.starmap(pickled, enumerate(zip(*(values.pop(key) for key in others), strict=True))))
    rest = [spool.append(array) for array in _as_blobs(blobs)] if others else []
    header = pickle.dumps((keys, [tuple(column) for column in columns], others, rest), protocol=_PROTOCOL)
    spool.write(header + _LENGTH.pack(len(header)))
    return True


def _opened(data: NDArray[np.uint8]) -> _Columns:
    (length,) = _LENGTH.unpack(data[-_LENGTH.size :].tobytes())
    keys, columns, others, rest = pickle.loads(data[-_LENGTH.size - length : -_LENGTH.size].data)

    def array(start: int, dtype: str, count: int) -> NDArray[Any]:
        return data[start : start + count * np.dtype(dtype).itemsize].view(dtype)

    plain = []
    for column in itertools.starmap(_Column, columns):
        arrays = [array(*layout) for layout in column.arrays]
        plain.append((column.key, _READERS[column.kind](arrays, column.shape)))
    return _Columns(keys, plain, others, _pickles([array(*layout) for layout in rest], ()) if others else _nothing)


def _column(key: Any, values: list[Any], spool: Spool) -> _Column | None:
    kinds = set(map(type, values))
    kind = kinds.pop()
    encode = None if kinds else _ENCODERS.get(kind)
    found = None if encode is None else encode(values)
    if found is None:
        return None
    return _Column(key, found.kind, [spool.append(array) for array in found.arrays], found.shape)


def _with_common_objects(values: dict[Any, list[Any]]) -> set[Any]:
    """Keys whose values are one mutable object in some record: to stay one, they must be pickled together."""
    mutable = [key for key in values if not {int, float, bool, str, type(None)}.issuperset(map(type, values[key]))]
    return {
        key
        for one, other in itertools.combinations(mutable, 2)
        if any(map(operator.is_, values[one], values[other]))
        for key in (one, other)
    }


class _Encoded(NamedTuple):
    kind: str
    arrays: Arrays
    shape: tuple[int, ...] = ()


def _encode_ints(values: Values) -> _Encoded | None:
    array = _numbers(lambda: values, len(values))
    return None if array is None else _Encoded("item", [array])


def _encode_items(values: Values) -> _Encoded | None:
    return _Encoded("item", [np.fromiter(values, type(values[0]), len(values))])


def _encode_nones(values: Values) -> _Encoded | None:  # noqa: ARG001
    return _Encoded("none", [])


def _encode_texts(values: Values) -> _Encoded | None:
    if values.count(values[0]) == len(values):
        return _Encoded("constant", [np.frombuffer(_utf8(values[0]), np.uint8)])
    return _Encoded("text", _as_blobs(list(map(_utf8, values))))


def _encode_lists(values: Values) -> _Encoded | None:
    return _rectangle(values, "list")


def _encode_tuples(values: Values) -> _Encoded | None:
    return _rectangle(values, "tuple")


def _rectangle(values: Values, kind: str) -> _Encoded | None:
    lengths = set(map(len, values))
    length = lengths.pop()
    if lengths or length > LONGEST:
        return None
    flat = _numbers(lambda: itertools.chain.from_iterable(values), len(values) * length)
    return None if flat is None else _Encoded(kind, [flat], (length,))


def _encode_arrays(values: Values) -> _Encoded | None:
    first = values[0]
    forms = {(array.dtype.char, array.dtype.str, array.shape, array.flags.c_contiguous) for array in values}
    simple = first.dtype.kind in "biufc" and first.dtype.metadata is None and first.flags.c_contiguous
    if len(forms) > 1 or not simple or not first.size or not _is_canonical(first.dtype):
        return None
    return _Encoded("array", [np.stack(values).reshape(-1)], first.shape)


def _encode_scalars(values: Values) -> _Encoded | None:
    return _Encoded("scalar", [np.array(values)])


def _numbers(items: Callable[[], Iterable[Any]], count: int) -> NDArray[Any] | None:
    """Numbers of one Python type as an array; None if they are of several types or too large."""
    kinds = set(map(type, items()))
    kind = kinds.pop() if kinds else int
    if kinds or kind not in (int, float, bool):
        return None
    try:
        found = np.fromiter(items(), np.int64 if kind is int else kind, count)
    except OverflowError:
        return None
    return _narrowed(found) if kind is int and count else found


def _narrowed(array: NDArray[np.int64]) -> NDArray[Any]:
    least, most = array.min(), array.max()
    kinds = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)
    return array.astype(next(kind for kind in kinds if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max))


def _is_canonical(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is found again by its text: 'longlong' and the other byte order are not."""
    return dtype.isnative and np.dtype(dtype.str).char == dtype.char


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _as_blobs(blobs: list[bytes]) -> Arrays:
    """The bytes behind each other, and where each ends, after a leading 0."""
    ends = np.zeros(len(blobs) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, blobs), np.int64, len(blobs)), out=ends[1:])
    return [np.frombuffer(b"".join(blobs), np.uint8), _narrowed(ends)]


def _items(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    return arrays[0].item


def _nones(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    return _nothing


def _constants(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    text = arrays[0].tobytes().decode("utf-8", "surrogatepass")
    return lambda row: text  # noqa: ARG005


def _texts(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    data, end = arrays[0].data, arrays[1].item
    return lambda row: str(data[end(row) : end(row + 1)], "utf-8", "surrogatepass")


def _lists(arrays: Arrays, shape: tuple[int, ...]) -> Reader:
    (length,), flat = shape, arrays[0]
    return lambda row: flat[row * length : (row + 1) * length].tolist()


def _tuples(arrays: Arrays, shape: tuple[int, ...]) -> Reader:
    read = _lists(arrays, shape)
    return lambda row: tuple(read(row))


def _arrays(arrays: Arrays, shape: tuple[int, ...]) -> Reader:
    table = arrays[0].reshape(-1, *shape)
    return lambda row: table[row, ...].copy()


def _scalars(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    return arrays[0].__getitem__


def _pickles(arrays: Arrays, shape: Any) -> Reader:  # noqa: ARG001
    data, end = arrays[0].data, arrays[1].item
    return lambda row: pickle.loads(data[end(row) : end(row + 1)])


def _nothing(row: int) -> None:  # noqa: ARG001
    return None


def _read_as_columns(data: NDArray[np.uint8]) -> ColumnBytes:
    return data.view(ColumnBytes)


_ENCODERS: dict[type, Callable[[Values], _Encoded | None]] = {
    int: _encode_ints, float: _encode_items, bool: _encode_items, type(None): _encode_nones, str: _encode_texts,
    list: _encode_lists, tuple: _encode_tuples, np.ndarray: _encode_arrays,
    **{np.dtype(code).type: _encode_scalars for code in ("?", *"bhBH", "i4", "i8", "u4", "u8", "f2", "f4", "f8")},
}  # fmt: skip

_READERS: dict[str, Callable[[Arrays, tuple[int, ...]], Reader]] = {
    "item": _items, "none": _nones, "constant": _constants, "text": _texts, "list": _lists, "tuple": _tuples,
    "array": _arrays, "scalar": _scalars,
}  # fmt: skip
