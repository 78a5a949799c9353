"""Activation checkpointing: what a module computes inside is dropped after forward, and computed again in backward."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from drivetrain.model import find_parts


def wrap_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that keeps its inputs alone for backward, and computes the rest again there."""

    @functools.wraps(forward)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return checkpointed


def turn_on_activation_checkpointing(model: nn.Module, modules: list[str] | str) -> None:
    """Let parts of a model trade computing for memory.

    Args:
        model: the model; its names and state stay as they are.
        modules: dotted names of the parts, such as 'backbone.layer1', or patterns such as 'backbone.layer*'. Of a list
            of modules (`ModuleList`, `ModuleDict`) each member is treated by itself.

    Raises:
        MissingAttributeError: the model has no such part.
        ArgumentTypeError: `modules` is neither a name nor a list of names.
    """
    for part in find_parts(model, modules, "activation_checkpointing").values():
        for module in _callable_parts(part):
            _wrap(module)


def _callable_parts(part: nn.Module) -> list[nn.Module]:
    """The module itself, or the members of one that only holds others."""
    if isinstance(part, (nn.ModuleList, nn.ModuleDict)):
        return [module for child in part.children() for module in _callable_parts(child)]
    return [part]


def _wrap(module: nn.Module) -> None:
    own = vars(module)
    if "_plain_forward" in own:
        return
    own["_plain_forward"] = own.get("forward")
    # A method bound to the module: a copy of the module binds its own, and a pickle falls back on that of the class.
    own["forward"] = types.MethodType(_checkpointed_forward, module)


def _checkpointed_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    plain = vars(self)["_plain_forward"] or functools.partial(type(self).forward, self)
    if not torch.is_grad_enabled():
        return plain(*args, **kwargs)
    return checkpoint(plain, *args, use_reentrant=False, **kwargs)


_checkpointed_forward.__name__ = "forward"
