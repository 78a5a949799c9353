"""What the host knows about a batch, and what an augmentation decides for it, before the device hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ._draw import Array

Tensors: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class Layout:
    """Sizes and numbers of a batch.

    Attributes:
        batch: number of samples N.
        height: height of the canvas, in pixels.
        width: width of the canvas.
        sizes: what of the canvas each sample fills from the top left, (height, width): int64 (N, 2).
        counts: for each group of instances how many each sample has: int64 (N,).
        flipped: whether each sample stands mirrored, (along the width, along the height): bool (N, 2).
        scaled: by how much each sample was scaled, (width, height): float64 (N, 2).
    """

    batch: int
    height: int
    width: int
    sizes: Array
    counts: Mapping[str, Array]
    flipped: Array
    scaled: Array

    @classmethod
    def of(cls, images: Tensor, sizes: Sequence[tuple[int, int] | None], counts: Mapping[str, Sequence[int]]) -> Layout:
        """The layout of images (N, C, H, W); a size of None is the whole canvas."""
        batch, height, width = images.shape[0], images.shape[2], images.shape[3]
        known = np.array([size or (height, width) for size in sizes], dtype=np.int64).reshape(batch, 2)
        return cls(
            batch, height, width,
            np.minimum(known, [height, width]),
            {name: np.asarray(numbers, dtype=np.int64) for name, numbers in counts.items()},
            np.zeros((batch, 2), dtype=bool),
            np.ones((batch, 2)),
        )  # fmt: skip

    @property
    def full(self) -> bool:
        """Whether every sample fills the canvas."""
        return bool((self.sizes == [self.height, self.width]).all())

    def changed(self, **changes: Any) -> Layout:
        """A copy with other values."""
        return replace(self, **changes)

    def for_instances(self, values: Array, group: str) -> Array:
        """A value of each sample, once for each of its instances: (M, ...)."""
        return np.repeat(values, self.counts[group], axis=0)


@dataclass
class Step:
    """What one augmentation will do to a batch.

    Attributes:
        act: does it, given the scene and `numbers` on its device.
        numbers: arrays of whole or real numbers to be brought to the device.
        layout: the batch behind it.
    """

    act: Callable[[Any, Tensors], None]
    numbers: dict[str, Array]
    layout: Layout


def upload(steps: Sequence[Step], device: torch.device) -> list[Tensors]:
    """The numbers of all steps on the device: whole ones as int64, real ones as float32, in one copy of one tensor."""
    arrays = [array for step in steps for array in step.numbers.values()]
    whole = [array for array in arrays if array.dtype.kind != "f"]
    real = [array for array in arrays if array.dtype.kind == "f"]
    if not arrays:
        return [{} for _ in steps]
    parts = [array.ravel().astype(np.int32) for array in whole]
    parts += [array.ravel().astype(np.float32).view(np.int32) for array in real]
    host = torch.from_numpy(np.concatenate(parts))
    if device.type in ("cuda", "xpu"):  # elsewhere the copy is right all the same, if not beside the host
        host = host.pin_memory()
    there = host.to(device, non_blocking=True)
    border = sum(array.size for array in whole)
    wholes = _cut(there[:border].long(), whole)
    reals = _cut(there[border:].view(torch.float32), real)
    return [
        {name: next(reals if array.dtype.kind == "f" else wholes) for name, array in step.numbers.items()}
        for step in steps
    ]


def _cut(flat: Tensor, arrays: Sequence[Array]) -> Any:
    parts = flat.split([array.size for array in arrays]) if arrays else ()
    return iter([part.view(array.shape) for part, array in zip(parts, arrays, strict=True)])
