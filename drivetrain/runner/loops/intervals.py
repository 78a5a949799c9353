"""Intervals between validations, fixed or changing at milestones."""

from __future__ import annotations

import bisect
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.utils import Interval


def calc_dynamic_intervals(
    start_interval: int, dynamic_interval_list: list[tuple[int, int]] | None = None
) -> tuple[list[int], list[int]]:
    """Milestones and the interval that holds from each on.

    >>> calc_dynamic_intervals(10, [(50, 5), (90, 1)])
    ([0, 50, 90], [10, 5, 1])
    """
    pairs = [(0, start_interval), *(dynamic_interval_list or [])]
    if any(type(pair) not in (tuple, list) or len(pair) != 2 for pair in pairs):
        raise ArgumentTypeError(
            f"dynamic_intervals must be a list of (milestone, interval) pairs, got {dynamic_interval_list!r}."
        )
    milestones, intervals = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if milestones != sorted(milestones):
        raise ArgumentError(f"the milestones of dynamic_intervals must rise, got {milestones[1:]}.")
    for interval in intervals:
        check_interval("dynamic_intervals", interval)
    return milestones, intervals


def plan_validation(
    val_interval: Any, dynamic_intervals: list[tuple[int, int]] | None, in_epochs: bool
) -> tuple[list[int], list[Any], Interval | None]:
    """Milestones, intervals, and the interval where it is none of the contract's.

    Args:
        val_interval: a number, or text such as '500it', '0.25ep' or '10min'.
        dynamic_intervals: pairs of a milestone and a number.
        in_epochs: whether a plain number counts epochs, else iterations.

    Raises:
        ArgumentError: a value is wrong, or dynamic intervals stand beside one that is not of the loop's own unit.
    """
    every = Interval.parse("val_interval", val_interval) if type(val_interval) is str else None
    own: Any = val_interval if every is None else (every.epochs if in_epochs else every.iterations)
    if every is None or own is not None:
        check_interval("val_interval", own)
        return (*calc_dynamic_intervals(own, dynamic_intervals), None)
    if dynamic_intervals:
        unit = "epochs" if in_epochs else "iterations"
        raise ArgumentError(
            f"val_interval={val_interval!r} is not a whole number of {unit}, which dynamic_intervals="
            f"{dynamic_intervals!r} count: give val_interval in {unit}, or leave dynamic_intervals out."
        )
    return [0], [every], every


def interval_at(position: int, milestones: list[int], intervals: list[Any]) -> Any:
    """The interval that holds at `position` (a 1-based count of epochs or iterations)."""
    return intervals[bisect.bisect(milestones, position) - 1]


def check_interval(name: str, value: int) -> None:
    """Refuse an interval that is not a whole number of at least 1."""
    if type(value) is not int or value < 1:
        raise ArgumentError(
            f"{name} must be a whole number of at least 1, got {value!r}. To train without validation, leave out "
            "val_dataloader, val_cfg and val_evaluator; to validate late, set val_begin."
        )


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a length of training that is not a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, got {value!r}.")
