"""Batches of changing size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from drivetrain.errors import ArgumentError
from drivetrain.registry import MODELS

from ._base import BatchAugment
from ._draw import Array, Draw
from ._layout import Layout, Step, Tensors
from ._moment import Moment
from ._scene import Scene


@MODELS.register_module()
class BatchRandomResize(BatchAugment):
    """Resizes each batch to a size drawn for it: one size for all its samples, and for all ranks.

    Images are resized as `torchvision.transforms.v2.functional.resize` does it, in one call; masks and maps by their
    nearest pixel.

    Args:
        sizes: the sizes to choose from, each (height, width) or one number for both.
        between: instead of `sizes`, the least and the greatest length of a square.
        divisor: with `between`, lengths are multiples of it; listed sizes have to be.
        interval: how many steps a size lasts.
        antialias: smooth images that become smaller.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: neither or both of `sizes` and `between` are given, or a size is no multiple of the divisor.
    """

    def __init__(
        self,
        sizes: Sequence[int | tuple[int, int]] | None = None,
        between: tuple[int, int] | None = None,
        divisor: int = 32,
        interval: int = 1,
        antialias: bool = False,
        *,
        stream: int = 0,
    ) -> None:
        super().__init__(stream=stream)
        if (sizes is None) == (between is None):
            raise ArgumentError("give one of sizes=[(height, width), ...] and between=(least, greatest).")
        if divisor < 1 or interval < 1:
            raise ArgumentError(f"divisor and interval are at least 1, got {divisor!r} and {interval!r}.")
        self.sizes = _spanned(between, divisor) if sizes is None else _listed(sizes, divisor)
        self.interval, self.antialias = interval, antialias

    def extra_repr(self) -> str:
        """The arguments."""
        return f"sizes={self.sizes}, interval={self.interval}"

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw the size."""
        chosen = int(self._own(draw).on_all_ranks(1, self.interval)[0] * len(self.sizes))
        height, width = self.sizes[chosen]
        if (height, width) == (layout.height, layout.width):
            return layout
        factors = np.array([height / layout.height, width / layout.width])
        numbers: dict[str, Array] = {}
        if kinds & {"masks", "maps"}:
            numbers = {"rows": nearest(layout.height, height), "columns": nearest(layout.width, width)}
        for name in layout.counts:
            count = int(layout.counts[name].sum())
            numbers[f"scale {name}"] = np.tile(factors[::-1], (count, 1))
            numbers[f"shift {name}"] = np.zeros((count, 2))
        filled = np.clip(np.rint(layout.sizes * factors), 1, [height, width]).astype(np.int64)
        behind = layout.changed(height=height, width=width, sizes=filled, scaled=layout.scaled * factors[::-1])
        steps.append(Step(lambda scene, numbers: self._resize(scene, numbers, (height, width)), numbers, behind))
        return behind

    def _resize(self, scene: Scene, numbers: Tensors, size: tuple[int, int]) -> None:
        scene.images = resized(scene.images, size, self.antialias)
        scene.maps = {name: at(values, numbers) for name, values in scene.maps.items()}
        for name, group in scene.groups.items():
            group.move(numbers[f"scale {name}"], numbers[f"shift {name}"])
            group.masks = None if group.masks is None else at(group.masks, numbers)


def resized(images: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    """Images (N, C, H, W) in another size, bilinear."""
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def nearest(length: int, new: int) -> Array:
    """For each of `new` places the nearest of `length`, as centres of pixels lie: int64 (new,)."""
    return np.minimum(((np.arange(new) + 0.5) * (length / new)).astype(np.int64), length - 1)


def at(values: Tensor, numbers: Tensors) -> Tensor:
    """Values (..., H, W) at `rows` and `columns`, of any dtype."""
    return values.index_select(-2, numbers["rows"]).index_select(-1, numbers["columns"])


def _listed(sizes: Any, divisor: int) -> list[tuple[int, int]]:
    pairs = [(size, size) if type(size) is int else tuple(size) for size in sizes]
    wrong = [pair for pair in pairs if len(pair) != 2 or any(side < 1 or side % divisor for side in pair)]
    if wrong or not pairs:
        raise ArgumentError(
            f"sizes are (height, width) in multiples of divisor={divisor}, at least one, got {wrong or sizes!r}. "
            "Change them, or the divisor."
        )
    return pairs


def _spanned(between: Any, divisor: int) -> list[tuple[int, int]]:
    low, high = -(-between[0] // divisor) * divisor, between[1] // divisor * divisor
    if not 0 < low <= high:
        raise ArgumentError(f"there is no multiple of divisor={divisor} in between={tuple(between)!r}.")
    return [(side, side) for side in range(low, high + 1, divisor)]
