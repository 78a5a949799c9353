"""Find parameters that a loss does not depend on."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from drivetrain.logging import print_log


def detect_anomalous_params(loss: Tensor, model: nn.Module) -> None:
    """Log, at error level, every trainable parameter of `model` that `loss` does not depend on.

    It walks the whole autograd graph: for finding out why DistributedDataParallel waits, not for every run.

    Args:
        loss: a tensor with a gradient function.
        model: the model it came from.
    """
    reached = _leaves(loss)
    for name, param in model.named_parameters():
        if param.requires_grad and id(param) not in reached:
            print_log(
                f"{name} with shape {param.shape} is not in the computational graph \n",
                logger="current",
                level=logging.ERROR,
            )


def _leaves(loss: Tensor) -> set[int]:
    """Ids of the tensors at the leaves of the graph."""
    leaves: set[int] = set()
    seen: set[Any] = set()
    pending: list[Any] = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        pending.extend(following for following, _ in node.next_functions)
    return leaves
