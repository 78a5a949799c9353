"""An accumulation window that is open when a run is saved: its gradients, its counts, and how they come back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

from drivetrain.errors import CheckpointError
from drivetrain.logging import print_log
from drivetrain.typing import StateDict


def gradients_of(optimizer: Optimizer) -> list[Any]:
    """The gradient of each parameter in the order of the groups, None where there is none."""
    return [parameter.grad for parameter in _parameters(optimizer)]


def restore_gradients(optimizer: Optimizer, gradients: list[Any]) -> None:
    """Give each parameter its gradient back, on the parameter's device.

    Raises:
        CheckpointError: they are of other parameters: another number of them, or other shapes.
    """
    parameters = list(_parameters(optimizer))
    if len(parameters) != len(gradients):
        raise CheckpointError(
            f"the checkpoint was saved inside an accumulation window, with the gradients of {len(gradients)} "
            f"parameters, and the optimizer has {len(parameters)}. Resume with the model it was saved with."
        )
    for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        if gradient is not None and gradient.shape != parameter.shape:
            raise CheckpointError(
                f"the checkpoint's gradient of parameter {number} has shape {tuple(gradient.shape)}, and the parameter "
                f"{tuple(parameter.shape)}. Resume with the model it was saved with."
            )
        # A copy: the checkpoint's own tensor may be used again, and this one is added to in place.
        parameter.grad = None if gradient is None else gradient.detach().to(parameter.device, copy=True)


def is_of_this_window(state: StateDict, accumulative_counts: int) -> bool:
    """Whether a window that was saved can be filled up here; a warning says so when it cannot."""
    saved = state["accumulative_counts"]
    if saved == accumulative_counts:
        return True
    print_log(
        f"the checkpoint was saved inside a window of {saved} losses, and accumulative_counts is {accumulative_counts} "
        "now: the gradients that were accumulated are left out.",
        logger="current",
        level=logging.WARNING,
    )
    return False


def _parameters(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
