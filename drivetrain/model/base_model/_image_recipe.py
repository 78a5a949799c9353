"""What is done to images, and the plain way to do it: a chain of operations that a compiler or autograd can follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from drivetrain.errors import ArgumentError, ArgumentTypeError, BatchError, did_you_mean
from drivetrain.model._batch import stack_batch

Images: TypeAlias = "Tensor | Sequence[Tensor]"
"""A batch (N, C, H, W), or N images (C, H, W) whose sizes may differ."""

_DTYPES = {
    "fp32": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16, "bfloat16": torch.bfloat16,
    "fp16": torch.float16, "float16": torch.float16,
}  # fmt: skip


class Recipe(NamedTuple):
    """What is done to images, in this order: swap, normalise, pad.

    Attributes:
        mean: float32, (1, 1, 1) or (3, 1, 1); None where values are only converted.
        std: likewise.
        swaps: whether the first three channels are taken in reverse.
        divisor: of the height and the width that come out.
        pad: the value of the padding, in normalised units.
        dtype: of the batch that comes out.
        channels_last: whether that batch lies in memory so.
    """

    mean: Tensor | None
    std: Tensor | None
    swaps: bool
    divisor: int
    pad: float
    dtype: torch.dtype
    channels_last: bool

    def channels(self, count: int) -> int:
        """How many channels an image of `count` channels has in the end; 0 where it does not fit."""
        if self.swaps:
            count = 3 if count >= 3 else 0
        if self.mean is None or self.std is None or len(self.mean) == len(self.std) == 1:
            return count
        return 3 if count in (1, 3) else 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in the end of a batch whose largest are these."""
        return -(-height // self.divisor) * self.divisor, -(-width // self.divisor) * self.divisor

    def memory_format(self, images: Images) -> torch.memory_format:
        """How the batch that comes out lies in memory: as asked for, or as it came."""
        if self.channels_last or (torch.is_tensor(images) and _is_channels_last(images)):
            return torch.channels_last
        return torch.contiguous_format


def compose(images: Images, recipe: Recipe) -> Tensor:
    """Apply `recipe`: the reference for every faster way.

    Raises:
        BatchError: the channels of the images do not fit `mean` and `std`, or the swap.
    """
    batch = _compose(images, recipe).to(recipe.dtype)
    return batch.contiguous(memory_format=torch.channels_last) if recipe.channels_last else batch


def _compose(images: Images, recipe: Recipe) -> Tensor:
    if torch.is_tensor(images):
        return _padded(_normalised(images, recipe), recipe)
    if images[0].dim() == 3 and len({(image.shape, image.dtype) for image in images}) == 1:
        # Equal images: pack the bytes first, then one normalisation for all.
        return _padded(_normalised(torch.stack(list(images)), recipe), recipe)
    return stack_batch([_normalised(image, recipe) for image in images], recipe.divisor, recipe.pad)


def _normalised(images: Tensor, recipe: Recipe) -> Tensor:
    """Swap and normalise images (..., C, H, W)."""
    if recipe.swaps:
        # Not by a list of indices: that would be copied to the device, and waited for, at every batch.
        images = _swappable(images)[..., :3, :, :].flip(-3)
    images = images.float()
    mean, std = recipe.mean, recipe.std
    if mean is None or std is None:
        return images
    _check_channels(images, mean)
    centred = images - mean
    return centred.div_(std) if std.shape == mean.shape else centred / std


def _padded(batch: Tensor, recipe: Recipe) -> Tensor:
    height, width = recipe.size(*batch.shape[-2:])
    bottom, right = height - batch.shape[-2], width - batch.shape[-1]
    return F.pad(batch, (0, right, 0, bottom), value=recipe.pad) if bottom or right else batch


def _is_channels_last(batch: Tensor) -> bool:
    return batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous()


def _check_channels(images: Tensor, mean: Tensor) -> None:
    if len(mean) == 3 and (images.dim() < 3 or images.shape[-3] not in (1, 3)):
        raise BatchError(
            f"mean and std have three values, and the images have the shape {tuple(images.shape)}. Give images of "
            "three channels (or one, which becomes three), or one value for mean and std."
        )


def _swappable(images: Tensor) -> Tensor:
    if images.dim() < 3 or images.shape[-3] < 3:
        raise BatchError(f"swapping RGB and BGR needs three channels, got images of shape {tuple(images.shape)}.")
    return images


def per_channel(name: str, values: Any) -> Tensor:
    """`mean` or `std` as a buffer (1, 1, 1) or (3, 1, 1).

    Raises:
        ArgumentTypeError: no sequence.
        ArgumentError: neither one nor three values, or a std of 0.
    """
    if not hasattr(values, "__len__"):
        raise ArgumentTypeError(f"{name} must be a sequence of 1 or 3 numbers, got {values!r}. Write [{values!r}].")
    if len(values) not in (1, 3):
        raise ArgumentError(f"{name} must have 1 or 3 values, one a channel, got {len(values)}: {values!r}.")
    if name == "std" and not all(values):
        raise ArgumentError(f"std must not be 0, got {values!r}: images would become infinite.")
    return torch.tensor([float(value) for value in values]).view(-1, 1, 1)


def parse_output_dtype(given: Any) -> torch.dtype | None:
    """The dtype that `output_dtype` names; None for None.

    Raises:
        ArgumentError: it names none of float32, bfloat16 and float16.
    """
    name = str(given).removeprefix("torch.")
    if given is None or name in _DTYPES:
        return _DTYPES.get(name)
    raise ArgumentError(
        f"output_dtype must be None, 'fp32', 'bf16' or 'fp16', or one of torch's dtypes of that kind, got {given!r}."
        f"{did_you_mean(name, _DTYPES)}"
    )
