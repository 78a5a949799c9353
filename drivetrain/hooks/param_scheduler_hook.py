"""Step the schedules of learning rate, momentum and other group values."""

from __future__ import annotations

from typing import Any

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook


def _flat(schedulers: Any) -> list[Any]:
    """Schedules of one optimizer are a list, of several a dict of lists."""
    if type(schedulers) is list:
        return schedulers
    return [scheduler for chain in (schedulers or {}).values() for scheduler in chain]


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Steps schedules after each training iteration or epoch, by what each counts.

    Schedules that need a result (`need_val_args`) are stepped after validation, with its metrics.
    """

    priority = "LOW"

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Step what counts iterations."""
        schedulers = runner.param_schedulers
        if schedulers:
            for scheduler in _flat(schedulers):
                if not scheduler.by_epoch and not getattr(scheduler, "need_val_args", False):
                    scheduler.step()

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Step what counts epochs."""
        for scheduler in _flat(runner.param_schedulers):
            if scheduler.by_epoch and not getattr(scheduler, "need_val_args", False):
                scheduler.step()

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Step what waits for a validation result."""
        if metrics is None or not runner.schedulers_built:
            return
        for scheduler in _flat(runner.param_schedulers):
            if getattr(scheduler, "need_val_args", False) and scheduler.by_epoch:
                scheduler.step(metrics)
