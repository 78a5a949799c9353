"""Puts torch's own optimizers into the registry."""

from __future__ import annotations

import inspect

import torch

from drivetrain.registry import OPTIMIZERS

_REGISTERED_AS = {"Adafactor": "TorchAdafactor"}
"""`Adafactor` in a config has always meant the one of transformers."""


def register_torch_optimizers() -> list[str]:
    """Register every optimizer that the installed torch has, under its own name, and return the names."""
    names = []
    for name, item in vars(torch.optim).items():
        if inspect.isclass(item) and issubclass(item, torch.optim.Optimizer):
            names.append(_REGISTERED_AS.get(name, name))
            OPTIMIZERS.register_module(name=names[-1], module=item)
    return names


TORCH_OPTIMIZERS = register_torch_optimizers()
