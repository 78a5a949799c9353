"""Instances of all samples put together into tensors, and taken apart again."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drivetrain.errors import BatchError

from ._draw import Array
from ._scene import Group, on_canvas

BOXES = ("bboxes", "boxes")
MASKS = "masks"
VISIBLE = "visible"
_UNKNOWN = ("keypoints", "keypoints_visible", "rboxes", "polygons")


class Instances:
    """The fields of one group of instances, sample by sample.

    Args:
        samples: for each sample its fields by name.
        counts: how many instances each sample has.
        owner: the name of the group, for errors.

    Raises:
        BatchError: a field is missing in a sample, or cannot follow its image.
    """

    def __init__(self, samples: Sequence[Mapping[str, Any]], counts: Sequence[int], owner: str) -> None:
        self.samples, self.counts, self.owner = samples, counts, owner
        names = list(dict.fromkeys(name for sample in samples for name in sample))
        for name in names:
            if name in _UNKNOWN:
                raise BatchError(
                    f"{owner} has {name!r}, which batch augmentation cannot move along with its image. Augment boxes, "
                    f"masks and labels alone, or take {name!r} out before."
                )
        self.names = names
        self.boxes_name = next((name for name in BOXES if name in names), None)

    def together(self, height: int, width: int, device: torch.device) -> Group:
        """One group with the instances of all samples; masks in the size of the canvas."""
        fields = {
            name: self._joined(name, device) for name in self.names if name not in (*BOXES, MASKS, VISIBLE)
        }  # fmt: skip
        boxes = None if self.boxes_name is None else _as_boxes(self._tensors(self.boxes_name), self.owner, device)
        masks = self._masks(height, width) if MASKS in self.names else None
        visible = torch.cat(self._tensors(VISIBLE)).bool() if VISIBLE in self.names else None
        return Group(boxes, masks, visible, fields)

    def apart(self, group: Group, counts: Array) -> list[dict[str, Any]]:
        """The fields of each sample again, in the kinds they came in."""
        sizes = [int(count) for count in counts]
        columns = {name: self._split(name, values, sizes) for name, values in group.fields.items()}
        if group.boxes is not None and self.boxes_name is not None:
            parts = group.boxes.split(sizes)
            columns[self.boxes_name] = [
                _like(part, sample.get(self.boxes_name)) for part, sample in zip(parts, self.samples, strict=True)
            ]
        if group.masks is not None:
            listed = any(_is_list(sample.get(MASKS)) for sample in self.samples)
            columns[MASKS] = [list(part.unbind()) if listed else part for part in group.masks.split(sizes)]
        if group.visible is not None:
            columns[VISIBLE] = list(group.visible.split(sizes))
        ordered = [name for name in (*self.names, VISIBLE) if name in columns]
        return [{name: columns[name][i] for name in ordered} for i in range(len(sizes))]

    def _present(self, name: str) -> list[Any]:
        for number, (sample, count) in enumerate(zip(self.samples, self.counts, strict=True)):
            if name not in sample and count:
                raise BatchError(f"{self.owner} of sample {number} has no {name!r}, which other samples have.")
        return [sample[name] for sample in self.samples if name in sample]

    def _tensors(self, name: str) -> list[Any]:
        values = [getattr(value, "tensor", value) for value in self._present(name)]
        for value in values:
            if not torch.is_tensor(value):
                raise BatchError(
                    f"{name!r} of {self.owner} must be tensors, got {type(value).__name__}, which lives on the host. "
                    f"Convert it in the dataset."
                )
        return [value.as_subclass(Tensor) for value in values]

    def _joined(self, name: str, device: torch.device) -> Any:
        values = self._present(name)
        if all(torch.is_tensor(value) for value in values):
            return torch.cat([value.as_subclass(Tensor) for value in values]).to(device, non_blocking=True)
        return list(itertools.chain.from_iterable(values))

    def _masks(self, height: int, width: int) -> Tensor:
        masks = self._present(MASKS)
        stacked = [torch.stack(list(mask)) if _is_list(mask) else mask for mask in masks if len(mask)]
        for mask in stacked:
            if not torch.is_tensor(mask) or mask.dim() != 3:
                raise BatchError(
                    f"masks of {self.owner} must be tensors (n, H, W) or lists of tensors (H, W), got "
                    f"{type(mask).__name__}. Convert them in the dataset, as BitmapMasks does with to_tensor()."
                )
        if not stacked:
            like = next((mask for mask in masks if torch.is_tensor(mask)), torch.zeros(0, dtype=torch.bool))
            return like.new_zeros((0, height, width))
        return torch.cat([on_canvas(mask.as_subclass(Tensor), height, width, 0) for mask in stacked])

    def _split(self, name: str, values: Any, sizes: Sequence[int]) -> list[Any]:
        if torch.is_tensor(values):
            return list(values.split(list(sizes)))
        kind = next(type(sample[name]) for sample in self.samples if name in sample)
        items = iter(values)
        make: Callable[[Any], Any] = np.asarray if issubclass(kind, np.ndarray) else kind
        return [make(list(itertools.islice(items, size))) for size in sizes]


def _is_list(value: Any) -> bool:
    return issubclass(type(value), (list, tuple))  # a PackedList too


def _as_boxes(values: Sequence[Tensor], owner: str, device: torch.device) -> Tensor:
    for value in values:
        layout = getattr(getattr(value, "format", None), "name", "XYXY")
        if value.dim() != 2 or value.shape[1] != 4 or layout != "XYXY":
            raise BatchError(
                f"boxes of {owner} must be (n, 4) as x1, y1, x2, y2, got shape {tuple(value.shape)} as {layout}. Give "
                "empty ones as torch.zeros(0, 4)."
            )
    boxes = torch.cat(list(values)).to(device, non_blocking=True)
    return boxes if boxes.is_floating_point() else boxes.float()


def _like(boxes: Tensor, holder: Any) -> Any:
    """The boxes in an object of their own kind, where they came in one that has them as `.tensor`."""
    if holder is None or torch.is_tensor(holder):
        return boxes
    fresh = copy.copy(holder)
    fresh.tensor = boxes
    return fresh
