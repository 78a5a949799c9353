"""Fused kernels where they are safe: an update of all parameters in a few launches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from drivetrain.registry import OPTIMIZERS

_FUSED = (SGD, Adam, AdamW)
_DEVICES = frozenset({"cuda", "xpu", "mps"})


def with_fused_kernel(optimizer_cfg: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The optimizer's config, with `fused=True` where that can be taken for granted.

    That is: one of torch's own SGD, Adam and AdamW, whose config leaves open how it updates; all parameters floating
    point, on one accelerator, and none of them with sparse gradients. Never on the CPU: there the result stays that of
    the plain kernels, bit by bit.

    Args:
        optimizer_cfg: with `type`, the arguments, and `params`.
        model: the model, for its layers with sparse gradients.
    """
    kind = optimizer_cfg["type"]
    cls = OPTIMIZERS.get(kind) if type(kind) is str else kind
    chosen = "fused" in optimizer_cfg or "foreach" in optimizer_cfg or optimizer_cfg.get("differentiable")
    if cls not in _FUSED or chosen:
        return optimizer_cfg
    params = list(optimizer_cfg["params"])
    open_cfg = {**optimizer_cfg, "params": params}
    if not _on_one_accelerator(_tensors(params)) or _has_sparse_gradients(model):
        return open_cfg
    return {**open_cfg, "fused": True}


def is_fusing(device: torch.device) -> bool:
    """Whether torch has fused kernels for this kind of device, and it is no CPU."""
    return device.type in _DEVICES


def _tensors(params: Iterable[Any]) -> Iterator[Tensor]:
    for item in params:
        yield from item["params"] if type(item) is dict else [item]


def _on_one_accelerator(tensors: Iterable[Tensor]) -> bool:
    found = list(tensors)
    devices = {tensor.device for tensor in found}
    return len(devices) == 1 and all(map(is_fusing, devices)) and all(map(torch.is_floating_point, found))


def _has_sparse_gradients(model: nn.Module) -> bool:
    return any(getattr(module, "sparse", False) is True for module in model.modules())
