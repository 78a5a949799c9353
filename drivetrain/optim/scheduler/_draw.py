"""What schedules will do, before a run: the values, and a picture of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, OutOfRangeError, require_package
from drivetrain.registry import OPTIMIZERS

from ._base import _groups_of, _ParamScheduler
from ._build import build_schedule

_OPTIMIZER = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
_COLOURS = ("#2a6fbb", "#c2571a", "#3b8a3f", "#7a4fa3")


class _Length:
    """Epochs and iterations of a run; without iterations a step of the picture is an epoch."""

    def __init__(self, max_epochs: int | None, max_iters: int | None, epoch_length: int | None) -> None:
        for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters), ("epoch_length", epoch_length)):
            if value is not None and (type(value) is not int or value < 1):
                raise ArgumentError(f"{name} must be a positive int, got {value!r}.")
        if (max_epochs is None) == (max_iters is None):
            raise ArgumentError("give the length of the run: max_epochs (with epoch_length), or max_iters.")
        self._epochs, self._iters, self._epoch_length = max_epochs, max_iters, epoch_length

    @property
    def in_epochs(self) -> bool:
        """Whether a step of the values is an epoch."""
        return self._iters is None and self._epoch_length is None

    @property
    def steps(self) -> int:
        """Number of values."""
        return self.epochs() if self.in_epochs else self.iters()

    @property
    def steps_of_an_epoch(self) -> int:
        """Number of values to an epoch."""
        return 1 if self.in_epochs else self._epoch_length or self.iters()

    def epochs(self) -> int:
        """Epochs of the run."""
        return self._epochs or -(-self.iters() // self.length())

    def iters(self) -> int:
        """Iterations of the run."""
        return self._iters or (self._epochs or 0) * self.length()

    def length(self) -> int:
        """Iterations of an epoch, which somebody needs now."""
        if self._epoch_length is None:
            raise ArgumentError("a schedule needs epoch_length, the number of iterations of an epoch (batches).")
        return self._epoch_length


def schedule_values(
    param_scheduler: Any,
    *,
    max_epochs: int | None = None,
    epoch_length: int | None = None,
    max_iters: int | None = None,
    optimizer: Any = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    group: int = 0,
) -> dict[str, list[float]]:
    """The values that each iteration of a run would use, without a run.

    Args:
        param_scheduler: the config of a schedule, or a list of configs, as the runner takes it.
        max_epochs: length of the run.
        epoch_length: iterations of an epoch. Without it, and without `max_iters`, values are given for each epoch.
        max_iters: length of the run, instead of `max_epochs`.
        optimizer: the config of an optimizer or an optimizer wrapper, or an optimizer or a wrapper, which is only read.
            By default SGD with `lr=0.1` and `momentum=0.9`.
        metrics: the results of the validations, one after each epoch, for schedules that wait for them.
        group: index of the parameter group.

    Returns:
        'lr', and the name of each other setting that is steered, to its values.

    Raises:
        ArgumentError: the length of the run is missing, or a schedule is wrong.

    >>> warmup = dict(type="LinearLR", start_factor=0.5, end=3)
    >>> schedule_values(warmup, max_epochs=4, optimizer=dict(lr=1.0))
    {'lr': [0.5, 0.75, 1.0, 1.0]}
    """
    length = _Length(max_epochs, max_iters, epoch_length)
    stand_in, window = _stand_in(optimizer)
    if not -len(stand_in.param_groups) <= group < len(stand_in.param_groups):
        raise OutOfRangeError(f"there is no group {group}: the optimizer has {len(stand_in.param_groups)}.")
    items = list(param_scheduler) if type(param_scheduler) in (list, tuple) else [param_scheduler]
    schedules = [_build(item, stand_in, length, window) for item in items]
    settings = stand_in.param_groups[group]
    values: dict[str, list[float]] = {name: [] for name in ("lr", *(schedule.param_name for schedule in schedules))}
    results = iter(metrics)
    for step in range(1, length.steps + 1):
        for name, found in values.items():
            found.append(float(settings[name]))
        ends_epoch = step % length.steps_of_an_epoch == 0
        updates = step % window == 0 or step == length.steps
        _advance(schedules, length.in_epochs, ends_epoch, updates, next(results, None) if ends_epoch else None)
    return values


def draw_schedules(
    param_scheduler: Any,
    path: str | Path = "schedules.png",
    *,
    max_epochs: int | None = None,
    epoch_length: int | None = None,
    max_iters: int | None = None,
    **others: Any,
) -> str:
    """Draw what `schedule_values` gives, one panel for each setting, into an image file.

    Args:
        param_scheduler: the config of a schedule, or a list of configs, as the runner takes it.
        path: of the image; its ending says the format.
        max_epochs: length of the run.
        epoch_length: iterations of an epoch.
        max_iters: length of the run, instead of `max_epochs`.
        others: further arguments of `schedule_values`.

    Returns:
        The path.

    Raises:
        MissingPackageError: matplotlib is not installed.
        ArgumentError: see `schedule_values`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise require_package("matplotlib", "Drawing schedules", "vision") from error
    values = schedule_values(
        param_scheduler, max_epochs=max_epochs, epoch_length=epoch_length, max_iters=max_iters, **others
    )
    per_epoch = epoch_length if epoch_length and max_epochs else 1
    figure = Figure(figsize=(6.4, 0.4 + 1.8 * len(values)), layout="constrained")
    panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    for number, (panel, (name, found)) in enumerate(zip(panels, values.items(), strict=True)):
        steps = [step / per_epoch for step in range(len(found))]
        panel.plot(steps, found, drawstyle="steps-post", color=_COLOURS[number % len(_COLOURS)])
        panel.set_ylabel(name)
        panel.margins(x=0)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("epoch" if max_epochs else "iteration")
    figure.savefig(os.fspath(path), dpi=110)
    return os.fspath(path)


