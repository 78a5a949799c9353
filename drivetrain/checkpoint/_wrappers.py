"""Seeing through the modules that wrap a model: names in a checkpoint are those of the model itself."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from drivetrain.registry import MODEL_WRAPPERS, MODELS, Registry


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside any number of wrappers; `module` itself when it is none."""
    while (attribute := wrapper_attribute(module)) is not None:
        module = getattr(module, attribute)
    return module


def wrapper_attribute(module: nn.Module) -> str | None:
    """The attribute under which a wrapper keeps the model, None for any other module."""
    if "_orig_mod" in module._modules:  # what torch.compile returns
        return "_orig_mod"
    if "module" not in module._modules:
        return None
    wrappers = _wrapper_classes()
    return "module" if any(cls in wrappers for cls in type(module).__mro__) else None


def _wrapper_classes() -> set[Any]:
    classes = {nn.parallel.DataParallel, nn.parallel.DistributedDataParallel, MODELS.module_dict.get("BaseTTAModel")}
    for registry in _tree(MODEL_WRAPPERS):
        classes.update(registry.module_dict.values())
    return classes


def _tree(registry: Registry) -> Iterator[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _tree(child)


def weights_to_cpu(state_dict: dict[str, Any]) -> OrderedDict[str, Any]:
    """A state dict with every tensor on the CPU; its `_metadata` (versions of the modules) is kept.

    Args:
        state_dict: tensors, or anything else, by name.

    Returns:
        A new dict; tensors that were on the CPU are the same objects.
    """
    moved = OrderedDict(
        (name, value.cpu() if issubclass(type(value), Tensor) else value) for name, value in state_dict.items()
    )
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return moved


def get_state_dict(
    module: nn.Module, destination: Any | None = None, prefix: str = "", keep_vars: bool = False
) -> OrderedDict[str, Any]:
    """The state dict of a model under its own names: wrappers around it or inside it leave no `module.` in them.

    Args:
        module: the model, wrapped or not.
        destination: a dict to add to; a new one when None.
        prefix: put before every name.
        keep_vars: keep the parameters as they are instead of detaching them.

    Returns:
        Names to tensors, with the modules' versions in `_metadata`, as `torch.nn.Module.state_dict` gives them.
    """
    state: Any = OrderedDict() if destination is None else destination
    model = unwrapped(module)
    raw = model.state_dict(prefix=prefix, keep_vars=keep_vars)
    paths = _wrapper_paths(model, prefix)
    state.update((_own_name(name, paths), value) for name, value in raw.items())
    metadata = getattr(state, "_metadata", OrderedDict())
    metadata.update((_own_name(f"{name}.", paths)[:-1], value) for name, value in raw._metadata.items())  # type: ignore[attr-defined]
    if hasattr(state, "__dict__"):
        state._metadata = metadata
    return state


def _wrapper_paths(model: nn.Module, prefix: str) -> list[str]:
    """Names of what wrappers inside `model` wrap, such as `generator.module.`, the deepest first."""
    paths = []
    for name, child in model.named_modules(remove_duplicate=False):
        attribute = wrapper_attribute(child)
        if attribute is not None:
            paths.append(f"{prefix}{name}.{attribute}.")
    return sorted(paths, key=len, reverse=True)


def _own_name(name: str, wrapper_paths: list[str]) -> str:
    for path in wrapper_paths:
        if name.startswith(path):
            name = re.sub(r"[^.]+\.$", "", path) + name[len(path) :]
    return name
