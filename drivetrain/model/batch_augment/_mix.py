"""MixUp and CutMix: two images become one, and so do their labels."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import torch

from drivetrain.errors import ArgumentError, did_you_mean
from drivetrain.registry import MODELS

from ._base import BatchAugment
from ._draw import Array, Draw, partners
from ._layout import Layout, Step, Tensors
from ._moment import Moment
from ._scene import Scene, rectangles, spread

_ORDER, _SHARE, _WHETHER, _WHERE = 1, 2, 3, 4


class _Mix(BatchAugment):
    """Pairs samples along a random cycle, and draws for each how much it keeps of itself."""

    softens = True

    def __init__(
        self,
        alpha: float = 1.0,
        prob: float = 1.0,
        num_classes: int | None = None,
        per: Literal["sample", "batch"] = "sample",
        *,
        stream: int = 0,
    ) -> None:
        super().__init__(stream=stream)
        if not 0 < alpha < math.inf:
            raise ArgumentError(f"alpha must be a number above 0, got {alpha!r}.")
        if not 0 <= prob <= 1:
            raise ArgumentError(f"prob must lie in [0, 1], got {prob!r}.")
        if per not in ("sample", "batch"):
            raise ArgumentError(
                f"per must be 'sample' or 'batch', got {per!r}.{did_you_mean(per, ['sample', 'batch'])}"
            )
        self.alpha, self.prob, self.num_classes, self.per = alpha, prob, num_classes, per

    def extra_repr(self) -> str:
        """The arguments."""
        return f"alpha={self.alpha}, prob={self.prob}, num_classes={self.num_classes}, per={self.per!r}"

    def prepare(self, scene: Scene) -> None:
        """Make labels soft."""
        super().prepare(scene)
        scene.soften(self.num_classes, type(self).__name__)

    def _shares(self, draw: Draw, batch: int) -> Array:
        """The share that each sample keeps of itself, float64 (N,); 1 where nothing is mixed."""
        alone = self.per == "sample"
        shares = draw.child(_SHARE).beta(self.alpha, batch if alone else None)
        whether = draw.child(_WHETHER)
        chance = whether.rows(batch, 1)[:, 0] if alone else whether.once(1)
        kept: Array = np.broadcast_to(np.where(chance < self.prob, shares, 1.0), (batch,))
        return kept


@MODELS.register_module()
class BatchMixUp(_Mix):
    """Each image becomes a weighted mean of itself and another one of the batch, and its label the same mean.

    `lam * x[i] + (1 - lam) * x[j]`, lam from Beta(alpha, alpha), drawn for each sample (Zhang et al. 2018 draw one for
    the batch: `per='batch'`). Who is mixed with whom is drawn anew for each batch.

    Args:
        alpha: parameter of the distribution; the greater, the closer lam is to one half.
        prob: share of samples (of batches, with `per='batch'`) that are mixed.
        num_classes: number of classes, where labels are whole numbers and do not tell.
        per: whether lam is drawn for each 'sample' or for the 'batch'.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: an argument is out of its range.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"labels"})
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw shares and partners."""
        own = self._own(draw)
        other = partners(own.child(_ORDER).cycle(layout.batch))
        shares = self._shares(own, layout.batch)
        behind = layout.changed(sizes=_union(layout.sizes, other, shares < 1))
        steps.append(Step(_mix, {"other": other, "given": 1 - shares}, behind))
        return behind


@MODELS.register_module()
class BatchCutMix(_Mix):
    """A box cut out of each image is filled with the same box of another one; labels are mixed by area.

    The area of the box is 1 - lam, lam from Beta(alpha, alpha), its centre anywhere; what sticks out is cut off, and
    the label takes the share of pixels that are really left (Yun et al. 2019). Box and lam are drawn for each sample.
    Maps with a class for each pixel are cut along with the images.

    Args:
        alpha: parameter of the distribution.
        prob: share of samples (of batches, with `per='batch'`) that are mixed.
        num_classes: number of classes, where labels are whole numbers and do not tell.
        per: whether the box is drawn for each 'sample' or for the 'batch'.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: an argument is out of its range.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"labels", "maps"})
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "maps"})

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw boxes and partners."""
        own = self._own(draw)
        batch, height, width = layout.batch, layout.height, layout.width
        other = partners(own.child(_ORDER).cycle(batch))
        where = own.child(_WHERE)
        centre = where.rows(batch, 2) if self.per == "sample" else np.tile(where.once(2), (batch, 1))
        side = np.sqrt(1 - self._shares(own, batch))[:, None] * [width, height]
        middle = np.floor(centre * [width, height])
        low = np.clip(np.rint(middle - side / 2), 0, [width, height])
        high = np.clip(np.rint(middle + side / 2), 0, [width, height])
        box = np.concatenate([low, high], axis=1).astype(np.int64)
        given = (high - low).prod(1) / (height * width)
        behind = layout.changed(sizes=_union(layout.sizes, other, given > 0))
        steps.append(Step(_cut, {"other": other, "given": given, "box": box}, behind))
        return behind


def _union(sizes: Array, other: Array, mixed: Array) -> Array:
    """What of the canvas holds something once another image lies over it."""
    return np.where(mixed[:, None], np.maximum(sizes, sizes[other]), sizes)


def _mix(scene: Scene, numbers: Tensors) -> None:
    other, given = numbers["other"], numbers["given"]
    images = scene.images
    scene.images = images.lerp(images.index_select(0, other), spread(given, images))
    _mix_labels(scene, other, given)


def _mix_labels(scene: Scene, other: torch.Tensor, given: torch.Tensor) -> None:
    labels = scene.labels
    if labels is not None:
        scene.labels = labels.lerp(labels.index_select(0, other), spread(given, labels))


def _cut(scene: Scene, numbers: Tensors) -> None:
    other = numbers["other"]
    pasted = rectangles(numbers["box"], scene.layout.height, scene.layout.width)
    scene.images = torch.where(pasted, scene.images.index_select(0, other), scene.images)
    scene.maps = {
        name: torch.where(pasted, values.index_select(0, other), values) for name, values in scene.maps.items()
    }
    _mix_labels(scene, other, numbers["given"])
