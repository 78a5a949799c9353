"""What MMEngine's checkpoints hold beside plain containers and tensors: a fixed list of names.

Such a file names NumPy's functions, `HistoryBuffer` and `getattr`. None of them is ever called: each name stands for a
class or function below, which keeps its arguments and checks them. `decode` makes arrays, numbers and histories of what
they kept. torch's reader refuses every other name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from reprlib import repr as shown
from typing import Any

import numpy as np
import torch

from drivetrain.errors import CheckpointError
from drivetrain.logging import HistoryBuffer

_STATISTICS = ("mean", "max", "min", "current")
_ANNEALING = ("_annealing_cos", "_annealing_linear")
_ITEM_KINDS = frozenset("biufcSUmM")
_ORDERS = frozenset("<>|=")
_MOST_DIMENSIONS = 32


class Stored:
    """Something of a file that `decode` turns into what it stands for."""

    def made(self, decode: Callable[[Any], Any]) -> Any:
        """The object itself; `decode` does the same for what is inside it."""
        raise CheckpointError(f"the file has a {type(self).__name__} of its own, which stands for nothing.")


class DataType(Stored):
    """`numpy.dtype`, called with a code such as 'f8' and then given its state: version, byte order, and more."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if type(code) is not str:
            raise CheckpointError(f"a NumPy type has the code {shown(code)}, which is no text.")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 4 or state[1] not in _ORDERS:
            raise CheckpointError(f"the NumPy type {self._code!r} has the damaged state {shown(state)}.")
        if state[3] is not None:
            raise CheckpointError("an array of records (a structured NumPy type) is not read from such files.")
        self._order = state[1]
        if self._code[:1] in ("m", "M") and len(state) > 8:
            self._unit = _unit(state[8])

    _unit = ""

    def made(self, decode: Callable[[Any], Any]) -> np.dtype[Any]:
        """The type, of numbers, text or objects."""
        order = "" if self._order in "|=" else self._order
        try:
            found = np.dtype(f"{order}{self._code}{self._unit}")
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the file has an unknown NumPy type {self._code!r}.") from error
        if found.fields is not None or (found.kind not in _ITEM_KINDS and found.kind != "O"):
            raise CheckpointError(f"arrays of the NumPy type {self._code!r} are not read from such files.")
        return found


