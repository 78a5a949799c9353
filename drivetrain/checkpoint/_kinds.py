"""The objects that a checkpoint tags: how each is taken apart into plain ones, and put together again."""

from __future__ import annotations

import pathlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from drivetrain.errors import CheckpointError
from drivetrain.logging import HistoryBuffer

_FACTORIES: dict[str, Any] = {
    factory.__name__: factory for factory in (list, dict, int, float, set, str, tuple, bool, OrderedDict)
}
_FACTORIES["None"] = None

# Kinds of NumPy data whose bytes mean the same everywhere; others (objects, variable strings, types of add-on
# packages) are pointers or need their package.
_RAW_KINDS = frozenset("biufcSUmMV")
_ITEM_KINDS = frozenset("biufcSU")
# The 80-bit numbers of x86, which NumPy keeps in 12 or 16 bytes.
_X87_BYTES, _X87_FRACTION_BITS = 10, 63
_TORCH_TYPES = frozenset(np.dtype(name) for name in "?bhilqBHILQefdFD")


class UnsupportedError(Exception):
    """This object cannot be taken apart; the text says why or what to do."""


@dataclass(frozen=True)
class Kind:
    """One sort of tagged object.

    Attributes:
        tag: its name in the file.
        types: the classes it stands for; subclasses are included unless `exact`.
        take: object -> containers, tensors and scalars, which are encoded in turn.
        make: what `take` returned, decoded -> object.
        exact: subclasses carry more than this kind knows and are refused.
    """

    tag: str
    types: tuple[type, ...]
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]
    exact: bool = False