def _build(item: Any, stand_in: Optimizer, length: _Length, window: int) -> _ParamScheduler:
    if not hasattr(item, "keys"):
        raise ArgumentError(
            "give the configs of schedules, such as dict(type='CosineAnnealingLR', by_epoch=True): "
            f"{type(item).__name__} is built already and steers another optimizer."
        )
    schedule: _ParamScheduler = build_schedule(item, stand_in, length.epochs, length.iters, length.length, window)
    waits = getattr(schedule, "need_val_args", False)
    if not waits and schedule.by_epoch != length.in_epochs:
        length.length()  # a schedule in epochs and a picture in iterations, or the other way round
    return schedule


def _advance(
    schedules: list[Any], in_epochs: bool, ends_epoch: bool, updates: bool, metrics: Mapping[str, Any] | None
) -> None:
    """Step as the hook does: after an iteration, after an epoch, and after a validation."""
    for schedule in schedules:
        if getattr(schedule, "need_val_args", False):
            schedule.step(metrics)
        elif schedule.by_epoch:
            if ends_epoch:
                schedule.step()
        elif not in_epochs and (updates or schedule.by != "update"):
            schedule.step()


def _stand_in(given: Any) -> tuple[Optimizer, int]:
    """An optimizer with the same settings and a parameter of its own, and the losses to an update."""
    if given is None or hasattr(given, "keys"):
        cfg = dict(given or _OPTIMIZER)
        inner = cfg.get("optimizer")
        if inner is not None:
            return _stand_in(inner)[0], cfg.get("accumulative_counts", 1)
        built: Optimizer = OPTIMIZERS.build({"type": "SGD", **cfg}, default_args={"params": [_parameter()]})
        return built, 1
    groups = [
        {name: group.get(f"initial_{name}", value) for name, value in group.items() if not name.startswith("initial_")}
        for group in _groups_of(given)
    ]
    window: int = getattr(given, "_accumulative_counts", 1)
    return Optimizer([{**group, "params": [_parameter()]} for group in groups], dict(given.defaults)), window


def _parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(1))
