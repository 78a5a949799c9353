"""Accumulation whose micro-batches weigh by a count: of samples, boxes or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError, did_you_mean

NormaliseBy = str | Callable[[dict[str, Tensor]], Any]
"""The name of a log variable, or a function of the log variables."""


class WindowCounts:
    """Weighs the losses of an accumulation window by their counts, and divides the gradients by the sum of these.

    A loss that is a mean over n_i tokens is multiplied by n_i before backward. At the end of the window the gradients
    are divided by the sum of all n_i, which only then is known: together that is the gradient of the mean over all
    tokens of the window. Counts may be tensors on the device; none is read.

    Args:
        normalise_by: the log variable that is the count, or a function that makes it of all of them.

    Raises:
        ArgumentTypeError: neither a name nor a function.
        ArgumentError: the name holds 'loss', and so would be minimised.

    Attributes:
        total: the counts of the open window together; None at its start.
    """

    def __init__(self, normalise_by: NormaliseBy) -> None:
        if type(normalise_by) is not str and not callable(normalise_by):
            raise ArgumentTypeError(
                "normalise_by must name a value that forward(mode='loss') returns beside the losses, such as "
                f"'num_tokens', or be a function of the log variables, got {normalise_by!r}."
            )
        if type(normalise_by) is str and "loss" in normalise_by:
            raise ArgumentError(
                f"normalise_by={normalise_by!r}: what has 'loss' in its name is minimised. Name the count otherwise, "
                "such as 'num_tokens'."
            )
        self.normalise_by = normalise_by
        self._next: Any = None
        self.total: Any = None

    def set(self, count: Any) -> None:
        """The count of the next loss: a number or a scalar tensor, best on the loss's device."""
        self._next = count

    def take(self, log_vars: dict[str, Tensor]) -> None:
        """Find the count of the next loss in the log variables.

        Raises:
            ArgumentError: it is not there.
        """
        name = self.normalise_by
        if type(name) is not str:
            self._next = name(log_vars)  # type: ignore[operator]
        elif name in log_vars:
            self._next = log_vars[name]
        else:
            raise ArgumentError(
                f"normalise_by={name!r}: forward(mode='loss') returned {', '.join(map(repr, log_vars))}."
                f"{did_you_mean(name, log_vars)} Return the count beside the losses, as a tensor: "
                f"{{'loss': loss, {name!r}: mask.sum()}}."
            )

    def weigh(self, loss: Any) -> Any:
        """`loss` (a scalar) times its count.

        Raises:
            NotReadyError: the step has given no count.
        """
        if self._next is None:
            raise NotReadyError(
                f"normalise_by={self.normalise_by!r}, and this loss came without a count. A train_step of your own "
                "hands it over: optim_wrapper.update_params(loss, count=mask.sum())."
            )
        if torch.is_tensor(self._next):
            self._next = self._next.detach().to(loss.device, non_blocking=True)
        return loss * self._next

    def add(self) -> None:
        """Add the count of the loss that backward has just seen to the window's."""
        self.total = self._next if self.total is None else self.total + self._next
        self._next = None

    def divide(self, parameters: Sequence[nn.Parameter]) -> None:
        """End the window: divide the gradients of `parameters` by its count; of a window that counts none they stay."""
        total, self.total = self.total, None
        if total is None:
            return
        total = torch.where(total == 0, torch.ones_like(total), total) if torch.is_tensor(total) else total or 1
        for device, gradients in _by_device(parameters).items():
            divisor = total.to(device, non_blocking=True) if torch.is_tensor(total) else total
            torch._foreach_div_(gradients, divisor)


def _by_device(parameters: Sequence[nn.Parameter]) -> dict[torch.device, list[Tensor]]:
    gradients: dict[torch.device, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            gradients.setdefault(parameter.grad.device, []).append(parameter.grad)
    return gradients
