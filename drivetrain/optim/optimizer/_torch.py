"""Puts torch's own optimizers into the registry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from drivetrain.registry import OPTIMIZERS

_REGISTERED_AS = {"Adafactor": "TorchAdafactor"}
"""`Adafactor` in a config has always meant the one of transformers."""


def register_torch_optimizers() -> list[str]:
    """Register every optimizer that the installed torch has, under its own name, and return the names."""
    return [register(_REGISTERED_AS.get(name, name), item) for name, item in optimizers_in(vars(torch.optim)).items()]


def optimizers_in(names: Mapping[str, Any]) -> dict[str, type[torch.optim.Optimizer]]:
    """The optimizer classes among the names of a module."""
    return {
        name: item
        for name, item in list(names.items())
        if inspect.isclass(item) and issubclass(item, torch.optim.Optimizer)
    }


def register(name: str, cls: type[torch.optim.Optimizer]) -> str:
    """Register a class, unless the name is taken: what a user registered stays. Returns the name."""
    if name not in OPTIMIZERS.module_dict:
        OPTIMIZERS.register_module(name=name, module=cls)
    return name


TORCH_OPTIMIZERS = register_torch_optimizers()
