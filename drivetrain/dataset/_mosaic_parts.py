"""What a mosaic is made of: images with their targets, where each lies, and the sample that comes of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from drivetrain.errors import SampleError
from drivetrain.structures import InstanceData, PixelData

_IMAGES = ("inputs", "img", "image")
_TARGETS = ("data_samples", "target", "targets")
_BOXES = ("bboxes", "boxes")
_OF_INSTANCES = (*_BOXES, "labels", "masks", "area", "iscrowd", "scores")


@dataclass
class Part:
    """One of the four samples.

    Attributes:
        image: (C, H, W).
        target: a data element, a dict, or None.
    """

    image: Tensor
    target: Any

    @property
    def height(self) -> int:
        """Height of the image."""
        return self.image.shape[1]

    @property
    def width(self) -> int:
        """Width of the image."""
        return self.image.shape[2]

    def scaled_to(self, factor: float) -> tuple[int, int]:
        """Height and width times a factor, at least one pixel."""
        return max(1, round(self.height * factor)), max(1, round(self.width * factor))


@dataclass
class Placement:
    """Where one image lies.

    Attributes:
        size: height and width to which it is resized.
        corner: where its top left pixel lies on the canvas, (x, y).
        window: the part of the canvas that shows it: x1, y1, x2, y2.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    window: tuple[int, int, int, int]

    @classmethod
    def around(cls, middle: tuple[int, int], quarter: int, size: tuple[int, int], canvas: tuple[int, int]) -> Placement:
        """Touching the point `middle` (y, x); quarters are top left, top right, bottom left, bottom right."""
        (y, x), (height, width) = middle, size
        left, above = quarter % 2 == 0, quarter < 2
        corner = (x - width if left else x, y - height if above else y)
        low = (max(corner[0], 0), max(corner[1], 0))
        high = (min(corner[0] + width, canvas[1]), min(corner[1] + height, canvas[0]))
        return cls(size, corner, (*low, max(high[0], low[0]), max(high[1], low[1])))

    def paint(self, canvas: Tensor, values: Tensor) -> None:
        """Write values (..., h, w) of the resized image to a canvas (..., H, W)."""
        x1, y1, x2, y2 = self.window
        left, top = self.corner
        canvas[..., y1:y2, x1:x2] = values[..., y1 - top : y2 - top, x1 - left : x2 - left]


def opened(sample: Any) -> Part:
    """The image and the target of a sample.

    Raises:
        SampleError: it has another form.
    """
    if type(sample) is tuple and len(sample) == 2:
        return Part(_as_tensor(sample[0]), sample[1])
    name = _image_name(sample) if hasattr(sample, "keys") else None
    if name is None:
        raise SampleError(
            "MosaicDataset takes samples that are dicts with the image under 'inputs', 'img' or 'image', or tuples "
            f"(image, target), got {sample!r:.80} of type {type(sample).__name__}."
        )
    return Part(_as_tensor(sample[name]), sample.get(_target_name(sample), sample))


def put_together(
    first: Any,
    parts: Sequence[Part],
    places: Sequence[Placement],
    canvas: tuple[int, int],
    pad_value: float,
    min_visible: float,
) -> Any:
    """The mosaic, in the form of its first sample."""
    image = parts[0].image.new_full((parts[0].image.shape[0], *canvas), pad_value)
    for part, place in zip(parts, places, strict=True):
        place.paint(image, _resized(part.image, place.size))
    target = _target(parts, places, canvas, min_visible)
    if type(first) is tuple:
        return (_as_came(image, first[0]), target)
    name, of_target = _image_name(first), _target_name(first)
    changed = target if of_target is None else {of_target: target}
    return {**first, **(changed or {}), name: _as_came(image, first[name])}


def _target(parts: Sequence[Part], places: Sequence[Placement], canvas: tuple[int, int], min_visible: float) -> Any:
    own = parts[0].target
    if own is None:
        return None
    if hasattr(own, "set_metainfo"):
        return _element(parts, places, canvas, min_visible)
    fields = [
        _moved(_of_instances(part.target), part, place, canvas, min_visible)
        for part, place in zip(parts, places, strict=True)
    ]
    joined = {name: _joined([field[name] for field in fields]) for name in fields[0]}
    return {**{key: value for key, value in own.items() if key not in _IMAGES}, **joined}


def _element(parts: Sequence[Part], places: Sequence[Placement], canvas: tuple[int, int], min_visible: float) -> Any:
    fresh = copy.copy(parts[0].target)
    for name, value in list(fresh.items()):
        found = [getattr(part.target, name) for part in parts]
        if issubclass(type(value), InstanceData):
            setattr(fresh, name, _instances(found, parts, places, canvas, min_visible))
        elif issubclass(type(value), PixelData):
            setattr(fresh, name, _maps(found, places, canvas))
    meta: dict[str, Any] = {name: canvas for name in ("img_shape", "pad_shape", "batch_input_shape") if name in fresh}
    if "scale_factor" in fresh:
        ratio = (places[0].size[1] / parts[0].width, places[0].size[0] / parts[0].height)
        old = np.asarray(fresh.scale_factor, dtype=float)
        meta["scale_factor"] = tuple(float(value) for value in old * np.resize(ratio, len(old)))
    fresh.set_metainfo(meta)
    return fresh


