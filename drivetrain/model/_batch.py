"""Put samples together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drivetrain.errors import ArgumentError, ArgumentTypeError


def stack_batch(tensor_list: list[Tensor], pad_size_divisor: int = 1, pad_value: float = 0) -> Tensor:
    """Stack tensors of different sizes, padded at the end of every dimension but the first.

    Args:
        tensor_list: N tensors (C, ...) with as many dimensions and equal C; images are (C, H, W).
        pad_size_divisor: sizes are rounded up to a multiple of it.
        pad_value: what the padding holds.

    Returns:
        A tensor (N, C, ...) as large as the largest; of the common dtype.

    Raises:
        ArgumentTypeError: no list of tensors.
        ArgumentError: the list is empty, dimensions or first sizes differ, or the divisor is below 1.
    """
    sizes = _checked_sizes(tensor_list, pad_size_divisor)
    target = [-(-max(size) // pad_size_divisor) * pad_size_divisor for size in list(zip(*sizes, strict=True))[1:]]
    shape = [len(tensor_list), sizes[0][0], *target]
    if all(list(size) == shape[1:] for size in sizes):
        return torch.stack(list(tensor_list))
    dtype = tensor_list[0].dtype
    for tensor in tensor_list[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    batch = tensor_list[0].new_full(shape, pad_value, dtype=dtype)
    for index, tensor in enumerate(tensor_list):
        batch[index][tuple(slice(size) for size in tensor.shape)] = tensor
    return batch


@torch.fx.wrap
def merge_dict(*args: dict[Any, Any]) -> dict[Any, Any]:
    """One dict out of several; later ones win. `torch.fx` treats it as a leaf, so that traced code may call it.

    Raises:
        ArgumentTypeError: an argument is no dict.
    """
    merged: dict[Any, Any] = {}
    for item in args:
        if not hasattr(item, "items"):
            raise ArgumentTypeError(f"merge_dict merges dicts, got {item!r} of type {type(item).__name__}.")
        merged.update(item)
    return merged


def _checked_sizes(tensors: Any, divisor: int) -> list[tuple[int, ...]]:
    if not issubclass(type(tensors), (list, tuple)) or not all(torch.is_tensor(tensor) for tensor in tensors):
        raise ArgumentTypeError(f"stack_batch takes a list of tensors, got {type(tensors).__name__}.")
    sizes = [tuple(tensor.shape) for tensor in tensors]
    if not sizes:
        raise ArgumentError("stack_batch needs at least one tensor, got an empty list.")
    if len({len(size) for size in sizes}) > 1 or not sizes[0]:
        raise ArgumentError(f"tensors to stack must have the same number of dimensions, at least one, got {sizes}.")
    if len({size[0] for size in sizes}) > 1:
        raise ArgumentError(f"tensors to stack must agree in their first dimension (channels), got {sizes}.")
    if divisor < 1:
        raise ArgumentError(f"pad_size_divisor must be at least 1, got {divisor!r}.")
    return sizes
