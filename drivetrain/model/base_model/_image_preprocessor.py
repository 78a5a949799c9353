"""Images: bytes in, a normalised and padded batch out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from drivetrain.errors import ArgumentError, ArgumentTypeError, BatchError, did_you_mean
from drivetrain.model._batch import stack_batch
from drivetrain.registry import MODELS
from drivetrain.typing import Batch

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

    Raises:
        ArgumentError: only one of `mean` and `std` is given, one of them has neither 1 nor 3 values, a std is 0, both
            swaps are asked for, or the divisor is below 1.
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
    ) -> None:
        super().__init__(non_blocking)
        if bgr_to_rgb and rgb_to_bgr:
            raise ArgumentError("bgr_to_rgb and rgb_to_bgr undo each other: set only one of them.")
        if (mean is None) != (std is None):
            raise ArgumentError(f"mean and std come together or not at all, got mean={mean!r} and std={std!r}.")
        if pad_size_divisor < 1:
            raise ArgumentError(f"pad_size_divisor must be at least 1, got {pad_size_divisor!r}.")
        self._channel_conversion = bgr_to_rgb or rgb_to_bgr
        self._enable_normalize = mean is not None
        if self._enable_normalize:
            self.register_buffer("mean", _per_channel("mean", mean), persistent=False)
            self.register_buffer("std", _per_channel("std", std), persistent=False)
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value

    def forward(self, data: Batch, training: bool = False) -> dict[str, Any]:
        """Turn a batch into normalised float32 images of one size.

        Args:
            data: dict with `inputs`, a tensor (N, C, H, W) or a list of N tensors (C, H, W) whose sizes may differ, of
                any dtype; `data_samples` and other keys are moved and passed on.
            training: unused here.

        Returns:
            A new dict with `inputs`: float32 (N, C, H, W), and `data_samples`, None if there were none.

        Raises:
            BatchError: the batch is no dict with `inputs`, or they are not images of fitting shape.
        """
        moved = self.cast_data(data)
        if not hasattr(moved, "get"):
            raise BatchError(_no_dict(moved))
        images = moved.get("inputs")
        if torch.is_tensor(images):
            moved["inputs"] = self._pad(self._normalise(_checked(images, 4)))
        elif type(images) in (list, tuple) and images and all(torch.is_tensor(image) for image in images):
            moved["inputs"] = self._from_list(list(images))
        else:
            raise BatchError(_no_images(moved))
        moved.setdefault("data_samples", None)
        return moved

    def _from_list(self, images: list[Tensor]) -> Tensor:
        if images[0].dim() == 3 and len({(image.shape, image.dtype) for image in images}) == 1:
            # Equal images: pack the bytes first, then one normalisation for all.
            return self._pad(self._normalise(torch.stack(images)))
        return stack_batch([self._normalise(image) for image in images], self.pad_size_divisor, self.pad_value)

    def _normalise(self, images: Tensor) -> Tensor:
        """Swap and normalise images (..., C, H, W)."""
        if self._channel_conversion:
            # Not by a list of indices: that would be copied to the device, and waited for, at every batch.
            images = _checked(images)[..., :3, :, :].flip(-3)
        images = images.float()
        if not self._enable_normalize:
            return images
        self._check_channels(images)
        centred = images - self.mean
        return centred.div_(self.std) if self.std.shape == self.mean.shape else centred / self.std

    def _check_channels(self, images: Tensor) -> None:
        if len(self.mean) == 3 and (images.dim() < 3 or images.shape[-3] not in (1, 3)):
            raise BatchError(
                f"mean and std have three values, and the images have the shape {tuple(images.shape)}. Give images of "
                "three channels (or one, which becomes three), or one value for mean and std."
            )

    def _pad(self, batch: Tensor) -> Tensor:
        divisor = self.pad_size_divisor
        bottom, right = -batch.shape[-2] % divisor, -batch.shape[-1] % divisor
        return F.pad(batch, (0, right, 0, bottom), value=self.pad_value) if bottom or right else batch


def _per_channel(name: str, values: Any) -> Tensor:
    if not hasattr(values, "__len__"):
        raise ArgumentTypeError(f"{name} must be a sequence of 1 or 3 numbers, got {values!r}. Write [{values!r}].")
    if len(values) not in (1, 3):
        raise ArgumentError(f"{name} must have 1 or 3 values, one a channel, got {len(values)}: {values!r}.")
    if name == "std" and not all(values):
        raise ArgumentError(f"std must not be 0, got {values!r}: images would become infinite.")
    return torch.tensor([float(value) for value in values]).view(-1, 1, 1)


def _checked(images: Tensor, dims: int | None = None) -> Tensor:
    if dims is not None and images.dim() != dims:
        raise BatchError(
            f"`inputs` as one tensor must have the shape (N, C, H, W), got {tuple(images.shape)}. Stack images, or "
            "give a list of (C, H, W) tensors."
        )
    if dims is None and (images.dim() < 3 or images.shape[-3] < 3):
        raise BatchError(f"swapping RGB and BGR needs three channels, got images of shape {tuple(images.shape)}.")
    return images


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