def _instances(
    found: Sequence[Any],
    parts: Sequence[Part],
    places: Sequence[Placement],
    canvas: tuple[int, int],
    min_visible: float,
) -> Any:
    kept = []
    for group, part, place in zip(found, parts, places, strict=True):
        if len(group):
            moved = _moved(dict(group.items()), part, place, canvas, min_visible)
            kept.append(type(group)(metainfo=group.metainfo, **moved))
    return type(kept[0]).cat(kept) if kept else found[0]


def _maps(found: Sequence[Any], places: Sequence[Placement], canvas: tuple[int, int]) -> Any:
    fresh = type(found[0])(metainfo=found[0].metainfo)
    for name, value in found[0].items():
        fill = 0 if value.is_floating_point() else 255
        whole = value.new_full((value.shape[0], *canvas), fill)
        for element, place in zip(found, places, strict=True):
            place.paint(whole, _nearest(getattr(element, name), place.size))
        setattr(fresh, name, whole)
    return fresh


def _of_instances(target: Mapping[str, Any]) -> dict[str, Any]:
    if "keypoints" in target:
        raise SampleError("MosaicDataset cannot move 'keypoints' along with an image: take them out before.")
    return {name: value for name, value in target.items() if name in _OF_INSTANCES}


def _moved(
    fields: dict[str, Any], part: Part, place: Placement, canvas: tuple[int, int], min_visible: float
) -> dict[str, Any]:
    """The fields of the instances of one image that are still to be seen, where they lie on the canvas."""
    name = next((name for name in _BOXES if name in fields), None)
    if name is None:
        raise SampleError(f"MosaicDataset needs boxes ('bboxes' or 'boxes') with the instances, got {list(fields)}.")
    holder = fields[name]
    boxes = getattr(holder, "tensor", holder)
    ratio = torch.tensor([place.size[1] / part.width, place.size[0] / part.height] * 2)
    whole = boxes * ratio + torch.tensor([*place.corner, *place.corner])
    low, high = (torch.tensor(place.window[i : i + 2]) for i in (0, 2))
    cut = torch.cat([whole[:, :2].clamp(low, high), whole[:, 2:].clamp(low, high)], 1).to(ratio.dtype)
    before, after = ((box[:, 2:] - box[:, :2]).prod(1) for box in (whole, cut))
    sides = cut[:, 2:] - cut[:, :2]
    seen = ((after >= min_visible * before) & (sides > 0).all(1)).tolist()
    keep = [number for number, there in enumerate(seen) if there]
    result = {key: _chosen(value, keep) for key, value in fields.items() if key not in (name, "masks", "area")}
    result[name] = _held(cut[keep], holder)
    if "area" in fields:
        own = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp_min(1e-12)
        result["area"] = (fields["area"] * after / own)[keep]
    if "masks" in fields:
        result["masks"] = _moved_masks(fields["masks"], keep, place, canvas)
    return {key: result[key] for key in fields}


def _moved_masks(masks: Any, keep: list[int], place: Placement, canvas: tuple[int, int]) -> Any:
    chosen = [masks[number] for number in keep]
    moved = []
    for mask in chosen:
        whole = mask.new_zeros(canvas)
        place.paint(whole, _nearest(mask, place.size))
        moved.append(whole)
    if type(masks) is list:
        return moved
    return torch.stack(moved) if moved else masks.new_zeros((0, *canvas))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = (
        (((torch.arange(new) + 0.5) * (old / new)).long()).clamp_max(old - 1)
        for old, new in zip(values.shape[-2:], size, strict=True)
    )
    return values.index_select(-2, rows).index_select(-1, columns)


def _chosen(values: Any, keep: list[int]) -> Any:
    if torch.is_tensor(values) or issubclass(type(values), np.ndarray):
        return values[keep]
    return type(values)([values[number] for number in keep])


def _joined(values: Sequence[Any]) -> Any:
    if torch.is_tensor(values[0]):
        return torch.cat(list(values))
    if issubclass(type(values[0]), np.ndarray):
        return np.concatenate(list(values))
    return [item for value in values for item in value]


def _held(boxes: Tensor, holder: Any) -> Any:
    if torch.is_tensor(holder):
        return boxes
    fresh = copy.copy(holder)
    fresh.tensor = boxes
    return fresh


def _image_name(sample: Mapping[str, Any]) -> str | None:
    return next((name for name in _IMAGES if name in sample), None)


def _target_name(sample: Mapping[str, Any]) -> str | None:
    return next((name for name in _TARGETS if sample.get(name) is not None), None)


def _as_tensor(image: Any) -> Tensor:
    if torch.is_tensor(image):
        return image
    array = np.asarray(image)
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(array).transpose(2, 0, 1)))


def _as_came(image: Tensor, like: Any) -> Any:
    if torch.is_tensor(like):
        return image
    array = image.permute(1, 2, 0).numpy()
    return array[..., 0] if np.ndim(like) == 2 else array
