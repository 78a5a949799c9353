"""Tell numbers from tensors and from everything else, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._tail import Array

HOST_TYPES: dict[type, None] = dict.fromkeys((int, float, bool))
"""Types of values that are numbers already."""

_is_a_tensor: dict[type, bool] = {}


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor, told without importing torch; remembered by type."""
    return is_tensor_type(type(value))


def is_tensor_type(kind: type) -> bool:
    """Whether objects of the class `kind` are torch tensors."""
    known = _is_a_tensor.get(kind)
    if known is None:
        known = _is_a_tensor[kind] = hasattr(kind, "requires_grad") and hasattr(kind, "detach")
    return known


def host_number(key: str, value: Any) -> Any:
    """`value`, a number or an array of one element, as a Python number; `key` is for the error."""
    array = np.asarray(value) if is_number(value) or type(value) is np.ndarray else None
    if array is None or array.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"{key!r} must be a number, or an array or tensor of one element, got {value!r} of type "
            f"{type(value).__name__}. Use update_info for anything else."
        )
    if array.size != 1:
        raise not_one_element(key, array.shape)
    return array.item()


def not_one_element(key: str, shape: Any) -> ArgumentError:
    """The error for a value of `shape` given to the scalar `key`."""
    return ArgumentError(
        f"{key!r} must have one element, got shape {tuple(shape)}: reduce it first, or keep it whole with update_info."
    )


def as_array(values: Sequence[Any]) -> Array:
    """`values`, n numbers, as an array of shape (n,) of bool, int or float64."""
    array = np.array(values)
    return array if array.dtype.kind in "biuf" else array.astype(np.float64)


def is_number(value: Any) -> bool:
    """Whether `value` is a number of Python or NumPy."""
    return isinstance(value, (int, float, np.number, np.bool_))
