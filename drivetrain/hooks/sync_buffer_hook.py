"""Make buffers, such as the statistics of batch norm, equal on all processes."""

from __future__ import annotations

from drivetrain.dist import all_reduce_params, is_distributed
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import Hook


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Averages the model's floating buffers over all processes after each training epoch, and before a validation.

    A validation right after a training epoch finds them averaged already. Counters (integers) are left alone.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self.distributed = is_distributed()
        self.called_in_train = False

    def before_val_epoch(self, runner: RunnerLike) -> None:
        """Average, unless the epoch of training that just ended did."""
        if self.distributed and not self.called_in_train:
            self._average_buffers(runner)
        self.called_in_train = False

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Average."""
        if self.distributed:
            self._average_buffers(runner)
            self.called_in_train = True

    def _average_buffers(self, runner: RunnerLike) -> None:
        all_reduce_params([buffer for buffer in runner.model.buffers() if buffer.is_floating_point()], op="mean")
