"""The optimizer wrapper of ordinary training: accumulate, clip, step."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.logging import MessageHub, print_log
from drivetrain.registry import OPTIM_WRAPPERS
from drivetrain.tensors import has_batch_norm
from drivetrain.typing import StateDict

from ._base import BaseOptimWrapper
from ._clip import parse_clip_grad
from ._counts import NormaliseBy, WindowCounts
from ._guard import flag_of, is_recorded, non_finite_flag, step_if_finite
from ._quick_step import quick_step, quick_zero_grad
from ._window import gradients_of, is_of_this_window, restore_gradients

NOTHING: AbstractContextManager[None] = nullcontext()
"""The context of a step that needs none; one object for all, since it holds no state."""


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(BaseOptimWrapper):
    """One interface to an optimizer: `update_params(loss)` scales, runs backward, accumulates, clips, steps, zeroes.

    Over a window of `accumulative_counts` losses each loss is divided by their number, so that the gradient is that of
    the mean over the window. The last window of a run may be shorter; `initialize_count_status` tells where the run
    ends, and its losses are divided by their own number.

    Args:
        optimizer: the optimizer to wrap.
        accumulative_counts: number of losses to an update, at least 1.
        clip_grad: None, or a dict: `type` 'norm' (the default) or 'value', the rest for
            `torch.nn.utils.clip_grad_norm_` or `clip_grad_value_`. The norm before clipping is logged as
            'train/grad_norm', as a tensor on its device.
        normalise_by: in a window, weigh losses by a count in place of all alike: the name of a value that
            `forward(mode='loss')` returns beside the losses, such as 'num_tokens', or a function of the log variables.
            The gradient is then that of one batch whose loss is normalised by the count over all of the window.

    Attributes:
        updates: updates that changed the weights, in the whole run; part of the state, so that a resume counts on.
        updated: whether the last `update_params` ended in such an update: not inside a window, and not when it was
            left out. What counts updates (schedules, averaged weights) looks here, after each step.
        step_skipped: whether the last update that was due was left out, because gradients were not finite.
        skipped_in_row: how many updates were left out since the last one that was made.
        skip_non_finite: leave out updates whose gradients are not finite; costs one read of a flag at each update.

    Raises:
        ArgumentTypeError: `optimizer` is not an optimizer, or another argument is of a wrong type.
        ArgumentError: `accumulative_counts` is below 1, or `clip_grad` has an argument that torch's function lacks.

    >>> from drivetrain.optim import OptimWrapper
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> OptimWrapper(torch.optim.SGD([weight], lr=0.1), accumulative_counts=2).get_lr()
    {'lr': [0.1]}
    """

    updates: int = 0
    updated: bool = True
    step_skipped: bool = False
    skipped_in_row: int = 0
    skip_non_finite: bool = False
    _updates_known: bool = True
    _resumed_count: int | None = None

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        *,
        normalise_by: NormaliseBy | None = None,
    ) -> None:
        _check_arguments(optimizer, accumulative_counts)
        super().__init__(optimizer)
        self._accumulative_counts = accumulative_counts
        self.clip_grad_kwargs: dict[str, Any] | None = None
        if clip_grad is not None:
            self.clip_func, self.grad_name, self.clip_grad_kwargs = parse_clip_grad(clip_grad)
        self.message_hub = MessageHub.get_current_instance()
        counts = None if normalise_by is None else WindowCounts(normalise_by)
        # A window of one loss has one weight, whatever its count.
        self._counts = counts if accumulative_counts > 1 else None
        self._inner_count = 0
        self._max_counts = -1
        self._remainder_counts = -1
        if len(optimizer.param_groups) > 1:
            self.base_param_settings = {"params": torch.tensor([0.0], dtype=torch.float), **optimizer.defaults}

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
        *,
        count: Any = None,
    ) -> None:
        """Run backward from `loss`; at the end of a window, update the parameters and drop the gradients.

        Args:
            loss: scalar, on the device.
            step_kwargs: for `step`.
            zero_kwargs: for `zero_grad`.
            count: what the loss is a mean over, a number or a scalar tensor: its weight under `normalise_by`. A model
                that takes the step of `BaseModel` need not give it.
        """
        if count is not None and self._counts is not None:
            self._counts.set(count)
        self.backward(self.scale_loss(loss))
        self.updated = self.should_update()
        if self.updated:
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def take_count(self, log_vars: dict[str, Tensor]) -> None:
        """Find the count of the next loss among the log variables, where `normalise_by` asks for it.

        Raises:
            ArgumentError: it is not there.
        """
        if self._counts is not None:
            self._counts.take(log_vars)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients of `loss` (a scalar) and count it; `kwargs` are for `torch.Tensor.backward`."""
        loss.backward(**kwargs)
        self._inner_count += 1
        if self._counts is not None:
            self._counts.add()

    def count_loss(self) -> None:
        """Count a loss whose `update_params` ran in another way, such as in a captured graph, and its update."""
        self._inner_count += 1
        self.updated = self.should_update()
        if self.updated:
            self.updates += 1
            self._log_updates()

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients; `kwargs` are for the optimizer's own `zero_grad`."""
        quick_zero_grad(self.optimizer, kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients if asked for, and update the parameters; `kwargs` are for the optimizer's own `step`."""
        if self._counts is not None:
            self._counts.divide(self._parameters_with_gradient())
        if self.skip_non_finite:
            self._step_if_finite(kwargs)
            return
        if self.clip_grad_kwargs is not None:
            self._clip_grad()
        quick_step(self.optimizer, kwargs)
        self.updates += 1
        self.updated = True
        if self._accumulative_counts > 1:
            self._log_updates()

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """The context for forward and backward of one loss.

        Args:
            model: the model as the loop calls it. If it has a `no_sync` context, gradients are exchanged between
                processes only at the last loss of a window.
        """
        if self._accumulative_counts == 1 or self.should_sync() or not hasattr(model, "no_sync"):
            return NOTHING
        no_sync: Any = model.no_sync
        context: AbstractContextManager[Any] = no_sync()
        return context

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say where the run stands, so that the last window is weighted by its own length.

        Args:
            model: the model, looked at for batch norm: its statistics see one micro-batch at a time.
            init_counts: losses seen so far, more than 0 after a resume.
            max_counts: losses of the whole run, or -1 when that is unknown.
        """
        self._inner_count = init_counts if self._resumed_count is None else self._resumed_count
        self._resumed_count = None
        self._max_counts = max_counts
        if not self._updates_known:
            self.updates, self._updates_known = init_counts // self._accumulative_counts, True
        self._remainder_counts = max_counts % self._accumulative_counts
        if self._accumulative_counts > 1:
            self._announce_windows()
            self._warn_of_pitfalls(model)

    def should_update(self) -> bool:
        """Whether the losses seen so far fill a window, or end the run."""
        return self._inner_count % self._accumulative_counts == 0 or self._inner_count == self._max_counts

    def should_sync(self) -> bool:
        """Whether the next loss fills a window, or ends the run."""
        following = self._inner_count + 1
        return following % self._accumulative_counts == 0 or following == self._max_counts

    def scale_loss(self, loss: Tensor) -> Tensor:
        """`loss` (a scalar) divided by the number of losses in its window, or under `normalise_by` times its count."""
        if self._accumulative_counts == 1:
            return loss
        if self._counts is not None:
            return self._counts.weigh(loss)
        in_last_window = self._max_counts - self._remainder_counts <= self._inner_count < self._max_counts
        return loss / (self._remainder_counts if in_last_window else self._accumulative_counts)

    def state_dict(self) -> StateDict:
        """The optimizer's state, with 'base_param_settings' where there are such settings, and 'updates'.

        In a row of updates that were left out, 'skipped_in_row' says how many these are.
        """
        skipped = {"skipped_in_row": self.skipped_in_row} if self.skipped_in_row else {}
        return {**super().state_dict(), "updates": self.updates, **skipped}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state; of a file without 'updates', such as MMEngine's, the losses tell their number.

        Raises:
            NotFoundError: there is no optimizer state in it.
        """
        state = dict(state_dict)
        updates, self.skipped_in_row = state.pop("updates", None), state.pop("skipped_in_row", 0)
        super().load_state_dict(state)
        self.updates, self._updates_known = updates or 0, updates is not None

    def window_state(self) -> StateDict | None:
        """What an open accumulation window has gathered, for a checkpoint; None between two windows.

        Returns:
            `accumulative_counts`, `inner_count`, `gradients` in the order of the groups (None where there is none) and
            `total`, the sum of counts under `normalise_by`. The tensors are the live ones.
        """
        if self._accumulative_counts == 1 or self.should_update():
            return None
        return {
            "accumulative_counts": self._accumulative_counts,
            "inner_count": self._inner_count,
            "gradients": gradients_of(self.optimizer),
            "total": None if self._counts is None else self._counts.total,
        }

    def load_window_state(self, state: StateDict | None) -> None:
        """Go on inside the window that was saved; with None between two, where no gradient is left of another.

        Raises:
            CheckpointError: the gradients are of other parameters.
        """
        if self._accumulative_counts > 1:
            self.optimizer.zero_grad()
        self._inner_count = 0
        if self._counts is not None:
            self._counts.total = None
        if state is None or not is_of_this_window(state, self._accumulative_counts):
            return
        restore_gradients(self.optimizer, state["gradients"])
        self._inner_count = self._resumed_count = state["inner_count"]
        if self._counts is not None:
            self._counts.total = state["total"]

    @property
    def normalise_by(self) -> NormaliseBy | None:
        """What weighs the losses of a window, or None where all weigh alike."""
        return None if self._counts is None else self._counts.normalise_by

    @property
    def inner_count(self) -> int:
        """Number of losses that backward has seen, those before a resume included."""
        return self._inner_count

    def __repr__(self) -> str:
        return (
            f"Type: {type(self).__name__}\n_accumulative_counts: {self._accumulative_counts}\n"
            f"optimizer: \n{self.optimizer!r}\n"
        )

    def _clip_grad(self) -> Tensor | None:
        """Clip all gradients together; log and return what torch's function reports, the norm before."""
        parameters = self._parameters_with_gradient()
        if not parameters:
            return None
        report: Tensor | None = self.clip_func(parameters, **self.clip_grad_kwargs)  # type: ignore[arg-type]
        if report is not None:
            self.message_hub.update_scalar(f"train/{self.grad_name}", report)
        return report

    def _step_if_finite(self, kwargs: dict[str, Any]) -> None:
        """Clip and update, but leave the update out when a gradient is not finite."""
        norm = self._clip_grad() if self.clip_grad_kwargs is not None and self.grad_name == "grad_norm" else None
        flag = flag_of(norm) if norm is not None else non_finite_flag(self._parameters_with_gradient())
        if norm is None and self.clip_grad_kwargs is not None:
            self._clip_grad()
        self._note_outcome(step_if_finite(self.optimizer, flag, kwargs))

    def _note_outcome(self, updated: bool) -> None:
        """Count an update that was made, or one that was left out."""
        self.updated, self.step_skipped = updated, not updated
        if updated:
            self.updates += 1
            self.skipped_in_row = 0
            if self._accumulative_counts > 1:
                self._log_updates()
            return
        self.skipped_in_row += 1
        hub = self.message_hub
        # Kept in the hub, which all wrappers of a run share and a checkpoint holds.
        skipped = hub.get_info("skipped_steps", 0) + 1
        hub.update_info("skipped_steps", skipped)
        hub.update_scalar("train/skipped_steps", skipped)

    def _log_updates(self) -> None:
        # A recorded step would write the number of this update for ever; whoever replays it calls `count_loss`.
        if self._accumulative_counts > 1 and not is_recorded():
            self.message_hub.update_scalar("train/updates", self.updates)

    def _parameters_with_gradient(self) -> list[nn.Parameter]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group["params"] if p.grad is not None and p.requires_grad]

    def _announce_windows(self) -> None:
        updates = -(-self._max_counts // self._accumulative_counts)
        total = f": {self._max_counts} iterations make {updates} updates" if self._max_counts > 0 else ""
        weight = "" if self._counts is None else f", weighed by {self._counts.normalise_by}"
        print_log(f"accumulation: an update every {self._accumulative_counts} losses{weight}{total}.", logger="current")

    def _warn_of_pitfalls(self, model: nn.Module) -> None:
        if has_batch_norm(model):
            print_log(
                f"accumulative_counts={self._accumulative_counts}: the batch norm of this model sees one micro-batch "
                "at a time, so its statistics differ from those of the whole window.",
                logger="current",
                level=logging.WARNING,
            )
        done = self._inner_count % self._accumulative_counts
        if done and not self._parameters_with_gradient():
            print_log(
                f"the run goes on inside an accumulation window: {done} of its {self._accumulative_counts} losses were "
                "seen before, and their gradients are not at hand. The next update is the weaker for it.",
                logger="current",
                level=logging.WARNING,
            )


def _check_arguments(optimizer: Any, accumulative_counts: Any) -> None:
    if not (hasattr(optimizer, "param_groups") and hasattr(optimizer, "defaults")):
        kind = type(optimizer).__name__
        raise ArgumentTypeError(f"optimizer must be a torch.optim.Optimizer, got a {kind}: {optimizer!r}.")
    if type(accumulative_counts) is not int:
        raise ArgumentTypeError(f"accumulative_counts must be an int, got {accumulative_counts!r}.")
    if accumulative_counts < 1:
        raise ArgumentError(
            f"accumulative_counts, the number of losses to an update, must be at least 1, got {accumulative_counts}."
        )
