"""`PixelData`: maps over the pixels of one image (segmentation, heat maps, depth, ...)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError, OutOfRangeError

from ._base import BaseDataElement
from ._fields import RESERVED

if TYPE_CHECKING:
    from typing_extensions import Self


class PixelData(BaseDataElement):
    """Data fields that are maps of shape (C, H, W) with a common height and width.

    Example:
        >>> maps = PixelData(gt_sem_seg=torch.zeros(1, 20, 40), depth=torch.zeros(20, 40))
        >>> maps.depth.shape, maps[10:20, 20:40].shape
        (torch.Size([1, 20, 40]), (10, 20))
    """

    __module__ = "drivetrain.structures"

    def __setattr__(self, name: str, value: torch.Tensor | numpy.ndarray[Any, Any]) -> None:
        """Set a map; one of shape (H, W) gets a channel axis and becomes (1, H, W), sharing its memory.

        Raises:
            ArgumentTypeError: the value is neither a tensor nor an array.
            ArgumentError: it has not 2 or 3 dimensions, or another height or width than the maps already here.
            FieldError: the name is reserved, or is a meta information field.
        """
        if name not in RESERVED:
            value = self._checked(name, value)
        super().__setattr__(name, value)

    def __getitem__(self, item: Sequence[int | slice]) -> Self:
        """The maps cut to a window, as a new element; an integer cuts to a height or width of one.

        Args:
            item: what to take of the height and of the width, each an integer or a slice.

        Raises:
            ArgumentTypeError: `item` is no pair of integers and slices.
            ArgumentError: it has not two parts.
            OutOfRangeError: an integer lies outside of the maps.
        """
        if type(item) is not tuple:
            raise ArgumentTypeError(
                f"maps are cut by a pair such as maps[0:10, 5], got {type(item).__name__}: {item!r}."
            )
        if len(item) != 2:
            raise ArgumentError(f"maps are cut by height and width, two parts, got {len(item)}: {item!r}.")
        shape = self.shape or (0, 0)
        rows, columns = map(_as_slice, item, shape, ("height", "width"))
        return self._map(lambda value: value[..., rows, columns])

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of the maps, None without any."""
        for name in self._data_fields:
            height, width = getattr(self, name).shape[-2:]
            return height, width
        return None

    def _checked(self, name: str, value: Any) -> Any:
        """The map in the shape (C, H, W)."""
        if not issubclass(type(value), (torch.Tensor, numpy.ndarray)):
            raise ArgumentTypeError(f"field {name!r} must be a tensor or an array, got {type(value).__name__}.")
        if value.ndim not in (2, 3):
            raise ArgumentError(f"field {name!r} must be (H, W) or (C, H, W), got {value.ndim} dimensions.")
        shape = self.shape
        if shape is not None and tuple(value.shape[-2:]) != shape:
            raise ArgumentError(
                f"field {name!r} is {tuple(value.shape[-2:])} in height and width and the maps of this "
                f"{type(self).__name__} are {shape}: all must be equal."
            )
        return value[None] if value.ndim == 2 else value


def _as_slice(part: int | slice, size: int, dimension: str) -> slice:
    if type(part) is slice:
        return part
    try:
        index = operator.index(part)
    except TypeError:
        raise ArgumentTypeError(f"{dimension} is cut by an int or a slice, got {type(part).__name__}.") from None
    if not -size <= index < size:
        raise OutOfRangeError(f"index {index} is out of range for a {dimension} of {size}.")
    return slice(index % size, index % size + 1)
