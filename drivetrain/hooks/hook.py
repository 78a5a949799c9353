"""The base of all hooks: 22 points around a run, each an empty method."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Union, cast

from drivetrain.typing import RunnerLike

DATA_BATCH = Union[dict, tuple, list, None]  # type: ignore[type-arg]  # noqa: UP007
"""A batch as the loader yields it."""

_EPOCH_CHAIN = ("_before_epoch", "_after_epoch")
_ITER_CHAIN = ("_before_iter", "_after_iter")


class Hook:
    """Something that happens around the steps of a run.

    Override the points you need; the runner passes itself as the first argument and calls only what is overridden, so
    an unused point costs nothing. Lower `priority` runs first; hooks of one priority run in the order of registration.

    The points of training, in order::

        before_run
        before_train
            before_train_epoch
                before_train_iter(batch_idx, data_batch)
                after_train_iter(batch_idx, data_batch, outputs)
            after_train_epoch
            before_val ... after_val        when validation is due
        after_train
        after_run

    `before_save_checkpoint(checkpoint)` comes right before a file is written and `after_load_checkpoint(checkpoint)`
    right after one is read, before its weights are used: both may change the dict.

    A hook whose work must survive a restart offers `state_dict()` and `load_state_dict(state)`; checkpoints hold them.
    """

    priority: int | str = "NORMAL"
    stages = (
        "before_run",
        "after_load_checkpoint",
        "before_train",
        "before_train_epoch",
        "before_train_iter",
        "after_train_iter",
        "after_train_epoch",
        "before_val",
        "before_val_epoch",
        "before_val_iter",
        "after_val_iter",
        "after_val_epoch",
        "after_val",
        "before_save_checkpoint",
        "after_train",
        "before_test",
        "before_test_epoch",
        "before_test_iter",
        "after_test_iter",
        "after_test_epoch",
        "after_test",
        "after_run",
    )

    def before_run(self, runner: RunnerLike) -> None:
        """Before anything runs; models, loops and loaders are built, weights not yet loaded."""

    def after_run(self, runner: RunnerLike) -> None:
        """After everything."""

    def before_train(self, runner: RunnerLike) -> None:
        """Before the first epoch; weights and resumed state are in place."""

    def after_train(self, runner: RunnerLike) -> None:
        """After the last epoch."""

    def before_val(self, runner: RunnerLike) -> None:
        """Before a validation."""

    def after_val(self, runner: RunnerLike) -> None:
        """After a validation."""

    def before_test(self, runner: RunnerLike) -> None:
        """Before testing."""

    def after_test(self, runner: RunnerLike) -> None:
        """After testing."""

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Right before `checkpoint` is written; it may be changed in place."""

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """After `checkpoint` was read and before its weights are used; it may be changed in place."""

    def before_train_epoch(self, runner: RunnerLike) -> None:
        """Before an epoch of training."""
        self._before_epoch(runner, mode="train")

    def before_val_epoch(self, runner: RunnerLike) -> None:
        """Before the batches of a validation."""
        self._before_epoch(runner, mode="val")

    def before_test_epoch(self, runner: RunnerLike) -> None:
        """Before the batches of a test."""
        self._before_epoch(runner, mode="test")

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """After an epoch of training; `runner.epoch` does not count it yet."""
        self._after_epoch(runner, mode="train")

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """After the batches of a validation, with its metrics."""
        self._after_epoch(runner, mode="val")

    def after_test_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """After the batches of a test, with its metrics."""
        self._after_epoch(runner, mode="test")

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before a training step, with the batch as the loader gave it."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="train")

    def before_val_iter(self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before a validation step."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="val")

    def before_test_iter(self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before a test step."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="test")

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """After a training step, which `runner.iter` does not count yet; `outputs` are its log variables."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="train")

    def after_val_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any | None = None
    ) -> None:
        """After a validation step; `outputs` are the predictions."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="val")

    def after_test_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any | None = None
    ) -> None:
        """After a test step; `outputs` are the predictions."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="test")

    def _before_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """All three `before_*_epoch` points at once; `mode` is 'train', 'val' or 'test'."""

    def _after_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """All three `after_*_epoch` points at once."""

    def _before_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None, mode: str = "train"
    ) -> None:
        """All three `before_*_iter` points at once."""

    def _after_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any | None = None,
        mode: str = "train",
    ) -> None:
        """All three `after_*_iter` points at once."""

    def every_n_epochs(self, runner: RunnerLike, n: int, start: int = 0) -> bool:
        """Whether the epoch just made is number `start`, or the n-th, 2n-th ... after it; False for n <= 0."""
        since = runner.epoch + 1 - start
        return n > 0 and since >= 0 and since % n == 0

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Whether `batch_idx` (from 0) is the n-th, 2n-th ... batch of the epoch; False for n <= 0."""
        return n > 0 and (batch_idx + 1) % n == 0

    def every_n_train_iters(self, runner: RunnerLike, n: int, start: int = 0) -> bool:
        """Whether the step just made is number `start`, or the n-th, 2n-th ... after it; False for n <= 0."""
        since = runner.iter + 1 - start
        return n > 0 and since >= 0 and since % n == 0

    def end_of_epoch(self, dataloader: Any, batch_idx: int) -> bool:
        """Whether `batch_idx` (from 0) is the last batch of `dataloader`."""
        return batch_idx + 1 == len(dataloader)

    def is_last_train_epoch(self, runner: RunnerLike) -> bool:
        """Whether this is the last epoch."""
        return runner.epoch + 1 == runner.max_epochs

    def is_last_train_iter(self, runner: RunnerLike) -> bool:
        """Whether this is the last training step."""
        return runner.iter + 1 == runner.max_iters

    def get_triggered_stages(self) -> list[str]:
        """The points at which this hook does something, in the order of `stages`."""
        return [stage for stage in Hook.stages if overrides_point(self, stage)]


def overrides_point(hook: object, point: str) -> bool:
    """Whether `hook` defines `point`: in its class, on the instance, or through the `_before_iter`-style chain."""
    return any(_is_redefined(hook, name) for name in (point, *_chain_of(point)))


def method_at(hook: object, point: str) -> Callable[..., Any]:
    """What to call at `point`: the hook's own method, or straight away the shared one that it leads to.

    A hook that overrides `_before_iter` alone is spared the way through `Hook.before_train_iter`, at every step.
    """
    shared = "".join(_chain_of(point))
    if shared not in _ITER_CHAIN or _is_redefined(hook, point) or not _is_redefined(hook, shared):
        return cast("Callable[..., Any]", getattr(hook, point))
    return functools.partial(getattr(hook, shared), mode=point.split("_")[1])


def _chain_of(point: str) -> tuple[str, ...]:
    """The shared method behind a point: `before_val_iter` -> `_before_iter`."""
    parts = point.split("_")
    shared = f"_{parts[0]}_{parts[-1]}"
    return (shared,) if len(parts) == 3 and shared in _EPOCH_CHAIN + _ITER_CHAIN else ()


def _is_redefined(hook: object, name: str) -> bool:
    own = getattr(type(hook), name, None)
    return name in getattr(hook, "__dict__", {}) or (own is not None and own is not getattr(Hook, name, None))
