"""Where a run stands, as far as a batch augmentation has to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from drivetrain.dist import get_rank
from drivetrain.errors import ArgumentError
from drivetrain.logging import MessageHub
from drivetrain.utils import Interval


@dataclass(frozen=True)
class Moment:
    """The step that a batch belongs to.

    Attributes:
        seed: seed of the run.
        rank: rank of this process.
        iteration: training steps made before this one.
        occurrence: how many batches were augmented before in this same step.
        epoch_length: batches of an epoch, or None when nobody knows.
    """

    seed: int
    rank: int
    iteration: int
    occurrence: int
    epoch_length: int | None

    def reached(self, interval: Interval) -> bool:
        """Whether so many steps or epochs have been made.

        Raises:
            ArgumentError: the interval is in epochs, and their length is unknown.
        """
        if interval.unit == "ep" and self.epoch_length is None:
            raise ArgumentError(
                f"{interval} cannot be placed: how long an epoch is, the runner says, and there is none, or its loader "
                "has no length. Give iterations, such as '500it'."
            )
        return interval.passed(self.iteration, self.epoch_length or 1) > 0


class Clock:
    """Tells the moment of each batch: that of the run, or, without a runner, one counted here.

    Within a step the batches are told apart by their number, so that two of one step share no random numbers.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._where: tuple[int, int] | None = None
        self._occurrence = 0

    def tick(self) -> Moment:
        """The moment of the next batch."""
        infos: dict[str, Any] = MessageHub.get_current_instance().runtime_info
        seed, iteration = infos.get("seed"), infos.get("iter")
        if type(seed) is not int or type(iteration) is not int:
            self._calls += 1
            return Moment(torch.initial_seed(), get_rank(), self._calls - 1, 0, None)
        self._occurrence = self._occurrence + 1 if self._where == (seed, iteration) else 0
        self._where = (seed, iteration)
        return Moment(seed, get_rank(), iteration, self._occurrence, infos.get("epoch_length"))


def parse_switch(name: str, value: str | None) -> Interval | None:
    """A number of steps or epochs, from its text.

    Raises:
        ArgumentError: it is a time, which no step can tell.
        ArgumentTypeError: it is no text.
    """
    if value is None:
        return None
    interval = Interval.parse(name, value if type(value) is str else str(value))
    if interval.unit == "s":
        raise ArgumentError(
            f"{name}={value!r} is a time: after a resume it would come at another step. Give epochs, such as '10ep', "
            "or iterations, such as '500it'."
        )
    return interval
