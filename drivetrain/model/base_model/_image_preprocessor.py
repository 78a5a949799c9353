"""Images: bytes in, a normalised and padded batch out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from drivetrain.errors import ArgumentError, BatchError, did_you_mean
from drivetrain.model.batch_augment import augment_batch, batch_augmentation
from drivetrain.registry import MODELS
from drivetrain.typing import Batch

from ._first_look import FirstLook
from ._image_batch import make_batch
from ._image_recipe import Recipe, parse_output_dtype, per_channel
from ._preprocessor import BaseDataPreprocessor


@MODELS.register_module()
class ImgDataPreprocessor(BaseDataPreprocessor):
    """Moves images as they are (uint8 is a quarter of float32), then swaps channels, normalises and pads on the device.

    The values are `(x - mean) / std` in float32, in that order, whatever dtype came; padding goes to the right and the
    bottom, after normalisation.

    Args:
        mean: one value, or one for each of three channels, in the order after the swap (grey images are then spread to
            three channels); None with `std` None leaves values as they are.
        std: likewise.
        pad_size_divisor: height and width are padded to a multiple of it, and to the largest image of a list.
        pad_value: what the padding holds, in normalised units.
        bgr_to_rgb: reverse the three channels.
        rgb_to_bgr: the same; only one of the two may be set.
        non_blocking: let copies from pinned memory run beside the host.
        output_dtype: of the images that come out: 'fp32', 'bf16', 'fp16' or the dtype itself; None is float32. All is
            computed in float32 and rounded last.
        channels_last: let the images that come out lie in memory so, as convolutions on tensor cores want them.
        batch_augments: batch augmentations or their configs, one or a list, carried out in training on the normalised
            images and on the targets (`data_samples`, `labels` ...); see `BatchAugments`.

    Raises:
        ArgumentError: only one of `mean` and `std` is given, one of them has neither 1 nor 3 values, a std is 0, both
            swaps are asked for, the divisor is below 1, or `output_dtype` is another.
    """

    moves_ahead: bool = True
    pure: bool = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pad_size_divisor: int = 1,
        pad_value: float = 0,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool | None = False,
        *,
        output_dtype: Any = None,
        channels_last: bool = False,
        batch_augments: Any = None,
    ) -> None:
        super().__init__(non_blocking)
        self._batch_augment = batch_augmentation(batch_augments)
        if self._batch_augment is not None:
            self.pure = False  # what it draws changes from step to step
        if bgr_to_rgb and rgb_to_bgr:
            raise ArgumentError("bgr_to_rgb and rgb_to_bgr undo each other: set only one of them.")
        if (mean is None) != (std is None):
            raise ArgumentError(f"mean and std come together or not at all, got mean={mean!r} and std={std!r}.")
        if pad_size_divisor < 1:
            raise ArgumentError(f"pad_size_divisor must be at least 1, got {pad_size_divisor!r}.")
        self._channel_conversion = bgr_to_rgb or rgb_to_bgr
        self._enable_normalize = mean is not None
        if self._enable_normalize:
            self.register_buffer("mean", per_channel("mean", mean), persistent=False)
            self.register_buffer("std", per_channel("std", std), persistent=False)
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value
        self.output_dtype = parse_output_dtype(output_dtype)
        self.channels_last = channels_last
        self._first_look = FirstLook(mean, std)

    def forward(self, data: Batch, training: bool = False) -> dict[str, Any]:
        """Turn a batch into normalised images of one size.

        Args:
            data: dict with `inputs`, a tensor (N, C, H, W) or a list of N tensors (C, H, W) whose sizes may differ, of
                any dtype; `data_samples` and other keys are moved and passed on.
            training: whether `batch_augments` are carried out.

        Returns:
            A new dict with `inputs`: (N, C, H, W) of `output_dtype`, and `data_samples`, None if there were none.

        Raises:
            BatchError: the batch is no dict with `inputs`, or they are not images of fitting shape.
        """
        # Asked in this order, so that a compiled forward does not depend on whether somebody has looked.
        if not torch.compiler.is_compiling() and not self._first_look.done:
            self._first_look.take(data)
        moved = self.cast_data(data)
        if not hasattr(moved, "get"):
            raise BatchError(_no_dict(moved))
        images = moved.get("inputs")
        if not torch.is_tensor(images):
            images = _listed(images, moved)
        elif images.dim() != 4:
            raise BatchError(_no_batch(images))
        moved["inputs"] = make_batch(images, self._recipe())
        moved.setdefault("data_samples", None)
        if training and self._batch_augment is not None:
            return augment_batch(self._batch_augment, moved, {"inputs": images})
        return moved

    def look_once(self, data: Batch) -> None:
        """Warn if images seem to have been normalised before; only the first batch that is given is looked at.

        `forward` does so itself. Whoever moves batches to the device before `forward` calls it with the host's.

        Args:
            data: a batch on the host; of a batch on a device nothing is read.
        """
        if not self._first_look.done:
            self._first_look.take(data)

    def _recipe(self) -> Recipe:
        mean, std = (self.mean, self.std) if self._enable_normalize else (None, None)
        dtype = self.output_dtype
        if dtype is None:
            # Those of a model that was cast to float64 as a whole; of half precision are computed with as float32.
            is_double = mean is not None and torch.float64 in (mean.dtype, self.std.dtype)
            dtype = torch.float64 if is_double else torch.float32
        divisor, pad = self.pad_size_divisor, self.pad_value
        return Recipe(mean, std, self._channel_conversion, divisor, pad, dtype, self.channels_last)


def _listed(images: Any, batch: Any) -> list[Tensor]:
    """The images of a list or a tuple as a plain list."""
    if issubclass(type(images), (list, tuple)) and images and all(map(torch.is_tensor, images)):
        return list(images)
    raise BatchError(_no_images(batch))


def _no_batch(images: Tensor) -> str:
    return (
        f"`inputs` as one tensor must have the shape (N, C, H, W), got {tuple(images.shape)}. Stack images, or give a "
        "list of (C, H, W) tensors."
    )


def _no_dict(data: Any) -> str:
    return (
        f"ImgDataPreprocessor takes a dict with the key 'inputs', got {type(data).__name__}. Let the dataset return "
        "dict(inputs=image, data_samples=label), or use BaseDataPreprocessor for tuples."
    )


def _no_images(data: Any) -> str:
    if "inputs" not in data:
        return f"ImgDataPreprocessor needs the key 'inputs', and the batch has {list(data)}." + "".join(
            f"{hint} ({key!r} holds it now.)" for key in data if (hint := did_you_mean(str(key), ["inputs"]))
        )
    return (
        "`inputs` must be a tensor (N, C, H, W) or a non-empty list of tensors (C, H, W), got "
        f"{data['inputs']!r:.80} of type {type(data['inputs']).__name__}. Convert arrays with torch.from_numpy in the "
        "dataset."
    )
