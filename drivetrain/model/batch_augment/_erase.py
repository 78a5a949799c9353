"""Samples with a rectangle wiped out."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from drivetrain.errors import ArgumentError
from drivetrain.registry import MODELS

from ._base import BatchAugment
from ._draw import Array, Draw
from ._layout import Layout, Step, Tensors
from ._moment import Moment
from ._scene import Scene, ignore_value, rectangles

_WHERE, _NOISE = 1, 2


@MODELS.register_module()
class BatchRandomErase(BatchAugment):
    """Wipes out a rectangle of samples, each by its own chance and place (Zhong et al. 2020).

    Boxes stay as they are, since what is hidden is still there; an instance of whose box less than `min_visible` is
    left gets False in the field `visible`. Masks lose the pixels that are wiped out, and maps hold there what stands
    for "nothing" (255 in whole numbers).

    Args:
        prob: share of samples.
        scale: least and greatest area of the rectangle, as a share of the image.
        ratio: least and greatest height by width.
        value: what stands there, in normalised units, or 'noise' for numbers from the normal distribution.
        min_visible: share of a box that has to be left.
        drop_hidden: take instances that are not visible out. How many are left only the device knows, so the host waits
            for it, once a batch.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: an argument is out of its range.
    """

    marks = True

    def __init__(
        self,
        prob: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Literal["noise"] = 0.0,
        min_visible: float = 0.1,
        drop_hidden: bool = False,
        *,
        stream: int = 0,
    ) -> None:
        super().__init__(stream=stream)
        if not 0 <= prob <= 1:
            raise ArgumentError(f"prob must lie in [0, 1], got {prob!r}.")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ArgumentError(f"scale is the least and the greatest share of the area, in (0, 1], got {scale!r}.")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ArgumentError(f"ratio is the least and the greatest height by width, above 0, got {ratio!r}.")
        filling: object = value
        if type(filling) is str and filling != "noise":
            raise ArgumentError(f"value is a number or 'noise', got {value!r}.")
        self.prob, self.scale, self.ratio, self.value = prob, tuple(scale), tuple(ratio), value
        self.min_visible, self.drop_hidden = min_visible, drop_hidden

    def extra_repr(self) -> str:
        """The arguments."""
        return f"prob={self.prob}, scale={self.scale}, ratio={self.ratio}, value={self.value!r}"

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw the rectangles."""
        own = self._own(draw)
        box = self._boxes(own.child(_WHERE).rows(layout.batch, 5), layout.sizes)
        numbers = {"box": box}
        for name in layout.counts:
            numbers[f"box {name}"] = layout.for_instances(box, name)
        seed = int(own.child(_NOISE).keys(1)[0])
        steps.append(Step(lambda scene, numbers: self._erase(scene, numbers, seed), numbers, layout))
        return layout

    def _boxes(self, uniform: Array, sizes: Array) -> Array:
        """Rectangles within sizes (N, 2) from uniform numbers (N, 5): x1, y1, x2, y2, int64; empty for no erasing."""
        low, high = self.scale
        area = (low + (high - low) * uniform[:, 1]) * sizes.prod(1)
        first, last = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = np.exp(first + (last - first) * uniform[:, 2])
        sides = np.rint(np.sqrt(np.stack([area * ratio, area / ratio], axis=1))).astype(np.int64)
        sides = np.clip(sides, 1, np.maximum(sizes, 1)) * (uniform[:, :1] < self.prob)
        begin = np.floor(uniform[:, 3:] * (sizes - sides + 1)).astype(np.int64)
        return np.concatenate([begin[:, ::-1], (begin + sides)[:, ::-1]], axis=1)

    def _erase(self, scene: Scene, numbers: Tensors, seed: int) -> None:
        scene.drops |= self.drop_hidden
        height, width = scene.layout.height, scene.layout.width
        wiped = rectangles(numbers["box"], height, width)
        scene.images = torch.where(wiped, self._filling(scene.images, seed), scene.images)
        scene.maps = {name: values.masked_fill(wiped, ignore_value(values)) for name, values in scene.maps.items()}
        for name, group in scene.groups.items():
            box = numbers[f"box {name}"]
            if group.masks is not None:
                group.masks = group.masks.masked_fill(rectangles(box, height, width).squeeze(1), 0)
            if group.boxes is not None:
                group.mark(_hidden_share(group.boxes, box) <= 1 - self.min_visible)

    def _filling(self, images: Tensor, seed: int) -> Tensor:
        if self.value != "noise":
            return images.new_full((), float(self.value))
        generator = torch.Generator(device=images.device)
        generator.manual_seed(seed % 2**63)
        return torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)


def _hidden_share(boxes: Tensor, wiped: Tensor) -> Tensor:
    """The share of each of boxes (M, 4) that lies under a rectangle (M, 4)."""
    low, high = torch.maximum(boxes[:, :2], wiped[:, :2]), torch.minimum(boxes[:, 2:], wiped[:, 2:])
    under = (high - low).clamp_min(0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return under / area.clamp_min(torch.finfo(boxes.dtype).tiny)
