"""Give cached memory of the accelerator back."""

from __future__ import annotations

from typing import Any

import torch

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class EmptyCacheHook(Hook):
    """Hands memory that torch keeps for reuse back to the accelerator, for other programs or to end fragmentation.

    In training, validation and test alike. It waits for the device and makes the next allocations slow: once an epoch
    is cheap, after every step is not. Without an accelerator it does nothing.

    Args:
        before_epoch: before the batches of an epoch.
        after_epoch: after them.
        after_iter: after each batch.
    """

    priority = "NORMAL"

    def __init__(self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False) -> None:
        self._do_before_epoch = before_epoch
        self._do_after_epoch = after_epoch
        self._do_after_iter = after_iter

    def _after_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any | None = None,
        mode: str = "train",
    ) -> None:
        """Empty the cache if that is wanted after each batch."""
        if self._do_after_iter:
            _empty_cache()

    def _before_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Empty the cache if that is wanted before an epoch."""
        if self._do_before_epoch:
            _empty_cache()

    def _after_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Empty the cache if that is wanted after an epoch."""
        if self._do_after_epoch:
            _empty_cache()


def _empty_cache() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
