"""Time every step on the host's clock, and tell how long the rest will take."""

from __future__ import annotations

import time
from typing import Any

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook

_DATA_TIME = {mode: f"{mode}/data_time" for mode in ("train", "val", "test")}
_TIME = {mode: f"{mode}/time" for mode in ("train", "val", "test")}


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Writes `<mode>/data_time` (waiting for the batch) and `<mode>/time` (the whole step), and the info `eta`.

    Times are seconds on the host: a device that works asynchronously is not waited for, so over a window they are right
    and a single step's may not be. It also marks in the message hub where each epoch begins.

    Attributes:
        t: when the last step ended.
        time_sec_tot: seconds spent in training steps of this process.
        time_sec_test_val: seconds spent in the running validation or test.
        start_iter: training step this process began with.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self.time_sec_tot = 0.0
        self.time_sec_test_val = 0.0
        self.start_iter = 0
        self.t = time.time()
        self._batches: int | None = None
        self._max_iters = 0

    def before_train(self, runner: RunnerLike) -> None:
        """Note where this process begins."""
        self.start_iter = runner.iter

    def _before_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Start the clock and the hub's epoch; a training epoch that is resumed in its middle goes on."""
        runner.message_hub.begin_epoch(f"{mode}/", runner.epoch if mode == "train" else None)
        if mode == "train":
            self._max_iters = runner.max_iters
        else:
            self._batches = _length(getattr(runner, f"{mode}_dataloader"))
        self.t = time.time()

    def _after_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Forget the time of a validation or test."""
        self.time_sec_test_val = 0.0

    def _before_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, mode: str = "train"
    ) -> None:
        """The batch is there."""
        runner.message_hub.update_scalar(_DATA_TIME[mode], time.time() - self.t)

    def _after_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any | None = None,
        mode: str = "train",
    ) -> None:
        """The step is done: write its time and what remains."""
        now = time.time()
        spent, self.t = now - self.t, now
        hub = runner.message_hub
        hub.update_scalar(_TIME[mode], spent)
        if mode == "train":
            made = runner.iter + 1
            self.time_sec_tot += spent
            hub.update_info("eta", self.time_sec_tot / (made - self.start_iter) * (self._max_iters - made))
            return
        self.time_sec_test_val += spent
        if self._batches is not None:
            hub.update_info("eta", self.time_sec_test_val / (batch_idx + 1) * (self._batches - batch_idx - 1))


def _length(loader: Any) -> int | None:
    """Number of batches, None when the loader cannot tell."""
    try:
        return len(loader)
    except TypeError:
        return None
