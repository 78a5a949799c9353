"""Step the schedules of learning rate, momentum and other group values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook


def _chains(runner: RunnerLike) -> Any:
    """The schedules of each optimizer with its wrapper: a list serves one optimizer, a dict of lists several."""
    schedulers = runner.param_schedulers
    if not schedulers:
        return ()
    wrapper = runner.optim_wrapper
    if type(schedulers) is list:
        return ((schedulers, wrapper),)
    return [(chain, wrapper[name]) for name, chain in schedulers.items()]


def _flat(runner: RunnerLike, *, waiting: bool) -> Iterator[Any]:
    """The schedules that wait for a validation, or those that do not."""
    for chain, _ in _chains(runner):
        for scheduler in chain:
            if getattr(scheduler, "need_val_args", False) is waiting:
                yield scheduler


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Steps schedules after each training iteration or epoch, by what each counts.

    A schedule that counts updates (`by='update'`) is stepped once for each update that its optimizer has made. One that
    counts iterations stays where it is in an iteration whose update was left out, as fp16 does when gradients overflow.
    One that needs a result (`need_val_args`) is stepped after validation, with its metrics.
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._updates: dict[int, int] = {}

    def before_train(self, runner: RunnerLike) -> None:
        """Note how many updates were made before."""
        wrappers = [wrapper for _, wrapper in _chains(runner)]
        self._updates = {id(wrapper): getattr(wrapper, "updates", 0) for wrapper in wrappers}

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Step what counts iterations or updates."""
        for chain, wrapper in _chains(runner):
            steps = 0 if getattr(wrapper, "step_skipped", False) and wrapper.should_update() else 1
            updates: int | None = None
            for scheduler in chain:
                if scheduler.by_epoch or getattr(scheduler, "need_val_args", False):
                    continue
                count = steps
                if getattr(scheduler, "by", "iteration") == "update":
                    updates = count = self._new_updates(wrapper) if updates is None else updates
                for _ in range(count):
                    scheduler.step()

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Step what counts epochs."""
        for scheduler in _flat(runner, waiting=False):
            if scheduler.by_epoch:
                scheduler.step()

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Step what waits for a validation result."""
        if metrics is None or not runner.schedulers_built:
            return
        for scheduler in _flat(runner, waiting=True):
            scheduler.step(metrics)

    def _new_updates(self, wrapper: Any) -> int:
        """Updates made since this was last asked; a wrapper that does not count them made one if it says so."""
        made: int | None = getattr(wrapper, "updates", None)
        if made is None:
            return int(getattr(wrapper, "updated", True))
        new = made - self._updates.get(id(wrapper), made - getattr(wrapper, "updated", True))
        self._updates[id(wrapper)] = made
        return new