def _take_defaultdict(value: defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    name = getattr(factory, "__name__", "None" if factory is None else "")
    if _FACTORIES.get(name, ...) is not factory:
        raise UnsupportedError(f"its default_factory {factory!r} is not one of {', '.join(_FACTORIES)}")
    return [name, dict(value)]


def _make_path(text: str) -> pathlib.Path:
    return pathlib.Path(text)


def _make_torch_dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if type(found) is not torch.dtype:
        raise CheckpointError(f"torch.{name} is not a dtype.")
    return found


def _take_array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    dtype = array.dtype
    if dtype == np.dtype(object):
        return {"shape": list(array.shape), "items": array.ravel().tolist()}
    if dtype in _TORCH_TYPES and dtype.isnative:
        return {"data": _as_tensor(array)}
    described = _take_numpy_dtype(dtype)
    raw = np.frombuffer(array.tobytes() or b"\0", np.uint8).copy()
    if array.nbytes:
        raw.reshape(-1, dtype.itemsize)[:, ~_value_bytes(dtype)] = 0
    return {"dtype": described, "shape": list(array.shape), "raw": torch.from_numpy(raw)}


def _value_bytes(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Which bytes of an item hold its value, bool (itemsize,).

    The others are the padding of long doubles and the gaps between fields: what the memory held before, which differs
    from run to run and has no place in a file.
    """
    if dtype.fields is not None:
        held = np.zeros(dtype.itemsize, bool)
        for field, offset, *_ in dtype.fields.values():
            held[offset : offset + field.itemsize] |= _value_bytes(field)
        return held
    if dtype.subdtype is not None:
        base = dtype.subdtype[0]
        return np.tile(_value_bytes(base), dtype.itemsize // max(base.itemsize, 1))
    if dtype.char in "gG" and np.finfo(np.longdouble).nmant == _X87_FRACTION_BITS:
        size = np.dtype("g").itemsize
        number = np.arange(size) < _X87_BYTES
        return np.tile(number if dtype.isnative else number[::-1], dtype.itemsize // size)
    return np.ones(dtype.itemsize, bool)


def _as_tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor on the array's own memory, except where torch cannot stand on it."""
    if array.flags.writeable and all(stride >= 0 for stride in array.strides):
        return torch.from_numpy(array)
    return torch.from_numpy(np.array(array))


def _make_array(parts: dict[str, Any]) -> np.ndarray[Any, Any]:
    if "data" in parts:
        return parts["data"].cpu().numpy()
    shape = tuple(parts["shape"])
    if "items" in parts:
        array = np.empty(shape, object)
        for index, item in enumerate(parts["items"]):
            array.reshape(-1)[index] = item
        return array
    dtype = _make_numpy_dtype(parts["dtype"])
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return (
        np.frombuffer(parts["raw"].cpu().numpy().tobytes()[:size], dtype).reshape(shape).copy()
        if size
        else np.empty(shape, dtype)
    )


def _take_scalar(scalar: np.generic) -> dict[str, Any]:
    dtype = scalar.dtype
    if dtype.kind in _ITEM_KINDS and dtype.char not in "gG":
        return {"dtype": _take_numpy_dtype(dtype), "value": scalar.item()}
    return {"array": np.asarray(scalar)}


def _make_scalar(parts: dict[str, Any]) -> Any:
    if "array" in parts:
        return parts["array"][()]
    return _make_numpy_dtype(parts["dtype"]).type(parts["value"])


def _take_numpy_dtype(dtype: np.dtype[Any]) -> Any:
    if dtype == np.dtype(object):
        return "|O"
    if dtype.hasobject or dtype.kind not in _RAW_KINDS or dtype.isbuiltin == 2:
        raise UnsupportedError(
            f"NumPy data of type {dtype!r} has no portable bytes; convert it to numbers or to a list"
        )
    return np.lib.format.dtype_to_descr(dtype)


def _make_numpy_dtype(described: Any) -> np.dtype[Any]:
    return np.lib.format.descr_to_dtype(described)


def _make_history(state: dict[str, Any]) -> HistoryBuffer:
    buffer = HistoryBuffer.__new__(HistoryBuffer)
    buffer.__setstate__(state)
    return buffer


KINDS: tuple[Kind, ...] = (
    Kind("bytes", (bytes,), lambda value: value.hex(), bytes.fromhex),
    Kind("bytearray", (bytearray,), bytes, bytearray),
    Kind("int", (int,), hex, lambda text: int(text, 16)),
    Kind("complex", (complex,), lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    Kind("set", (set,), list, set),
    Kind("frozenset", (frozenset,), list, frozenset),
    Kind("range", (range,), lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    Kind("slice", (slice,), lambda value: [value.start, value.stop, value.step], lambda parts: slice(*parts)),
    Kind("deque", (deque,), lambda value: [list(value), value.maxlen], lambda parts: deque(*parts)),
    Kind("Counter", (Counter,), lambda value: dict(value), Counter),
    Kind("defaultdict", (defaultdict,), _take_defaultdict, lambda parts: defaultdict(_FACTORIES[parts[0]], parts[1])),
    Kind("path", (pathlib.Path,), str, _make_path),
    Kind("posix_path", (pathlib.PurePosixPath,), str, pathlib.PurePosixPath),
    Kind("windows_path", (pathlib.PureWindowsPath,), str, pathlib.PureWindowsPath),
    Kind("torch.dtype", (torch.dtype,), lambda value: str(value).removeprefix("torch."), _make_torch_dtype),
    Kind("torch.device", (torch.device,), str, torch.device),
    Kind("torch.Size", (torch.Size,), list, torch.Size),
    Kind("ndarray", (np.ndarray, np.memmap), _take_array, _make_array, exact=True),
    Kind("numpy_scalar", (np.generic,), _take_scalar, _make_scalar),
    Kind("numpy_dtype", (np.dtype,), _take_numpy_dtype, _make_numpy_dtype),
    Kind("HistoryBuffer", (HistoryBuffer,), lambda value: value.__getstate__(), _make_history),
)
"""Every tagged kind. A class is found by its method resolution order: `numpy.float64` is a NumPy scalar, no float."""