class Array(Stored):
    """`numpy.ndarray`: made empty, and given version, shape, type, order of the axes, and its items."""

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise CheckpointError("a NumPy array in the file is damaged: its state is not a tuple of five.")
        _, self._shape, self._dtype, self._is_fortran, self._items = state

    _shape: Any = None
    _dtype: Any = None
    _is_fortran: Any = False
    _items: Any = None

    def made(self, decode: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
        """The array, on memory of its own."""
        shape, dtype = _checked_shape(self._shape), _dtype(self._dtype, decode)
        size = int(np.prod(shape, dtype=np.float64)) if shape else 1
        order: Any = "F" if self._is_fortran else "C"
        if dtype.kind == "O":
            if type(self._items) is not list or len(self._items) != size:
                raise CheckpointError(f"an array of {size} objects in the file does not hold so many.")
            array = np.empty(size, object)
            for index, item in enumerate(self._items):
                array[index] = decode(item)
            return array.reshape(shape, order=order)
        if type(self._items) is not bytes or len(self._items) != size * dtype.itemsize:
            raise CheckpointError(f"an array in the file, {shape} of {dtype}, has another number of bytes.")
        return np.frombuffer(self._items, dtype, size).reshape(shape, order=order).copy(order="K")


class History(Stored):
    """A series of a message hub."""

    _state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def made(self, decode: Callable[[Any], Any]) -> HistoryBuffer:
        """The series; its statistics are those of this package."""
        state = self._state
        if type(state) is not dict or not {"max_length", "_log_history", "_count_history"} <= state.keys():
            raise CheckpointError("a HistoryBuffer in the file is damaged: it lacks its values, counts or length.")
        values, counts = decode(state["_log_history"]), decode(state["_count_history"])
        if not _is_series(values) or not _is_series(counts) or len(values) != len(counts):
            raise CheckpointError("a HistoryBuffer in the file is damaged: its values or counts are no numbers.")
        length = state["max_length"]
        if type(length) is not int or length < 0:
            raise CheckpointError(f"a HistoryBuffer in the file has the max_length {shown(length)}.")
        buffer = HistoryBuffer.__new__(HistoryBuffer)
        buffer.__setstate__({"max_length": length, "_log_history": values, "_count_history": counts})
        return buffer


class OneCycle(Stored):
    """The class whose annealing functions the state of a one-cycle schedule names."""


def reconstruct(subtype: Any, *_: Any) -> Array:
    """`numpy.core.multiarray._reconstruct`: an array that gets its items later."""
    if subtype is not Array:
        raise CheckpointError(
            f"the file wants a NumPy array of the class {shown(subtype)}; plain arrays alone are read."
        )
    return Array()


def scalar(dtype: Any, content: Any = None) -> Any:
    """`numpy.core.multiarray.scalar`: a NumPy number from its bytes.

    It is made at once, since it may be the key of a dict.
    """
    kind = _dtype(dtype, lambda part: part)
    if kind.kind == "O" or type(content) is not bytes or len(content) != kind.itemsize:
        raise CheckpointError(f"a NumPy number of type {kind} in the file has no bytes of that type.")
    return np.frombuffer(content, kind, 1)[0] if kind.itemsize else kind.type()


def attribute(owner: Any, name: Any) -> str:
    """`getattr`, for the statistics of a `HistoryBuffer` and the curves of a one-cycle schedule: the name alone."""
    if (owner is History and name in _STATISTICS) or (owner is OneCycle and name in _ANNEALING):
        return str(name)
    wanted = f"getattr({shown(owner)}, {shown(name)})"
    raise CheckpointError(f"the file wants {wanted}, which no checkpoint of MMEngine needs.")


def no_bytes(*content: Any) -> bytes:
    """`bytes`, with which a pickle writes the empty ones."""
    if content:
        raise CheckpointError(f"the file calls bytes with {shown(content)}.")
    return b""


def span(*bounds: Any) -> range:
    """`range`."""
    return range(*bounds)


def cut(*bounds: Any) -> slice:
    """`slice`."""
    return slice(*bounds)


def plain_dict(items: Any = ()) -> dict[Any, Any]:
    """`ConfigDict`, which stands in a file where a dataset's facts came from a config: a plain dict."""
    return dict(items)


def queue(items: Any = (), *_: Any) -> list[Any]:
    """`deque`, as a list: torch's reader appends to nothing else."""
    return list(items)


def fixed_set(items: Any = ()) -> frozenset[Any]:
    """`frozenset`."""
    return frozenset(items)


FIXED_LIST: Mapping[str, Any] = {
    "mmengine.logging.history_buffer.HistoryBuffer": History,
    "mmengine.config.config.ConfigDict": plain_dict,
    "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler": OneCycle,
    "numpy.core.multiarray._reconstruct": reconstruct,
    "numpy._core.multiarray._reconstruct": reconstruct,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,
    "numpy.ndarray": Array,
    "numpy.dtype": DataType,
    "collections.deque": queue,
    "builtins.getattr": attribute,
    "builtins.slice": cut,
    "builtins.range": span,
    "builtins.frozenset": fixed_set,
    "builtins.bytes": no_bytes,
}
"""Every name outside torch's own list that a file may hold, and what stands for it."""

STORED: tuple[type, ...] = (DataType, Array, History, OneCycle)
"""The classes that `decode` replaces."""


def bare(named: Any) -> Any:
    """Refuse a name of the list that stands in a file by itself; any other class or function is torch's."""
    for name, stand_in in FIXED_LIST.items():
        if named is stand_in:
            raise CheckpointError(f"the file holds {name} itself, where there should be something made with it.")
    return named


_guard = threading.Lock()
_readers = 0
_set_aside: list[Any] = []


@contextmanager
def fixed_list_allowed() -> Iterator[None]:
    """Let torch's reader take the names of the list, with what stands for them here, while the block lasts.

    torch keeps one list for the process. What a user allowed under one of these names, such as NumPy's own functions,
    is set aside meanwhile, since the two do not mix.
    """
    global _readers
    with _guard:
        _readers += 1
        if _readers == 1:
            allowed = torch.serialization.get_safe_globals()
            _set_aside[:] = [entry for entry in allowed if _name_of(entry) in FIXED_LIST]
            _replace_allowed(allowed, without=_set_aside, plus=_entries())
    try:
        yield
    finally:
        with _guard:
            _readers -= 1
            if _readers == 0:
                allowed = torch.serialization.get_safe_globals()
                _replace_allowed(allowed, without=_entries(), plus=_set_aside)
                _set_aside.clear()


def _entries() -> list[Any]:
    return [(stand_in, name) for name, stand_in in FIXED_LIST.items()]


def _replace_allowed(allowed: list[Any], without: list[Any], plus: list[Any]) -> None:
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([*(entry for entry in allowed if entry not in without), *plus])


def _name_of(entry: Any) -> str:
    if type(entry) is tuple:
        return str(entry[1])
    return f"{getattr(entry, '__module__', '')}.{getattr(entry, '__qualname__', '')}"


def _unit(metadata: Any) -> str:
    """The unit of dates and spans of time, such as '[1D]', from what a pickle says of it."""
    try:
        name, count = metadata[1][:2]
        return f"[{int(count)}{name.decode() if type(name) is bytes else name}]"
    except (TypeError, ValueError, LookupError) as error:
        raise CheckpointError(f"a NumPy date in the file has the damaged unit {shown(metadata)}.") from error


def _dtype(given: Any, decode: Callable[[Any], Any]) -> np.dtype[Any]:
    if type(given) is not DataType:
        raise CheckpointError(f"a NumPy value in the file has the type {shown(given)}, which is none of NumPy's.")
    return given.made(decode)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    right = type(shape) is tuple and len(shape) <= _MOST_DIMENSIONS
    if not right or not all(type(size) is int and size >= 0 for size in shape):
        raise CheckpointError(f"a NumPy array in the file has the shape {shown(shape)}.")
    return shape


def _is_series(array: Any) -> bool:
    return type(array) is np.ndarray and array.ndim == 1 and array.dtype.kind in "biuf"
