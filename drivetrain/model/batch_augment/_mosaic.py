"""Four images of a batch laid around a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from drivetrain.errors import ArgumentError
from drivetrain.registry import MODELS

from ._base import BatchAugment
from ._draw import Array, Draw, partners
from ._layout import Layout, Step, Tensors
from ._moment import Moment
from ._resize import at, nearest, resized
from ._scene import Group, Scene, ignore_value, numbered, within

_ORDER, _WHERE, _SCALE = 1, 2, 3


@dataclass
class _Tiling:
    """Where four images lie on each canvas; quarters are top left, top right, bottom left, bottom right.

    Attributes:
        source: the sample in each quarter, int64 (N, 4).
        corner: where its top left pixel lies on the canvas, (x, y): int64 (N, 4, 2).
        window: the part of the canvas that shows it, x1, y1, x2, y2: int64 (N, 4, 4).
    """

    source: Array
    corner: Array
    window: Array

    @classmethod
    def around(cls, centre: Array, source: Array, sizes: Array, canvas: tuple[int, int]) -> _Tiling:
        """Lay images of `sizes` (N, 2) so that a corner of each touches the centre (N, 2) of its canvas."""
        height, width = canvas
        size = sizes[source][:, :, ::-1]
        middle = np.repeat(centre[:, None], 4, axis=1)
        left, above = np.array([True, False, True, False]), np.array([True, True, False, False])
        before = np.stack([left, above], axis=1)
        corner = np.where(before, middle - size, middle)
        low = np.where(before, np.maximum(corner, 0), middle)
        high = np.where(before, middle, np.minimum(corner + size, [width, height]))
        return cls(source, corner, np.concatenate([low, high], axis=2))


@MODELS.register_module()
class BatchMosaic(BatchAugment):
    """Lays each image and three others of the batch around a point, with boxes, masks and maps.

    The mosaic of Bochkovskiy et al. (2020). All images are resized by one factor, drawn for the batch; the point is
    drawn for each sample. The canvas keeps its size. What no image covers holds `pad_value`. For mosaics of random
    images of the dataset see `MosaicDataset`.

    How many boxes fall off the canvas only the device knows. So all are kept, cut to the canvas, and the field
    `visible` tells which still count; a model that does not look at it wants `drop_hidden=True`.

    Args:
        prob: share of samples that become a mosaic.
        scale: least and greatest factor of the images.
        centre: least and greatest place of the point, as a share of height and width.
        pad_value: what stands where no image is, in normalised units.
        min_visible: share of a box's area that has to be left on the canvas.
        drop_hidden: take instances that are not visible out. The host waits for the device then, once a batch.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: an argument is out of its range.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "maps"})
    needs: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "maps"})
    marks = True

    def __init__(
        self,
        prob: float = 1.0,
        scale: tuple[float, float] = (0.5, 1.0),
        centre: tuple[float, float] = (0.25, 0.75),
        pad_value: float = 0.0,
        min_visible: float = 0.1,
        drop_hidden: bool = False,
        *,
        stream: int = 0,
    ) -> None:
        super().__init__(stream=stream)
        if not 0 <= prob <= 1:
            raise ArgumentError(f"prob must lie in [0, 1], got {prob!r}.")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ArgumentError(f"scale is the least and the greatest factor, above 0, got {scale!r}.")
        if len(centre) != 2 or not 0 <= centre[0] <= centre[1] <= 1:
            raise ArgumentError(f"centre is the least and the greatest place, in [0, 1], got {centre!r}.")
        self.prob, self.scale, self.centre = prob, tuple(scale), tuple(centre)
        self.pad_value, self.min_visible, self.drop_hidden = pad_value, min_visible, drop_hidden

    def extra_repr(self) -> str:
        """The arguments."""
        return f"prob={self.prob}, scale={self.scale}, centre={self.centre}"

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw partners, points and the factor."""
        own = self._own(draw)
        batch, height, width = layout.batch, layout.height, layout.width
        order = own.child(_ORDER).cycle(batch)
        uniform = own.child(_WHERE).rows(batch, 3)
        chosen = uniform[:, 2] < self.prob
        low, high = self.scale
        factor = low + (high - low) * float(own.child(_SCALE).once(1)[0])
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        factors = np.array([size[0] / height, size[1] / width])
        filled = np.clip(np.rint(layout.sizes * factors), 1, size).astype(np.int64)
        low, high = self.centre
        centre = np.rint((low + (high - low) * uniform[:, :2]) * [width, height]).astype(np.int64)
        source = np.stack([partners(order, step) for step in range(4)], axis=1)
        tiling = _Tiling.around(centre, source, filled, (height, width))
        numbers = {"chosen": chosen, "rows": nearest(height, size[0]), "columns": nearest(width, size[1])}
        numbers |= {"source": source, "corner": tiling.corner, "window": tiling.window}
        counts, places = {}, {}
        for name in layout.counts:
            of_group, counts[name], places[name] = self._instances(layout, tiling, chosen, factors, name)
            numbers |= {f"{key} {name}": value for key, value in of_group.items()}
        behind = layout.changed(
            counts=counts,
            sizes=np.where(chosen[:, None], [height, width], layout.sizes),
            scaled=np.where(chosen[:, None], layout.scaled * factors[::-1], layout.scaled),
        )
        steps.append(Step(lambda scene, numbers: self._lay(scene, numbers, size, places), numbers, behind))
        return behind

    def _instances(
        self, layout: Layout, tiling: _Tiling, chosen: Array, factors: Array, name: str
    ) -> tuple[dict[str, Array], Array, list[int]]:
        """Which instances each canvas holds and how they move; how many there are; and their numbers before."""
        counts = layout.counts[name]
        begins = numbered(counts)
        tiles = np.where(chosen, 4, 1)
        sample = np.repeat(np.arange(layout.batch), tiles)
        quarter = np.arange(len(sample)) - np.repeat(numbered(tiles), tiles)
        source = np.where(chosen[sample], tiling.source[sample, quarter], sample)
        each = counts[source]
        places = np.concatenate([np.arange(0)] + [begins[s] + np.arange(counts[s]) for s in source])
        moved = chosen[sample][:, None]
        whole = [0, 0, layout.width, layout.height]
        per_quarter = {
            "scale": np.where(moved, factors[::-1], 1.0),
            "shift": np.where(moved, tiling.corner[sample, quarter], 0).astype(np.float64),
            "window": np.where(moved, tiling.window[sample, quarter], whole),
            "moved": moved[:, 0],
        }
        numbers = {key: np.repeat(value, each, axis=0) for key, value in per_quarter.items()}
        totals = np.bincount(sample, weights=each, minlength=layout.batch).astype(np.int64)
        return {**numbers, "index": places}, totals, [int(place) for place in places]

    def _lay(self, scene: Scene, numbers: Tensors, size: tuple[int, int], places: Mapping[str, Sequence[int]]) -> None:
        scene.drops |= self.drop_hidden
        smaller = resized(scene.images, size)
        scene.images = _tiled(scene.images, smaller, numbers, self.pad_value)
        for name, values in scene.maps.items():
            scene.maps[name] = _tiled(values, at(values, numbers), numbers, ignore_value(values))
        for name, group in scene.groups.items():
            own = {key: numbers[f"{key} {name}"] for key in ("scale", "shift", "window", "moved", "index")}
            if group.masks is not None:
                group.masks = _moved_masks(group.masks, at(group.masks, numbers), own)
            group.chosen(own["index"], places[name])
            self._move(group, own)

    def _move(self, group: Group, numbers: Tensors) -> None:
        if group.boxes is None:
            group.mark()
            return
        group.move(numbers["scale"], numbers["shift"])
        share = group.clip(numbers["window"])
        sides = group.boxes[:, 2:] - group.boxes[:, :2]
        seen = (share >= self.min_visible) & (sides > 0).all(1)
        group.mark(seen | (numbers["moved"] == 0))


def _tiled(before: Tensor, smaller: Tensor, numbers: Tensors, fill: float) -> Tensor:
    """The canvases of images or maps (N, C, H, W) from smaller copies (N, C, h, w) of them."""
    height, width = before.shape[-2:]
    chosen = numbers["chosen"].bool().view(-1, 1, 1, 1)
    canvas = before.masked_fill(chosen, fill)
    rows, columns = (torch.arange(length, device=before.device) for length in (height, width))
    pixels = smaller.permute(0, 2, 3, 1)
    for quarter in range(4):
        corner, window = numbers["corner"][:, quarter], numbers["window"][:, quarter]
        y = (rows - corner[:, 1:]).clamp(0, smaller.shape[-2] - 1)
        x = (columns - corner[:, :1]).clamp(0, smaller.shape[-1] - 1)
        shown = _window(window, height, width)[:, None] & chosen
        found = pixels[numbers["source"][:, quarter, None, None], y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        canvas = torch.where(shown, found, canvas)
    return canvas


def _moved_masks(before: Tensor, smaller: Tensor, numbers: Tensors) -> Tensor:
    """Masks (M, H, W) of the instances of the new canvases, from smaller copies of the masks before."""
    height, width = before.shape[-2:]
    index, corner = numbers["index"], numbers["shift"].long()
    y = (torch.arange(height, device=before.device) - corner[:, 1:]).clamp(0, smaller.shape[-2] - 1)
    x = (torch.arange(width, device=before.device) - corner[:, :1]).clamp(0, smaller.shape[-1] - 1)
    found = smaller[index[:, None, None], y[:, :, None], x[:, None, :]]
    found = found.masked_fill(~_window(numbers["window"], height, width), 0)
    return torch.where(numbers["moved"].bool().view(-1, 1, 1), found, before.index_select(0, index))


def _window(window: Tensor, height: int, width: int) -> Tensor:
    """The pixels of windows (N, 4): bool (N, H, W)."""
    rows = within(window[:, 1], window[:, 3], height)
    return rows[:, :, None] & within(window[:, 0], window[:, 2], width)[:, None, :]
