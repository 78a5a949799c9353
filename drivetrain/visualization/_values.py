"""Parse what users hand to the drawing functions: arrays, colours, one value or one for each item."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from drivetrain.errors import ArgumentError, ArgumentTypeError, require_package

ArrayLike: TypeAlias = "np.ndarray | Tensor"
Types = type | tuple[type, ...]
Color = str | tuple[Any, ...]
Colors = Color | list[Color]


def tensor2ndarray(value: np.ndarray | Tensor) -> np.ndarray:
    """A tensor as a NumPy array on the host (bfloat16 as float32); anything else unchanged."""
    if type(value) is np.ndarray or not torch.is_tensor(value):
        return value
    tensor = value.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).cpu().numpy()


def plain_number(value: Any) -> Any:
    """What a log file holds for a value: tensors and NumPy values become numbers, or nested lists if they hold many."""
    if isinstance(value, float):
        return float(value)  # numpy.float64 is one of these
    if not hasattr(value, "tolist"):
        return value
    array = tensor2ndarray(value)
    return array.item() if array.size == 1 else array.tolist()


def value2list(value: Any, valid_type: Types, expand_dim: int) -> list[Any]:
    """`value` once for each of `expand_dim` items if it is a `valid_type`; else it is a list already.

    >>> value2list("r", str, 3)
    ['r', 'r', 'r']
    """
    return [value] * expand_dim if isinstance(value, valid_type) else value


def check_type(name: str, value: Any, valid_type: Types) -> None:
    """Raise an ArgumentTypeError unless `value`, the argument `name`, is a `valid_type`."""
    if not isinstance(value, valid_type):
        types = cast("tuple[type, ...]", valid_type if type(valid_type) is tuple else (valid_type,))
        expected = " or ".join(option.__name__ for option in types)
        raise ArgumentTypeError(f"`{name}` should be {expected}, got {type(value).__name__}: {str(value)[:80]!r}.")


def check_length(name: str, value: Any, valid_length: int) -> None:
    """Raise an ArgumentError if `value`, the argument `name`, is a list shorter than `valid_length`."""
    if type(value) is list and len(value) < valid_length:
        raise ArgumentError(
            f"`{name}` needs one value for each of the {valid_length} items, got {len(value)}: {value!r}."
        )


def check_type_and_length(name: str, value: Any, valid_type: Types, valid_length: int) -> None:
    """`check_type`, then `check_length`."""
    check_type(name, value, valid_type)
    check_length(name, value, valid_length)


def check_shape(name: str, value: np.ndarray, columns: int) -> None:
    """Raise an ArgumentError unless `value`, the argument `name`, has the shape (N, columns)."""
    if value.ndim != 2 or value.shape[1] != columns:
        raise ArgumentError(f"`{name}` should have the shape (N, {columns}), got {tuple(value.shape)}.")


def color_val_matplotlib(colors: Colors) -> Colors:
    """Colours as matplotlib takes them: tuples of 0 .. 255 become tuples of 0 .. 1, names stay.

    >>> color_val_matplotlib([(255, 0, 51), "b"])
    [(1.0, 0.0, 0.2), 'b']

    Raises:
        ArgumentTypeError: a colour is neither a name nor a tuple.
        ArgumentError: a tuple holds a number outside 0 .. 255.
    """
    if type(colors) is list:
        return [cast("Color", color_val_matplotlib(color)) for color in colors]
    if type(colors) is tuple:
        if not all(0 <= channel <= 255 for channel in colors):
            raise ArgumentError(f"a colour is three numbers of 0 .. 255, got {colors!r}.")
        return tuple(channel / 255 for channel in colors)
    check_type("color", colors, str)
    return colors


def color_str2rgb(color: str) -> tuple[int, int, int]:
    """The RGB numbers, 0 .. 255, of a colour by its matplotlib name or as '#rrggbb'."""
    try:
        from matplotlib.colors import to_rgb
    except ImportError as error:
        raise require_package("matplotlib", "drawing", "vision") from error
    red, green, blue = (int(255 * channel) for channel in to_rgb(color))
    return red, green, blue


def rgb_of(color: Color) -> tuple[int, int, int]:
    """The RGB numbers, 0 .. 255, of a colour by name or as such a tuple."""
    if type(color) is not tuple:
        return color_str2rgb(cast("str", color))
    color_val_matplotlib(color)
    red, green, blue = (int(channel) for channel in color[:3])
    return red, green, blue


def as_uint8_rgb(image: np.ndarray) -> np.ndarray:
    """An image as uint8 (H, W, 3).

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4, whose alpha is dropped). Floats of at most 1 are taken as
            0 .. 1, other numbers as 0 .. 255, and clipped.

    Raises:
        ArgumentError: another shape.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ArgumentError(f"an image has the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}.")
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f" and image.size and image.max() <= 1:
        image = np.rint(image * 255)
    if image.dtype == np.bool_:
        image = image * np.uint8(255)
    return np.clip(image, 0, 255).astype(np.uint8)
