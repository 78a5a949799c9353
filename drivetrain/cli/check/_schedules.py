"""The check of `param_scheduler`: each schedule is tried on an optimizer, and held against the loop."""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch

from drivetrain.config import ConfigDict
from drivetrain.optim import OptimWrapper, OptimWrapperDict, build_schedule
from drivetrain.registry import PARAM_SCHEDULERS

from ._fault import ARGUMENT, SCHEDULE, Place, Report
from ._part import Role, check_part
from ._trial import blamed, quietly

_ROLE = Role(PARAM_SCHEDULERS, given=("optimizer",), extra=("convert_to_iter_based", "epoch_length"))
_EPOCH = 1000
"""Iterations of an epoch, where a schedule asks: a config does not say."""
_ENDLESS = 10**8
"""Length of a run in a unit that its loop does not count; schedules take 10**9 for no end at all."""


def check_schedules(place: Place, wrapper: Any, length: tuple[bool | None, int | None], report: Report) -> None:
    """Check a schedule, a list of them, or a dict of lists by the optimizer's name.

    Args:
        place: the config.
        wrapper: the optimizer wrapper, if it could be made.
        length: whether the loop counts epochs (None: not known), and how many of what it counts it makes.
        report: takes the faults.
    """
    if type(place.value) is ConfigDict and "type" not in place.value:
        for named in place.items():
            check_schedules(named, None, length, report)
        return
    single = None if issubclass(type(wrapper), OptimWrapperDict) else wrapper
    for schedule in [place] if type(place.value) is ConfigDict else place.items():
        if type(schedule.value) in (list, tuple):
            check_schedules(schedule, wrapper, length, report)
        elif type(schedule.value) is ConfigDict:
            _check_one(schedule, single, length, report)


def _check_one(place: Place, wrapper: Any, length: tuple[bool | None, int | None], report: Report) -> None:
    before, (counts_epochs, total) = len(report.faults), length
    target = check_part(place, _ROLE, report)
    _check_span(place, length, report)
    if target is None or len(report.faults) > before:
        return
    try:
        with quietly():
            optimizer = copy.copy(wrapper) if wrapper is not None else _some_optimizer()
            epochs, iters = (total if counts_epochs is unit and total else _ENDLESS for unit in (True, False))
            build_schedule(place.value.deepcopy(), optimizer, lambda: epochs, lambda: iters, lambda: _EPOCH)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".split(" This is set in ")[0]
        report.fault(blamed(place, str(error)), text, ARGUMENT)


def _check_span(place: Place, length: tuple[bool | None, int | None], report: Report) -> None:
    """What a schedule says of its span: it ends after it begins, and in a unit that the loop counts."""
    given, end = (dict.get(place.value, key) for key in ("begin", "end"))
    begin = given if _is_number(given) else 0
    if _is_number(end) and begin >= end:
        key = "begin" if "begin" in place.value else "end"
        text = f"the schedule ends before it begins: begin={begin}, end={end}."
        report.fault(place.at(key), text, SCHEDULE)
    counts_epochs, total = length
    by_epoch = dict.get(place.value, "by_epoch", True)
    if "by" in place.value or counts_epochs is None:
        return
    if by_epoch and not counts_epochs and not dict.get(place.value, "convert_to_iter_based"):
        text = (
            "this schedule counts epochs, and the loop of train_cfg counts iterations: it would never move. "
            "Write by_epoch=False, and its numbers in iterations."
        )
        report.fault(place.at("by_epoch") if "by_epoch" in place.value else place.at("type"), text, SCHEDULE)
    elif bool(by_epoch) == counts_epochs and total is not None and begin >= total > 0:
        unit = "epochs" if counts_epochs else "iterations"
        report.note(place.at("begin"), f"it begins at {begin}, and training ends after {total} {unit}.", SCHEDULE)


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float)


def _some_optimizer() -> OptimWrapper:
    return OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9))
