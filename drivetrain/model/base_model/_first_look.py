"""A look at the first batch: were its images normalised before they came to be normalised?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from drivetrain.logging import print_log

_ENOUGH = 4096
"""Values that are looked at; they are spread over the image."""

_BYTE_UNITS = 2.0
"""A mean or std above it is made for values of 0 to 255."""

_FAR = 20.0
"""Images of 0 to 255 have values above it, and by what resizing overshoots none below minus it."""


class FirstLook:
    """Looks at one batch, and never again.

    It is an object, and not an attribute of the preprocessor's own, since steps in graphs are recorded anew when one of
    these changes. It knows `mean` and `std` from the host: the buffers may be on a device.

    Args:
        mean: as the user gave it; None where nothing is normalised.
        std: likewise.

    Attributes:
        done: whether there is nothing left to look at.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        numbers = [abs(float(number)) for number in (*(mean or ()), *(std or ()))]
        self.done = max(numbers, default=0.0) <= _BYTE_UNITS
        self._numbers = mean, std

    def take(self, data: Any) -> None:
        """Warn if the first image of a batch is no image of 0 to 255.

        Args:
            data: the batch; what is no dict with floating-point images on the CPU is passed over.
        """
        self.done = True
        images: Any = data.get("inputs") if hasattr(data, "get") else None
        if issubclass(type(images), (list, tuple)) or (torch.is_tensor(images) and images.dim() == 4):
            images = images[0] if len(images) else None
        if torch.is_tensor(images) and images.device.type == "cpu" and images.is_floating_point() and images.numel():
            values = images.detach().reshape(-1)
            self._judge(values[:: max(1, len(values) // _ENOUGH)])

    def _judge(self, values: torch.Tensor) -> None:
        low, high = (float(value) for value in values.aminmax())
        was_centred = low < -_FAR or (low < 0 and high < _FAR)
        was_scaled = low >= 0 and high <= 1 and not torch.equal(values, values.round())
        if was_centred or was_scaled:
            mean, std = self._numbers
            print_log(
                f"The images of the first batch seem to have been {'normalised' if was_centred else 'scaled'} before: "
                f"their values lie between {low:.4g} and {high:.4g}, and ImgDataPreprocessor normalises with mean="
                f"{mean} and std={std}, which are for values of 0 to 255. Leave out the normalisation of the dataset's "
                "transforms (uint8 images are also a quarter of the bytes), or mean and std here.",
                "current",
                logging.WARNING,
            )
