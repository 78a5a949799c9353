"""From the dict that `forward(mode='loss')` returns to one loss and the values to log."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drivetrain.errors import LossError, did_you_mean


def parse_losses(losses: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """See `BaseModel.parse_losses`."""
    if not hasattr(losses, "items"):
        raise LossError(
            f"forward(mode='loss') must return a dict of losses, got {_describe(losses)}. Return for example "
            "{'loss': loss}: every entry whose key contains 'loss' is minimised, the others are only logged."
        )
    log_vars: dict[str, Tensor] = {"loss": None}  # type: ignore[dict-item]
    total: Tensor | None = None
    for name, value in losses.items():
        is_scalar = (type(value) is Tensor or torch.is_tensor(value)) and value.dim() == 0
        scalar = value if is_scalar else _reduce(name, value)
        log_vars[name] = scalar
        if "loss" in name:
            # A sum that starts with its first term: a single loss costs no kernel and keeps its place in the graph.
            total = scalar if total is None else total + scalar
    if total is None:
        raise _no_loss(losses)
    log_vars["loss"] = total
    return total, log_vars


def _reduce(name: str, value: Any) -> Tensor:
    """The mean of a tensor, or the sum of the means of a list of tensors."""
    if torch.is_tensor(value):
        return _mean(name, value)
    if type(value) is not list:
        raise _not_a_tensor(name, value)
    if not value:
        return torch.zeros(())
    for item in value:
        if not torch.is_tensor(item):
            raise _not_a_tensor(name, value)
    total = _mean(name, value[0])
    for item in value[1:]:
        total = total + _mean(name, item)
    return total


def _mean(name: str, value: Tensor) -> Tensor:
    if value.dim() == 0:
        return value
    if not (value.is_floating_point() or value.is_complex()):
        raise LossError(
            f"the entry {name!r} has the dtype {value.dtype}, which has no mean. Return it as {name}.float()."
        )
    return value.mean()


def _not_a_tensor(name: str, value: Any) -> LossError:
    if type(value) is tuple:
        fix = f"Return list({name})."
    elif type(value) not in (int, float):
        fix = "Return a tensor or a list of them."
    elif "loss" in name:
        fix = "A number has no gradient: return the tensor itself, without .item() or float()."
    else:
        fix = f"Return torch.tensor({value}) to have it logged."
    return LossError(f"the entry {name!r} must be a tensor or a list of tensors, got {_describe(value)}. {fix}")


def _no_loss(losses: Any) -> LossError:
    names = list(losses)
    hint = next((did_you_mean(name, ["loss"]) for name in names if did_you_mean(name, ["loss"])), "")
    return LossError(
        f"forward(mode='loss') returned nothing to minimise: none of the keys {names} contains 'loss'.{hint} Name what "
        "shall be minimised 'loss' or 'loss_...', in lower case."
    )


def _describe(value: Any) -> str:
    if torch.is_tensor(value):
        return f"a tensor of shape {tuple(value.shape)}"
    if type(value) is list:
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return f"{value!r:.60} of type {type(value).__name__}"
