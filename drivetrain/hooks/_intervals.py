"""Intervals of saves in every unit, as the contract's numbers where it has them."""

from __future__ import annotations

from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError
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


def read_steps(name: str, interval: Any) -> Any:
    """An interval that has to be a number of steps: an int, or an `Interval` in parts of epochs.

    Raises:
        ArgumentError: it is a time, a text that is no interval, or below 1.
        ArgumentTypeError: it is neither a whole number nor text.
    """
    if type(interval) is str:
        every = Interval.parse(name, interval)
        if every.unit == "s":
            raise ArgumentError(f"{name}={interval!r} is a time, and here steps count: '500it', or '0.5ep'.")
        return every if every.iterations is None else every.iterations
    if type(interval) is not int:
        raise ArgumentTypeError(f"{name} takes a whole number, got {interval!r} of type {type(interval).__name__}.")
    if interval < 1:
        raise ArgumentError(f"{name} takes a number of at least 1, got {interval}.")
    return interval


def steps_of(name: str, interval: Any, runner: RunnerLike) -> int:
    """What `read_steps` returned, in steps of this run; at least one.

    Raises:
        ArgumentError: it counts epochs, and the loader has no length.
    """
    if type(interval) is int:
        return interval
    try:
        length = len(runner.train_dataloader)
    except TypeError:
        raise ArgumentError(
            f"{name}={str(interval)!r} counts epochs, and the loader has no length. Give steps: '500it'."
        ) from None
    return max(1, round(interval.every * length))
