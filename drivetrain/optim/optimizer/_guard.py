"""Updates that are left out when gradients are not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


def non_finite_flag(parameters: Sequence[nn.Parameter]) -> Tensor:
    """1 if a gradient of `parameters` holds NaN or infinity, else 0; float32 (), on their device, not read."""
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None], norm_type=float("inf"))
    return flag_of(norm)


def flag_of(norm: Tensor) -> Tensor:
    """1 if `norm` (a scalar) is not finite, else 0."""
    return torch.isfinite(norm).logical_not().float()


def step_if_finite(optimizer: Optimizer, flag: Tensor, kwargs: dict[str, Any]) -> bool:
    """Update, unless `flag` is 1. The flag is read once; in a step that is being recorded in a graph, not at all.

    A fused optimizer decides on the device, so that its kernels need not wait until the host has read.

    Args:
        optimizer: the optimizer.
        flag: 0 or 1, float32 (), on the device.
        kwargs: for the optimizer's `step`.

    Returns:
        Whether the weights have changed; True where nothing was read.
    """
    if not decides_on_device(optimizer):
        if bool(flag):
            return False
        optimizer.step(**kwargs)
        return True
    optimizer.found_inf = flag  # type: ignore[attr-defined]
    try:
        optimizer.step(**kwargs)
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
    return is_recorded() or not bool(flag)


def decides_on_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer's kernels look at `optimizer.found_inf` themselves, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def is_recorded() -> bool:
    """Whether this step is being recorded in a CUDA graph, where the host can read nothing."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
