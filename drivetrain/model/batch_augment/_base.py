"""What every batch augmentation is: planned on the host, carried out on the device."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, BatchError

from ._draw import Draw
from ._layout import Layout, Step, upload
from ._moment import Clock, Moment
from ._scene import Scene
from ._targets import Sizes, targets_of


class BatchAugment(nn.Module, ABC):
    """Changes a batch of images on their device, together with what belongs to them.

    An object is called with images and targets and returns new ones; what it was given stays as it is. It can stand in
    `ImgDataPreprocessor(batch_augments=[...])`, in the `batch_augments` of a preprocessor of mmdet, or in a line of
    your own. It augments whenever it is called: who calls it in training only leaves validation alone.

    Its random numbers are drawn on the host, and are a function of the seed of the run, the rank, the step, this
    augmentation and the place of a sample in the batch. They need no saving, and a resumed run draws the same. Without
    a runner the seed is `torch.initial_seed()` and the step is counted by the object.

    A subclass gives `plan`.

    Args:
        stream: tells apart several objects of one class outside of `BatchAugments`, which would draw the same.

    Attributes:
        takes: what it can change along with images, of 'labels', 'boxes', 'masks', 'maps' (of pixels).
        needs: of which it needs at least one.
        softens: whether labels come out soft: (N, K), floating.
        marks: whether instances come out with the field `visible`.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"labels", "boxes", "masks", "maps"})
    needs: ClassVar[frozenset[str]] = frozenset()
    softens: bool = False
    marks: bool = False

    def __init__(self, *, stream: int = 0) -> None:
        super().__init__()
        self._stream = stream
        self._clock = Clock()

    def forward(self, inputs: Tensor, targets: Any = None, *, sizes: Sizes | None = None) -> tuple[Tensor, Any]:
        """Augment a batch.

        Args:
            inputs: images (N, C, H, W), normalised.
            targets: labels (N,) or soft labels (N, K); classes of pixels (N, H, W); a list of data elements with
                `gt_label` or `gt_score`, instances (`bboxes` as x1, y1, x2, y2, `labels`, `masks`) and maps; or a list
                of dicts with `boxes`, `labels`, `masks`. None for images alone.
            sizes: what of its canvas each image fills from the top left, (height, width); by default the `img_shape` of
                data elements, or else all of it.

        Returns:
            New images and new targets of the same kind. Soft labels of data elements are in `gt_score`.

        Raises:
            BatchError: images or targets are of another form, or the augmentation makes no sense for them.
        """
        _check_images(inputs)
        form = targets_of(targets, len(inputs))
        before = Layout.of(inputs, sizes or form.sizes(), form.counts())
        scene = Scene(inputs, before)
        form.read(scene)
        kinds = scene.kinds()
        self.check(kinds)
        self.prepare(scene)
        moment = self._clock.tick()
        steps: list[Step] = []
        self.plan(before, Draw(moment, self._stream), moment, steps, kinds)
        for step, numbers in zip(steps, upload(steps, inputs.device), strict=True):
            step.act(scene, numbers)
            scene.layout = step.layout
        if scene.drops:
            _drop_hidden(scene)
        return _laid_out(scene.images, inputs), form.write(scene, before)

    @abstractmethod
    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Decide on the host what will be done, and append it to `steps`.

        Args:
            layout: sizes and numbers of the batch.
            draw: gives random numbers.
            moment: the step of the run.
            steps: what is done before; grows.
            kinds: what the targets hold.

        Returns:
            The layout behind it.
        """

    def check(self, kinds: set[str]) -> None:
        """Raise a BatchError unless this augmentation makes sense for targets of these kinds."""
        name = type(self).__name__
        extra = sorted(kinds - self.takes)
        if extra:
            raise BatchError(
                f"{name} cannot follow with {' and '.join(extra)}: it is for {_listed(self.takes)}. "
                f"{_ADVICE.get(extra[0], '')}"
            )
        if self.needs and not kinds & self.needs:
            held = _listed(kinds) if kinds else "none of them"
            raise BatchError(f"{name} needs {_listed(self.needs, 'or')} in the targets, and they hold {held}.")

    def prepare(self, scene: Scene) -> None:
        """Bring targets into the form in which they come out, whether or not anything is then done to them."""
        if self.marks:
            for group in scene.groups.values():
                group.mark()

    def _own(self, draw: Draw) -> Draw:
        """A draw of this class's own; so two classes at one place never draw the same."""
        return draw.child(zlib.crc32(type(self).__name__.encode()))


def check_together(augments: Sequence[BatchAugment], owner: str) -> None:
    """Raise an ArgumentError if no targets suit all of these augmentations."""
    for augment in augments:
        if not hasattr(augment, "plan"):
            raise ArgumentError(
                f"{owner} takes batch augmentations, such as dict(type='BatchMixUp'), got {augment!r}. Call others "
                "yourself, in a preprocessor of your own."
            )
        for other in augments:
            if augment.needs and not augment.needs & other.takes:
                one, two = type(augment).__name__, type(other).__name__
                raise ArgumentError(
                    f"{one} and {two} do not go together: {one} needs {_listed(augment.needs, 'or')}, and {two} is for "
                    f"{_listed(other.takes)}."
                )


_ADVICE = {
    "labels": "Use BatchMixUp or BatchCutMix for images with labels.",
    "boxes": "Use BatchMosaic for images with boxes.",
    "masks": "Use BatchMosaic for images with masks.",
    "maps": "Use BatchCutMix or BatchMosaic for images with a class for each pixel.",
}


def _listed(kinds: Any, word: str = "and") -> str:
    names = sorted(kinds)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _check_images(images: Any) -> None:
    if not torch.is_tensor(images) or images.dim() != 4:
        what = f"shape {tuple(images.shape)}" if torch.is_tensor(images) else type(images).__name__
        raise BatchError(
            f"batch augmentation takes one tensor of images (N, C, H, W), got {what}. Stack and pad images first, as "
            "ImgDataPreprocessor does."
        )
    if not images.is_floating_point():
        raise BatchError(
            f"batch augmentation mixes normalised images, got {images.dtype}. Normalise first: give the augmentations "
            "to ImgDataPreprocessor(mean=..., std=..., batch_augments=[...])."
        )


def _laid_out(images: Tensor, like: Tensor) -> Tensor:
    """The images in memory as those that came: channels last or not."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _drop_hidden(scene: Scene) -> None:
    """Take hidden instances out. How many are left only the device knows: the host waits for it."""
    counts = dict(scene.layout.counts)
    for name, group in scene.groups.items():
        if group.visible is None:
            continue
        seen = group.visible.tolist()
        places = [place for place, there in enumerate(seen) if there]
        index = torch.tensor(places, dtype=torch.long).to(group.visible.device, non_blocking=True)
        group.masks = None if group.masks is None else group.masks.index_select(0, index)
        group.chosen(index, places)
        ends = counts[name].cumsum()
        counts[name] = _counted(seen, [int(end) for end in ends])
    scene.layout = scene.layout.changed(counts=counts)


def _counted(seen: Sequence[bool], ends: Sequence[int]) -> Any:
    import numpy as np

    begins = [0, *ends[:-1]]
    return np.array([sum(seen[a:b]) for a, b in zip(begins, ends, strict=True)], dtype=np.int64)
