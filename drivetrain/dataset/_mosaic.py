"""Mosaics of random images of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError
from drivetrain.logging import MessageHub
from drivetrain.registry import DATASETS
from drivetrain.utils import Interval

from ._configs import is_config
from ._keyed import current_pass
from ._mosaic_parts import Part, Placement, opened, put_together
from ._wrappers import _Whole

_FOLLOW, _ON, _OFF = 0, 1, 2
_NUMBERS = 7


@DATASETS.register_module()
class MosaicDataset(_Whole, Dataset[Any]):
    """A dataset in which each sample is laid together with three random others (Bochkovskiy et al. 2020).

    The others, the point around which the four lie, and the factor of their sizes are drawn from the stream of the
    sample: with `streams='sample'` they are the same for any number of workers, and after a resume. Boxes, masks and
    maps move with the images; instances of which too little is left are dropped. `BatchMosaic` does the like on the
    device, with images of the batch.

    A sample is a dict with the image under `inputs`, `img` or `image`, or a tuple (image, target). What belongs to it
    is a data element (with `gt_instances`, `gt_sem_seg`), or a dict with `boxes`, `labels`, `masks`, or such keys
    beside the image. Images are tensors (C, H, W) or arrays (H, W, C), boxes x1, y1, x2, y2 in pixels.

    Args:
        dataset: a dataset or its config.
        size: height and width of the canvas, or one number for both.
        prob: share of samples that become a mosaic; the others are left as the dataset gives them.
        scale: least and greatest factor; images are resized to fit the canvas times the factor, in their own
            proportions.
        centre: least and greatest place of the point, as a share of height and width.
        pad_value: what stands where no image is, in the values of the dataset's images.
        min_visible: share of a box's area that has to be left on the canvas.
        close_at: number of passes with mosaics, such as '10ep'; those behind go without. The number of a pass comes
            with the index of each sample, so persistent workers close with the right sample, and a resumed run as well.
            An index given by hand has no pass, and the sample is a mosaic.

    Raises:
        ArgumentError: an argument is out of its range, or `close_at` is no whole number of epochs.
        ArgumentTypeError: `dataset` is neither a dataset nor a config.
    """

    def __init__(
        self,
        dataset: Any,
        size: int | tuple[int, int],
        prob: float = 1.0,
        scale: tuple[float, float] = (0.5, 1.0),
        centre: tuple[float, float] = (0.25, 0.75),
        pad_value: float = 114,
        min_visible: float = 0.1,
        close_at: str | None = None,
    ) -> None:
        self.dataset: Any = DATASETS.build(dataset) if is_config(dataset) else dataset
        if not hasattr(self.dataset, "__getitem__") or not hasattr(self.dataset, "__len__"):
            raise ArgumentTypeError(f"MosaicDataset wraps a dataset with a length, or its config, got {dataset!r:.80}.")
        canvas = (size, size) if type(size) is int else tuple(size)  # type: ignore[arg-type]
        if len(canvas) != 2 or min(canvas) < 2:
            raise ArgumentError(f"size is (height, width) of at least 2 pixels, or one number, got {size!r}.")
        if not 0 <= prob <= 1 or not 0 < scale[0] <= scale[1] or not 0 <= centre[0] <= centre[1] <= 1:
            raise ArgumentError(
                f"prob and centre lie in [0, 1] and scale is above 0, the least first; got prob={prob!r}, "
                f"scale={scale!r}, centre={centre!r}."
            )
        self.size, self.prob, self.scale, self.centre = canvas, prob, tuple(scale), tuple(centre)
        self.pad_value, self.min_visible = pad_value, min_visible
        self.close_at = _passes(close_at)
        # Workers have their own copies of the dataset; this one byte they share.
        self._by_hand = torch.zeros(1, dtype=torch.uint8).share_memory_()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts about the dataset, as it gives them."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the annotations of the dataset inside, where it has any."""
        getattr(self.dataset, "full_init", lambda: None)()

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotations of a sample of the dataset inside; without those of the images laid beside it."""
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The categories in a sample of the dataset inside."""
        return self.dataset.get_cat_ids(idx)

    def switch(self, on: bool | None) -> None:
        """Turn mosaics on or off by hand, in running workers too; what they have fetched ahead stays as it is.

        What was switched by hand is not in a checkpoint, and the first samples behind it depend on how far workers are;
        for a run that can be repeated use `close_at`.

        Args:
            on: whether there are mosaics; None goes back to `close_at`.
        """
        self._by_hand[0] = _FOLLOW if on is None else _ON if on else _OFF

    def __len__(self) -> int:
        """Samples there are."""
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        """A sample, as a mosaic or as the dataset gives it."""
        if not self._open():
            return self.dataset[idx]
        # All are drawn before a sample is fetched: what its transforms draw then does not move them.
        numbers = np.random.random_sample(_NUMBERS)
        if numbers[0] >= self.prob:
            return self.dataset[idx]
        others = [int(number * len(self)) for number in numbers[1:4]]
        samples = [self.dataset[place] for place in (idx, *others)]
        return self._mosaic(samples, numbers[4:])

    def _mosaic(self, samples: list[Any], numbers: Any) -> Any:
        parts: list[Part] = [opened(sample) for sample in samples]
        (least, most), (low, high) = self.centre, self.scale
        height, width = self.size
        middle = (_between(least, most, numbers[0], height), _between(least, most, numbers[1], width))
        factor = low + (high - low) * float(numbers[2])
        places = []
        for quarter, part in enumerate(parts):
            fit = factor * min(height / part.height, width / part.width)
            places.append(Placement.around(middle, quarter, part.scaled_to(fit), self.size))
        return put_together(samples[0], parts, places, self.size, self.pad_value, self.min_visible)

    def _open(self) -> bool:
        by_hand = int(self._by_hand[0])
        if by_hand != _FOLLOW or self.close_at is None:
            return by_hand != _OFF
        number = current_pass()
        if number is None:
            self._no_pass()
            return True
        return number < self.close_at

    def _no_pass(self) -> None:
        training = MessageHub.get_current_instance().runtime_info.get("loop_stage") == "train"
        if training or get_worker_info() is not None:
            raise NotSupportedError(
                f"close_at='{self.close_at}ep' needs to know the pass of a sample, which comes with its random stream: "
                "train with randomness=dict(streams='sample'), or close by hand with switch(False)."
            )


def _between(low: float, high: float, number: float, length: int) -> int:
    return round(length * (low + (high - low) * float(number)))


def _passes(close_at: str | None) -> int | None:
    if close_at is None:
        return None
    interval = Interval.parse("close_at", close_at if type(close_at) is str else str(close_at))
    if interval.epochs is None:
        raise ArgumentError(
            f"close_at={close_at!r}: a sample knows its pass and not its step. Give whole epochs, such as '10ep'; "
            "BatchMosaic on the device can close at a step."
        )
    return interval.epochs
