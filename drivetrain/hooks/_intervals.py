"""Intervals of saves in every unit, as the contract's numbers where it has them."""

from __future__ import annotations

from typing import Any

from drivetrain.typing import RunnerLike
from drivetrain.utils import Interval, Ticker


def read_interval(interval: Any, by_epoch: bool) -> tuple[Any, bool]:
    """The interval, and whether it counts epochs.

    Whole epochs and iterations are plain numbers; anything else is asked about at the end of each step. An interval in
    epochs counts steps where the user has said `by_epoch=False`.

    Raises:
        ArgumentError: a text that is no interval.
    """
    if type(interval) is not str:
        return interval, by_epoch
    every = Interval.parse("interval", interval)
    if every.iterations is not None:
        return every.iterations, False
    if every.epochs is not None and by_epoch:
        return every.epochs, True
    return every, False


def start_ticker(runner: RunnerLike, interval: Any, clock: dict[str, Any] | None) -> Ticker | None:
    """What says when such an interval has passed; None for a plain number.

    Args:
        runner: the runner, for the length of an epoch.
        interval: the interval.
        clock: the state that a resumed run goes on from.
    """
    if type(interval) is not Interval:
        return None
    try:
        length: int | None = len(runner.train_dataloader)
    except TypeError:
        length = None
    ticker = Ticker(interval, length)
    if clock:
        ticker.load_state_dict(clock)
    ticker.start()
    return ticker


def epochs_by_steps(runner: RunnerLike, given: Any, interval: Any) -> Interval | None:
    """The same interval in steps, where the user gave text such as '1ep' and the loop counts no epochs."""
    counts_steps = getattr(runner.train_loop, "in_epochs", True) is False
    return Interval.parse("interval", given) if type(given) is str and type(interval) is int and counts_steps else None
