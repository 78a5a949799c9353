"""What the targets of a batch may look like, read into a scene and written back; what was read is not changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from drivetrain.errors import BatchError
from drivetrain.structures import InstanceData, PixelData

from ._instances import BOXES, MASKS, Instances
from ._layout import Layout
from ._meta import sizes_of, written_meta
from ._scene import Scene, ignore_value, on_canvas

Sizes = Sequence["tuple[int, int] | None"]
_OF_INSTANCES = (*BOXES, MASKS, "labels", "area", "iscrowd", "scores", "visible", "keypoints")


class Targets(Protocol):
    """One form of targets."""

    def sizes(self) -> Sizes:
        """What of the canvas each sample fills, as far as the targets tell."""

    def counts(self) -> dict[str, list[int]]:
        """How many instances each sample has, by group."""

    def read(self, scene: Scene) -> None:
        """Fill in what the targets hold."""

    def write(self, scene: Scene, before: Layout) -> Any:
        """New targets of the same form."""


def targets_of(targets: Any, batch: int) -> Targets:
    """The form of some targets.

    Raises:
        BatchError: it is unknown, or not one entry for each sample.
    """
    if targets is not None and hasattr(targets, "__len__") and len(targets) != batch:
        raise BatchError(f"there are {len(targets)} targets for {batch} images: give one for each.")
    if torch.is_tensor(targets):
        return TensorTargets(targets)
    if targets is None:
        return NoTargets(batch)
    if issubclass(type(targets), (list, tuple)):
        stacked = _stacked(targets)
        if stacked is not None:
            return TensorTargets(stacked)
        if all(hasattr(target, "set_metainfo") for target in targets):
            return ElementTargets(targets)
        if all(hasattr(target, "items") and any(name in target for name in (*BOXES, MASKS)) for target in targets):
            return DictTargets(targets)
    raise BatchError(
        "targets of a batch are a tensor of labels (N,), of soft labels (N, K) or of classes for each pixel "
        "(N, H, W), a list of data elements, or a list of dicts with 'boxes' or 'masks'; got "
        f"{targets!r:.80} of type {type(targets).__name__}."
    )


def _stacked(targets: Sequence[Any]) -> Tensor | None:
    """One tensor of a list of labels, numbers or tensors of one shape, as `pseudo_collate` leaves them."""
    if all(type(target) is int for target in targets):
        return torch.tensor(targets)
    if all(torch.is_tensor(target) for target in targets) and len({target.shape for target in targets}) == 1:
        return torch.stack(list(targets))
    return None


class NoTargets:
    """Images alone."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def sizes(self) -> Sizes:
        """Unknown."""
        return [None] * self._batch

    def counts(self) -> dict[str, list[int]]:
        """No groups."""
        return {}

    def read(self, scene: Scene) -> None:
        """Nothing to read."""

    def write(self, scene: Scene, before: Layout) -> Any:
        """Nothing to write."""
        return None


class TensorTargets(NoTargets):
    """Classes (N,), soft labels (N, K), or a class for each pixel (N, H, W) or (N, C, H, W)."""

    def __init__(self, values: Tensor) -> None:
        super().__init__(len(values))
        self._values = values
        # Labels of samples are whole numbers (N,) or floating (N, K); with more dimensions they are of pixels.
        of_samples = values.dim() in (1, 2) and values.is_floating_point() == (values.dim() == 2)
        if not of_samples and values.dim() not in (3, 4):
            raise BatchError(
                "labels are whole numbers (N,) or shares of the classes (N, K), floating; got "
                f"{tuple(values.shape)} of {values.dtype}. Several labels of a sample are soft labels: give them as "
                "float."
            )

    def read(self, scene: Scene) -> None:
        """Labels of samples or of pixels."""
        values = self._values.to(scene.images.device, non_blocking=True)
        if values.dim() < 3:
            scene.labels = values
            return
        maps = values[:, None] if values.dim() == 3 else values
        scene.maps["targets"] = on_canvas(maps, scene.layout.height, scene.layout.width, ignore_value(maps))

    def write(self, scene: Scene, before: Layout) -> Any:
        """A tensor of as many dimensions; labels may have become soft."""
        if self._values.dim() < 3:
            return scene.labels
        return scene.maps["targets"].squeeze(1) if self._values.dim() == 3 else scene.maps["targets"]


class DictTargets(NoTargets):
    """A dict for each sample with `boxes`, `labels`, `masks`, as torchvision's detection models take them."""

    def __init__(self, samples: Sequence[dict[str, Any]]) -> None:
        super().__init__(len(samples))
        self._samples = samples
        fields = [{name: value for name, value in sample.items() if name in _OF_INSTANCES} for sample in samples]
        self._counts = [max(map(len, field.values()), default=0) for field in fields]
        self._instances = Instances(fields, self._counts, "the targets")

    def counts(self) -> dict[str, list[int]]:
        """One group."""
        return {"": self._counts}

    def read(self, scene: Scene) -> None:
        """The one group."""
        layout = scene.layout
        scene.groups[""] = self._instances.together(layout.height, layout.width, scene.images.device)

    def write(self, scene: Scene, before: Layout) -> Any:
        """New dicts; keys that do not belong to instances are passed on."""
        parts = self._instances.apart(scene.groups[""], scene.layout.counts[""])
        return [{**sample, **part} for sample, part in zip(self._samples, parts, strict=True)]


