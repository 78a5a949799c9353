"""Mirrored samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from drivetrain.errors import ArgumentError
from drivetrain.registry import MODELS

from ._base import BatchAugment
from ._draw import Array, Draw
from ._layout import Layout, Step, Tensors
from ._moment import Moment
from ._scene import Scene, picked


@MODELS.register_module()
class BatchRandomFlip(BatchAugment):
    """Mirrors samples, each by its own chance, with their boxes, masks and maps.

    A sample that fills only a part of its canvas is mirrored within that part, so that padding stays at the right and
    the bottom.

    Args:
        horizontal: chance that left and right change places.
        vertical: chance that top and bottom do, drawn apart from it.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: a chance is not in [0, 1].
    """

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0, *, stream: int = 0) -> None:
        super().__init__(stream=stream)
        for name, chance in (("horizontal", horizontal), ("vertical", vertical)):
            if not 0 <= chance <= 1:
                raise ArgumentError(f"{name} is a chance in [0, 1], got {chance!r}.")
        self.horizontal, self.vertical = horizontal, vertical

    def extra_repr(self) -> str:
        """The arguments."""
        return f"horizontal={self.horizontal}, vertical={self.vertical}"

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw who is mirrored."""
        flips = self._own(draw).rows(layout.batch, 2) < [self.horizontal, self.vertical]
        numbers: dict[str, Array] = {"flips": flips}
        if not layout.full:
            numbers["sizes"] = layout.sizes
        for name in layout.counts:
            each = layout.for_instances(flips, name)
            numbers[f"flips {name}"] = each
            numbers[f"scale {name}"] = 1.0 - 2.0 * each
            numbers[f"shift {name}"] = layout.for_instances(layout.sizes[:, ::-1], name) * each.astype(np.float64)
            if not layout.full:
                numbers[f"sizes {name}"] = layout.for_instances(layout.sizes, name)
        behind = layout.changed(flipped=layout.flipped ^ flips)
        steps.append(Step(self._flip, numbers, behind))
        return behind

    def _flip(self, scene: Scene, numbers: Tensors) -> None:
        flips, sizes = numbers["flips"], numbers.get("sizes")
        scene.images = self._flipped(scene.images, flips, sizes)
        scene.maps = {name: self._flipped(values, flips, sizes) for name, values in scene.maps.items()}
        for name, group in scene.groups.items():
            group.move(numbers[f"scale {name}"], numbers[f"shift {name}"])
            if group.masks is not None:
                masks = group.masks[:, None]
                each = self._flipped(masks, numbers[f"flips {name}"], numbers.get(f"sizes {name}"))
                group.masks = each.squeeze(1)

    def _flipped(self, values: Tensor, flips: Tensor, sizes: Tensor | None) -> Tensor:
        """Values (N, C, H, W), mirrored where `flips` (N, 2) says so, within `sizes` (N, 2) or as a whole."""
        wanted = flips.bool()
        if sizes is not None:
            rows = _mirrored(values.shape[2], sizes[:, 0], wanted[:, 1])
            return picked(values, rows, _mirrored(values.shape[3], sizes[:, 1], wanted[:, 0]))
        for chance, axis, flip in ((self.horizontal, 3, wanted[:, 0]), (self.vertical, 2, wanted[:, 1])):
            if chance:
                values = torch.where(flip.view(-1, 1, 1, 1), values.flip(axis), values)
        return values


def _mirrored(length: int, sizes: Tensor, wanted: Tensor) -> Tensor:
    """The places (N, length) in the order in which they are to stand."""
    places = torch.arange(length, device=sizes.device).expand(len(sizes), length)
    turned = sizes[:, None] - 1 - places
    return torch.where(wanted[:, None] & (turned >= 0), turned, places)
