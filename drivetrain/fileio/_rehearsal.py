"""Stand-ins for what NumPy has in a pickle: they compute nothing and check that what is said of an array fits.

NumPy writes a dtype as `dtype('f4', False, True)` and its state `(3, '<', None, None, None, -1, -1, 0)`: version,
byte order, three things of structured types, size and alignment in bytes (-1: those of the type), flags. An array is an
empty one and its state `(1, shape, dtype, column-major, content)`, the content bytes or, for objects, a list. NumPy
takes the state as it stands: one that denies that an array holds objects has it follow any address.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from drivetrain.errors import UntrustedFileError

from ._trust import HOW_TO_TRUST

_TYPE = re.compile(r"([biufcOSUVMm])(\d{1,18})")
_OBJECT_FLAGS = 63
_FLAGS = {"O": {_OBJECT_FLAGS}, "U": {0, 8}}
_POINTER_BYTES = (4, 8)


def inert(*_: Any) -> object:
    """Stands for a function that is safe with any argument, such as those that build tensors."""
    return object()


def refused(*_: Any) -> object:
    """Stands for a class of NumPy that a pickle names and has no reason to call."""
    raise _forged("it calls a class of NumPy")


ndarray = functools.partial(refused)
"""Stands for the class of arrays."""


class DType:
    """Stands for `numpy.dtype`: a type without fields.

    Args:
        spec: kind and size, such as 'f4'.
        options: `align` and `copy`.
    """

    __slots__ = ("kind", "size")

    def __init__(self, spec: Any, *options: Any) -> None:
        found = _TYPE.fullmatch(spec) if type(spec) is str else None
        if found is None or any(type(option) not in (bool, int) for option in options):
            raise _forged(f"it holds an array of the type {spec!r}")
        self.kind, number = found[1], int(found[2])
        self.size = number * 4 if self.kind == "U" else number
        if self.kind == "O" and self.size not in _POINTER_BYTES:
            raise _forged("it holds objects of a wrong size")

    def __setstate__(self, state: Any) -> None:
        own_size = self.size if self.kind in "SUV" else -1
        if (
            type(state) is not tuple
            or len(state) not in (8, 9)
            or state[2:5] != (None, None, None)
            or state[5] != own_size
            or state[7] not in _FLAGS.get(self.kind, {0})
        ):
            raise _forged("it holds a structured array, or one whose type contradicts itself")


class Array:
    """Stands for an array between its creation and its state."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) not in (4, 5):
            raise _forged("it holds an array in an unknown form")
        shape, dtype, content = state[-4], state[-3], state[-1]
        if type(dtype) is not DType or type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise _forged("it holds an array in an unknown form")
        is_list = type(content) is list
        length = math.prod(shape) * (1 if is_list else dtype.size)
        if is_list is not (dtype.kind == "O") or not hasattr(content, "__len__") or len(content) != length:
            raise _forged("it holds an array whose content does not fit its type and shape")


def reconstruct(subtype: Any, shape: Any, _: Any) -> Array:
    """Stands for the function that makes an empty array, whose state follows."""
    if subtype is not ndarray or shape != (0,):
        raise _forged("it holds an array of another class than numpy.ndarray")
    return Array()


def scalar(dtype: Any, *_: Any) -> object:
    """Stands for the function that makes a NumPy number."""
    if type(dtype) is not DType or dtype.kind == "O":
        raise _forged("it holds a NumPy number in an unknown form")
    return object()


def from_buffer(_: Any, dtype: Any, *__: Any) -> object:
    """Stands for the function that makes an array of a buffer."""
    if type(dtype) is not DType or dtype.kind == "O":
        raise _forged("it holds an array in an unknown form")
    return object()


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): ndarray,
    ("numpy", "dtype"): DType,
    ("numpy._core.multiarray", "_reconstruct"): reconstruct,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy._core.numeric", "_frombuffer"): from_buffer,
}
"""By module and name; everything else of NumPy and torch that a pickle may name is `inert`."""


def _forged(what: str) -> UntrustedFileError:
    return UntrustedFileError(f"this pickle was not read: {what}. {HOW_TO_TRUST}")
