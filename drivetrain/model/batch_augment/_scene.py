"""A batch on the device, in one form whatever its targets look like: tensors over all samples or all instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from drivetrain.errors import ArgumentError, BatchError

from ._draw import Array
from ._layout import Layout


@dataclass
class Group:
    """The instances of all samples, one after the other.

    Attributes:
        boxes: (M, 4) as x1, y1, x2, y2 in pixels, floating; None without boxes.
        masks: (M, H, W) over the canvas; None without masks.
        visible: bool (M,), once something may have hidden an instance.
        fields: every other field: a tensor (M, ...) or a list of M values.
    """

    boxes: Tensor | None
    masks: Tensor | None
    visible: Tensor | None
    fields: dict[str, Any]

    def chosen(self, index: Tensor, places: Sequence[int]) -> None:
        """Take instances by their numbers, on the device and on the host."""
        self.boxes = None if self.boxes is None else self.boxes.index_select(0, index)
        self.visible = None if self.visible is None else self.visible.index_select(0, index)
        for name, values in self.fields.items():
            listed = type(values) is list
            self.fields[name] = [values[i] for i in places] if listed else values.index_select(0, index)

    def mark(self, seen: Tensor | None = None) -> None:
        """Note which instances are still to be seen; all of them where `seen` is None."""
        found = self._any()
        if self.visible is None and found is not None:
            self.visible = torch.ones(found.shape[0], dtype=torch.bool, device=found.device)
        if seen is not None and self.visible is not None:
            self.visible = self.visible & seen

    def move(self, scale: Tensor, shift: Tensor) -> None:
        """Scale and shift boxes, each by its own (M, 2) of x and y; a negative scale mirrors."""
        if self.boxes is None:
            return
        corners = self.boxes.unflatten(1, (2, 2)) * scale[:, None].to(self.boxes.dtype) + shift[:, None]
        boxes = torch.cat([corners.amin(1), corners.amax(1)], 1).to(self.boxes.dtype)
        self._rescale_area(boxes)
        self.boxes = boxes

    def clip(self, window: Tensor) -> Tensor:
        """Cut boxes to windows (M, 4); returns the share of each box's area that is left."""
        boxes: Any = self.boxes
        cut = boxes.unflatten(1, (2, 2)).clamp(window[:, None, :2].to(boxes.dtype), window[:, None, 2:].to(boxes.dtype))
        cut = cut.flatten(1)
        share = _area(cut) / _area(boxes).clamp_min(torch.finfo(boxes.dtype).tiny)
        self._rescale_area(cut)
        self.boxes = cut
        return share

    def _any(self) -> Tensor | None:
        tensors = (self.boxes, self.masks, *self.fields.values())
        return next((value for value in tensors if torch.is_tensor(value)), None)

    def _rescale_area(self, boxes: Tensor) -> None:
        area = self.fields.get("area")
        if area is not None and torch.is_tensor(area):
            before = _area(self.boxes).clamp_min(torch.finfo(boxes.dtype).tiny)  # type: ignore[arg-type]
            self.fields["area"] = (area * (_area(boxes) / before)).to(area.dtype)


@dataclass
class Scene:
    """Images and all that belongs to them.

    Attributes:
        images: (N, C, H, W).
        layout: what the host knows of them.
        labels: one-hot or soft labels (N, K), floating, or classes (N,), int64; None without labels.
        groups: instances by the name of their group.
        maps: values for each pixel, (N, C, H, W), by name.
        num_classes: K, as far as the targets tell.
        drops: whether hidden instances are to be taken out in the end, which reads on the host.
    """

    images: Tensor
    layout: Layout
    labels: Tensor | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)
    num_classes: int | None = None
    drops: bool = False

    def kinds(self) -> set[str]:
        """What the targets hold, of 'labels', 'boxes', 'masks', 'maps'."""
        groups = self.groups.values()
        found = {
            "labels": self.labels is not None,
            "boxes": any(group.boxes is not None for group in groups),
            "masks": any(group.masks is not None for group in groups),
            "maps": bool(self.maps),
        }
        return {name for name, there in found.items() if there}

    def soften(self, num_classes: int | None, owner: str) -> None:
        """Turn classes into one-hot labels, float32 (N, K); soft ones stay.

        Raises:
            ArgumentError: nobody says how many classes there are.
        """
        labels = self.labels
        if labels is None or labels.is_floating_point():
            return
        number = num_classes or self.num_classes
        if number is None:
            raise ArgumentError(
                f"{owner} turns labels into one-hot labels and does not know the number of classes: give it "
                "num_classes=..., or soft labels (N, K)."
            )
        # Not one_hot: it asks the device for the range of the labels.
        self.labels = (labels[:, None] == torch.arange(number, device=labels.device)).float()


def ignore_value(values: Tensor) -> float:
    """What stands for "nothing here" in a map: 255 in whole numbers, as in segmentation, and 0 otherwise."""
    return 0 if values.is_floating_point() or values.dtype is torch.bool else 255


def on_canvas(values: Tensor, height: int, width: int, fill: float) -> Tensor:
    """Masks or maps (..., h, w), padded at the right and the bottom to the size of the canvas.

    Raises:
        BatchError: they are larger than it.
    """
    below, right = height - values.shape[-2], width - values.shape[-1]
    if below < 0 or right < 0:
        raise BatchError(
            f"masks and maps of {tuple(values.shape[-2:])} pixels do not fit the images of {(height, width)}: give "
            "them in the size of the images."
        )
    if not below and not right:
        return values
    whole = F.pad(values.to(torch.uint8) if values.dtype is torch.bool else values, (0, right, 0, below), value=fill)
    return whole.to(values.dtype)


def inside(sizes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which rows (N, H) and columns (N, W) lie within sizes (N, 2)."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    return rows, torch.arange(width, device=sizes.device) < sizes[:, 1:]


def picked(values: Tensor, rows: Tensor, columns: Tensor, source: Tensor | None = None) -> Tensor:
    """Pixels of values (S, C, H, W) at rows (N, h) and columns (N, w), of samples `source` (N,): (N, C, h, w)."""
    if source is None:
        source = torch.arange(len(rows), device=rows.device)
    found = values.permute(0, 2, 3, 1)[source[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def within(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Which of so many places lie in [low, high), each (N,): bool (N, length)."""
    places = torch.arange(length, device=low.device)
    return (places >= low[:, None]) & (places < high[:, None])


def rectangles(box: Tensor, height: int, width: int) -> Tensor:
    """The pixels of boxes (N, 4), whole x1, y1, x2, y2: bool (N, 1, H, W)."""
    rows = within(box[:, 1], box[:, 3], height)
    return (rows[:, :, None] & within(box[:, 0], box[:, 2], width)[:, None, :])[:, None]


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) in the dtype and number of dimensions of `like`."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def numbered(counts: Array) -> Array:
    """The number of each sample's first instance: int64 (N,)."""
    return counts.cumsum() - counts
