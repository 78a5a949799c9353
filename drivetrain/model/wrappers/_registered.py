"""Which classes count as wrappers."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from drivetrain.registry import MODEL_WRAPPERS, Registry

MODEL_WRAPPERS.register_module(module=DistributedDataParallel)
MODEL_WRAPPERS.register_module(module=DataParallel)


def is_model_wrapper(model: nn.Module, registry: Registry = MODEL_WRAPPERS) -> bool:
    """Whether `model` is a wrapper, whose own model is `model.module`.

    Args:
        model: any module.
        registry: where wrappers are registered; its children count too.
    """
    return issubclass(type(model), tuple(_classes(registry)))


def _classes(registry: Registry) -> list[Any]:
    own = [entry for entry in registry.module_dict.values() if isinstance(entry, type)]
    return own + [kind for child in registry.children.values() for kind in _classes(child)]
