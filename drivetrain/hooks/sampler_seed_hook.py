"""Tell samplers which epoch it is."""

from __future__ import annotations

from typing import Any

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import Hook


@HOOKS.register_module()
class DistSamplerSeedHook(Hook):
    """Calls `set_epoch(runner.epoch)` on the train loader's sampler, or on that of its batch sampler.

    A sampler that shuffles by (seed, epoch) needs it, on one process as on many; others ignore it.
    """

    priority = "NORMAL"

    def before_train_epoch(self, runner: RunnerLike) -> None:
        """Pass the epoch on."""
        loader = runner.train_loop.dataloader
        for holder in (loader, getattr(loader, "batch_sampler", None)):
            sampler: Any = getattr(holder, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(runner.epoch)
                return
