"""Several augmentations: one after the other, or one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.registry import MODELS

from ._base import BatchAugment, check_together
from ._draw import Draw
from ._layout import Layout, Step
from ._moment import Moment, parse_switch
from ._scene import Scene


class _Several(BatchAugment):
    """Holds augmentations that suit the same targets."""

    def __init__(self, augments: Any, stream: int) -> None:
        super().__init__(stream=stream)
        if type(augments) not in (list, tuple) or not augments:
            raise ArgumentTypeError(
                f"{type(self).__name__} takes a list of augmentations or their configs, got {augments!r}."
            )
        built = [MODELS.build(item) if hasattr(item, "keys") else item for item in augments]
        check_together(built, type(self).__name__)
        self.augments = nn.ModuleList(built)
        self.softens = any(part.softens for part in built)
        self.marks = any(part.marks for part in built)

    @property
    def parts(self) -> Sequence[BatchAugment]:
        """The augmentations."""
        return tuple(self.augments)  # type: ignore[arg-type]

    def check(self, kinds: set[str]) -> None:
        """Raise a BatchError unless every part makes sense for targets of these kinds."""
        for part in self.parts:
            part.check(kinds)

    def prepare(self, scene: Scene) -> None:
        """Let every part bring the targets into its form, so that they come out alike for each batch."""
        for part in self.parts:
            part.prepare(scene)


@MODELS.register_module()
class BatchAugments(_Several):
    """Augmentations one after the other, which can begin and end at a step.

    Whether they run is a function of the step, so that a resumed run does the same, and no worker takes part. Targets
    keep their form when they do not: labels are soft, instances have `visible`.

    Args:
        augments: augmentations or their configs.
        open_at: when they begin: an interval such as '500it' or '1ep', counted from the start of training. None from
            the start.
        close_at: when they end: '10ep' leaves ten epochs with them and those behind without. None never.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: two of them do not go together, or an interval is a time.
        ArgumentTypeError: `augments` is no list.
    """

    def __init__(
        self, augments: Sequence[Any], open_at: str | None = None, close_at: str | None = None, *, stream: int = 0
    ) -> None:
        super().__init__(augments, stream)
        self.open_at, self.close_at = parse_switch("open_at", open_at), parse_switch("close_at", close_at)
        self._by_hand: bool | None = None

    def extra_repr(self) -> str:
        """The arguments."""
        return f"open_at={self.open_at}, close_at={self.close_at}"

    def switch(self, on: bool | None) -> None:
        """Turn them on or off by hand, from the next batch on.

        What was switched by hand is not in a checkpoint: after a resume, switch again.

        Args:
            on: whether they run; None goes back to `open_at` and `close_at`.
        """
        self._by_hand = on

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Plan all of them, each for the batch that the one before leaves; none when they are off."""
        if not self._runs(moment):
            return layout
        for number, part in enumerate(self.parts):
            layout = part.plan(layout, draw.child(number), moment, steps, kinds)
        return layout

    def _runs(self, moment: Moment) -> bool:
        if self._by_hand is not None:
            return self._by_hand
        begun = self.open_at is None or moment.reached(self.open_at)
        return begun and not (self.close_at is not None and moment.reached(self.close_at))


@MODELS.register_module()
class BatchAugmentChoice(_Several):
    """One of several augmentations, drawn for each batch.

    Args:
        augments: augmentations or their configs.
        probs: the chance of each; what is missing to 1 is the chance that the batch stays as it is. By default they are
            equal and add up to 1.
        stream: as for `BatchAugment`.

    Raises:
        ArgumentError: two of them do not go together, or the chances are not of the same number, are negative, or add
            up to more than 1.
        ArgumentTypeError: `augments` is no list.
    """

    def __init__(self, augments: Sequence[Any], probs: Sequence[float] | None = None, *, stream: int = 0) -> None:
        super().__init__(augments, stream)
        chances = [1 / len(self.parts)] * len(self.parts) if probs is None else [float(chance) for chance in probs]
        if len(chances) != len(self.parts) or min(chances) < 0 or sum(chances) > 1 + 1e-9:
            raise ArgumentError(
                f"probs gives each of the {len(self.parts)} augmentations a chance, together at most 1, got {probs!r}."
            )
        self.probs = chances
        ends = np.cumsum(chances)
        self._ends = np.where(ends > 1 - 1e-9, 1.0, ends)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"probs={self.probs}"

    def plan(self, layout: Layout, draw: Draw, moment: Moment, steps: list[Step], kinds: set[str]) -> Layout:
        """Draw one of them and plan it."""
        chosen = int(np.searchsorted(self._ends, self._own(draw).once(1)[0], side="right"))
        if chosen == len(self.parts):
            return layout
        return self.parts[chosen].plan(layout, draw.child(chosen), moment, steps, kinds)