class ElementTargets(NoTargets):
    """A data element for each sample: `gt_label` or `gt_score`, and every field that is instances or maps of pixels."""

    def __init__(self, samples: Sequence[Any]) -> None:
        super().__init__(len(samples))
        self._samples = samples
        self._groups = {name: self._instances(name) for name in self._names(InstanceData)}
        self._maps = {
            (name, inner): [getattr(getattr(sample, name), inner) for sample in samples]
            for name in self._names(PixelData)
            for inner, _ in getattr(samples[0], name).items()
        }

    def sizes(self) -> Sizes:
        """As `img_shape` tells."""
        return sizes_of(self._samples)

    def counts(self) -> dict[str, list[int]]:
        """A group for each field of instances."""
        return {name: list(group.counts) for name, group in self._groups.items()}

    def read(self, scene: Scene) -> None:
        """Labels, groups and maps."""
        layout, device = scene.layout, scene.images.device
        height, width = layout.height, layout.width
        scene.labels = self._labels(device)
        numbers = {sample.get("num_classes") for sample in self._samples}
        scene.num_classes = numbers.pop() if len(numbers) == 1 else None
        scene.groups = {name: group.together(height, width, device) for name, group in self._groups.items()}
        for (name, inner), values in self._maps.items():
            maps = [_as_map(value) for value in values]
            padded = [on_canvas(value, height, width, ignore_value(value)) for value in maps]
            scene.maps[f"{name}.{inner}"] = torch.stack(padded).to(device, non_blocking=True)

    def write(self, scene: Scene, before: Layout) -> Any:
        """New elements, with meta information that holds for the new images."""
        layout = scene.layout
        fresh = [copy.copy(sample) for sample in self._samples]
        for sample, meta in zip(fresh, written_meta(self._samples, layout, before), strict=True):
            sample.set_metainfo(meta)
        if scene.labels is not None and scene.labels.is_floating_point():
            for sample, label in zip(fresh, scene.labels.unbind(), strict=True):
                sample.gt_score = label
        for name, group in self._groups.items():
            parts = group.apart(scene.groups[name], layout.counts[name])
            for sample, part in zip(fresh, parts, strict=True):
                old = getattr(sample, name)
                instances = type(old)(metainfo=old.metainfo)
                instances.set_data(part)
                setattr(sample, name, instances)
        self._write_maps(fresh, scene)
        return fresh

    def _write_maps(self, fresh: Sequence[Any], scene: Scene) -> None:
        names = list(dict.fromkeys(name for name, _ in self._maps))
        for name in names:
            for number, sample in enumerate(fresh):
                old = getattr(sample, name)
                maps = type(old)(metainfo=old.metainfo)
                for inner, _ in old.items():
                    setattr(maps, inner, scene.maps[f"{name}.{inner}"][number])
                setattr(sample, name, maps)

    def _names(self, kind: type) -> list[str]:
        """Fields of one kind; every sample has to have them."""
        found: dict[str, int] = {}
        for sample in self._samples:
            for name, value in sample.items():
                if issubclass(type(value), kind):
                    found[name] = found.get(name, 0) + 1
        for name, times in found.items():
            if times < len(self._samples):
                raise BatchError(
                    f"only {times} of {len(self._samples)} samples have {name!r}: give the others an empty one."
                )
        return list(found)

    def _instances(self, name: str) -> Instances:
        groups = [getattr(sample, name) for sample in self._samples]
        return Instances([dict(group.items()) for group in groups], [len(group) for group in groups], name)

    def _labels(self, device: torch.device) -> Tensor | None:
        for name in ("gt_score", "gt_label"):
            values = [sample.get(name) for sample in self._samples]
            there = [value for value in values if value is not None]
            if len(there) not in (0, len(values)):
                raise BatchError(f"only {len(there)} of {len(values)} samples have {name!r}: give it to all.")
            if there:
                return _stacked_labels(there, name, device)
        return None


def _stacked_labels(values: Sequence[Any], name: str, device: torch.device) -> Tensor:
    if not all(torch.is_tensor(value) for value in values):
        return torch.tensor(values).to(device, non_blocking=True)
    if name == "gt_score":
        return torch.stack(list(values)).to(device, non_blocking=True)
    if any(value.numel() != 1 for value in values):
        raise BatchError(
            "a sample has several labels in gt_label: give gt_score, a share of each class (num_classes,), which can "
            "be mixed."
        )
    return torch.stack([value.reshape(()) for value in values]).to(device, non_blocking=True)


def _as_map(value: Any) -> Tensor:
    return value if torch.is_tensor(value) else torch.from_numpy(value)
