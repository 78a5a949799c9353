"""Keep an average of the weights beside the model, evaluate it, and save both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.checkpoint import get_state_dict, weights_to_cpu
from drivetrain.errors import ArgumentError, CheckpointError
from drivetrain.model import is_model_wrapper
from drivetrain.registry import HOOKS, MODELS
from drivetrain.typing import RunnerLike

from ._intervals import read_steps, steps_of
from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class EMAHook(Hook):
    """Averages the weights while training; validation and test see the average.

    The average advances with the optimizer's updates: neither inside an accumulation window nor after a step that mixed
    precision skipped. In a checkpoint `state_dict` holds the average, so that whoever loads it gets the better weights,
    and `ema_state_dict` the weights in training (under `module.`) with the count of updates (`steps`). Before its first
    update the average is neither evaluated nor saved in the model's place; a validation before that says so once.

    Args:
        ema_type: the kind of average, a name in MODELS.
        strict_load: on resume, accept only an exact match of the average's entries.
        begin_iter: first iteration (from 1) that is averaged.
        begin_epoch: first epoch (from 1) that is averaged; set one of the two.
        **kwargs: arguments of the average, such as `momentum`; its `interval` may be '10it' or '0.25ep' too, counted in
            updates of the optimizer.

    Raises:
        ArgumentError: a begin is negative, or both are set.
    """

    priority = "NORMAL"

    def __init__(
        self,
        ema_type: str = "ExponentialMovingAverage",
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        if begin_iter < 0 or begin_epoch < 0:
            raise ArgumentError(
                "begin_iter and begin_epoch must be at least 0, "
                f"got begin_iter={begin_iter}, begin_epoch={begin_epoch}."
            )
        if begin_iter and begin_epoch:
            raise ArgumentError(f"set begin_iter or begin_epoch, not both: got {begin_iter} and {begin_epoch}.")
        self.strict_load = strict_load
        self.ema_cfg = {"type": ema_type, **kwargs}
        self._interval = read_steps("interval", kwargs["interval"]) if type(kwargs.get("interval")) is str else None
        self.begin_iter = begin_iter
        self.begin_epoch = begin_epoch
        self.enabled_by_epoch = begin_epoch > 0
        self._swapped = False
        self._told = True

    def before_run(self, runner: RunnerLike) -> None:
        """Build the average."""
        model = runner.model
        self.src_model = model.module if is_model_wrapper(model) else model
        if self._interval is not None:
            self.ema_cfg["interval"] = steps_of("interval", self._interval, runner)
        self.ema_model: Any = MODELS.build(self.ema_cfg, default_args={"model": self.src_model})

    def before_train(self, runner: RunnerLike) -> None:
        """Check that averaging will begin at all; start from the weights that are in place now.

        Raises:
            ArgumentError: it would begin after the end.
        """
        begin, end, unit = (
            (self.begin_epoch, runner.max_epochs, "epoch")
            if self.enabled_by_epoch
            else (self.begin_iter, runner.max_iters, "iter")
        )
        if begin > end:
            raise ArgumentError(
                f"begin_{unit}={begin} is after the last {unit} of training, {end}: nothing is averaged."
            )
        self._told = False
        if not self._has_average():
            self._copy_source()

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Update the average, if the step that was made changed the weights."""
        if getattr(getattr(runner, "optim_wrapper", None), "updated", True) and self._ema_started(runner):
            self.ema_model.update_parameters(self.src_model)

    def before_val_epoch(self, runner: RunnerLike) -> None:
        """Put the average into the model, if there is one yet."""
        self._use_average()
        if not self._swapped and not self._told:
            self._told = True
            runner.logger.info(
                "EMAHook has made no update yet: this validation sees the weights in training, not an average."
            )

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Put the weights in training back."""
        self._use_source()

    def before_test_epoch(self, runner: RunnerLike) -> None:
        """Put the average into the model."""
        self._use_average()

    def after_test_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Put the weights in training back."""
        self._use_source()

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Add `ema_state_dict`, and let `state_dict` hold the average."""
        checkpoint["ema_state_dict"] = weights_to_cpu(get_state_dict(self.ema_model))
        if not self._has_average():
            self._set_average(checkpoint, checkpoint["state_dict"])
        elif not self._swapped:
            self._swap_ema_state_dict(checkpoint)

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """On resume, give the average its weights and the model the weights in training.

        A file loaded for its weights alone keeps the average in `state_dict`, for the model to start from; the average
        stands at the same weights, so that a subclass may put it into the model before the first update.

        Raises:
            CheckpointError: the file's average does not fit.
        """
        if not getattr(runner, "_resume", False):
            self._start_from(checkpoint.get("state_dict") or {})
            return
        if "ema_state_dict" not in checkpoint:
            runner.logger.warning("The checkpoint has no ema_state_dict: the average starts anew from its weights.")
            return
        self._swap_ema_state_dict(checkpoint)
        try:
            self.ema_model.load_state_dict(checkpoint["ema_state_dict"], strict=self.strict_load)
        except RuntimeError as error:
            raise CheckpointError(f"the average in the checkpoint does not fit this run's EMAHook: {error}") from error

    def _ema_started(self, runner: RunnerLike) -> bool:
        """Whether the step just made is averaged."""
        if self.enabled_by_epoch:
            return runner.epoch + 1 >= self.begin_epoch
        return self.begin_iter < 2 or runner.iter + 1 >= self.begin_iter

    def _has_average(self) -> bool:
        # The counter lives on the CPU: reading it waits for no device.
        return int(self.ema_model.steps) > 0

    def _use_average(self) -> None:
        if self._has_average() and not self._swapped:
            self._swap_ema_parameters()
            self._swapped = True

    def _use_source(self) -> None:
        if self._swapped:
            self._swap_ema_parameters()
            self._swapped = False

    @torch.no_grad()
    def _swap_ema_parameters(self) -> None:
        """Exchange the values of the model and of its average, tensor by tensor, in place."""
        for averaged, source in self._pairs():
            kept = averaged.clone()
            averaged.copy_(source)
            source.copy_(kept)

    @torch.no_grad()
    def _copy_source(self) -> None:
        for averaged, source in self._pairs():
            averaged.copy_(source)

    @torch.no_grad()
    def _start_from(self, weights: dict[str, Any]) -> None:
        """Copy what fits of the weights that the model is about to load; what does not is reported by the load."""
        own = dict(_named_tensors(self.ema_model.module))
        for name, value in weights.items():
            target = own.get(name.removeprefix("module."))
            if target is not None and target.shape == value.shape:
                target.copy_(value)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The tensors that are averaged, each with the model's own; one that modules share comes once."""
        source = dict(_named_tensors(self.src_model))
        shared = {id(averaged): (averaged, source[name]) for name, averaged in self._averaged()}
        return list(shared.values())

    def _averaged(self) -> list[tuple[str, Tensor]]:
        """The averaged tensors under every name they have in the model."""
        averaged = {id(tensor) for tensor in self.ema_model.avg_parameters.values()}
        return [(name, tensor) for name, tensor in _named_tensors(self.ema_model.module) if id(tensor) in averaged]

    def _swap_ema_state_dict(self, checkpoint: dict[str, Any]) -> None:
        """Exchange the averaged entries of `state_dict` and `ema_state_dict`, in the checkpoint alone."""
        weights, average = checkpoint["state_dict"], checkpoint["ema_state_dict"]
        for name, _ in self._averaged():
            averaged = f"module.{name}"
            if name in weights and averaged in average:
                weights[name], average[averaged] = average[averaged], weights[name]

    def _set_average(self, checkpoint: dict[str, Any], weights: dict[str, Any]) -> None:
        """Write `weights` for an average that there is not yet."""
        average = checkpoint["ema_state_dict"]
        average.update({f"module.{name}": value for name, value in weights.items() if f"module.{name}" in average})


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)
