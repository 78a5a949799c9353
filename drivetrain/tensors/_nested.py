"""Walk nested batches: move every tensor to a device, or map a function over the tensors.

Each class of node is judged once and its way of being rebuilt remembered in a table, so that a batch costs one
dictionary look-up a node.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from drivetrain.typing import DeviceLike

Visit: TypeAlias = Callable[[Any], Any]
Rebuild: TypeAlias = Callable[[Any, Visit], Any]


def cast(data: Any, device: DeviceLike, non_blocking: bool = False) -> Any:
    """The same nest with everything that can move moved to `device`.

    Args:
        data: dicts, lists, tuples, named tuples and dataclasses, nested at will. Whatever has a callable `to` (tensors,
            data elements) is moved; strings, bytes, numbers, arrays, None and unknown objects stay what they are.
        device: where to.
        non_blocking: let copies from pinned memory run beside the host.

    Returns:
        New containers of the same classes. A tensor that is already there is not copied.
    """
    target = device if type(device) is torch.device else torch.device(device)

    def visit(item: Any) -> Any:
        kind = type(item)
        if kind is Tensor:
            # `to` would find out the same in a microsecond.
            return item if item.device == target else item.to(target, non_blocking=non_blocking)
        rebuild = _rebuilds.get(kind) or _learn(kind)
        if rebuild is _move:
            return item.to(target, **({"non_blocking": True} if non_blocking and _takes_non_blocking(kind) else {}))
        return rebuild(item, visit)

    return visit(data)


def map_tensors(data: Any, fn: Callable[[Tensor], Any]) -> Any:
    """The same nest with `fn(tensor)` in the place of every tensor.

    An object may say how it is mapped with a method `__map_tensors__(fn)`; data elements do. Other objects that are not
    containers stay what they are.

    Args:
        data: dicts, lists, tuples, named tuples and dataclasses, nested at will.
        fn: called once for each tensor, in order.
    """

    def visit(item: Any) -> Any:
        kind = type(item)
        if kind is Tensor:
            return fn(item)
        rebuild = _rebuilds.get(kind) or _learn(kind)
        if rebuild is not _move:
            return rebuild(item, visit)
        if issubclass(kind, Tensor):
            return fn(item)
        mapped = getattr(item, "__map_tensors__", None)
        return item if mapped is None else mapped(fn)

    return visit(data)


def _move(item: Any, visit: Visit) -> Any:  # noqa: ARG001
    """Mark of a class whose objects move themselves; `cast` and `map_tensors` look for it and do not call it."""
    return item


def _keep(item: Any, visit: Visit) -> Any:  # noqa: ARG001
    return item


def _rebuild_dict(data: dict[Any, Any], visit: Visit) -> dict[Any, Any]:
    return {key: visit(value) for key, value in data.items()}


def _rebuild_list(data: list[Any], visit: Visit) -> list[Any]:
    return list(map(visit, data))


def _rebuild_tuple(data: tuple[Any, ...], visit: Visit) -> tuple[Any, ...]:
    return tuple(map(visit, data))


def _rebuild_named_tuple(data: Any, visit: Visit) -> Any:
    return type(data)(*[visit(item) for item in data])


def _rebuild_tuple_subclass(data: Any, visit: Visit) -> Any:
    return type(data)([visit(item) for item in data])


def _rebuild_list_subclass(data: Any, visit: Visit) -> Any:
    # A copy keeps the subclass's own attributes, whatever its constructor takes.
    fresh = copy.copy(data)
    fresh[:] = [visit(item) for item in data]
    return fresh


def _rebuild_mapping(data: Any, visit: Visit) -> Any:
    items = {key: visit(value) for key, value in data.items()}
    if not hasattr(type(data), "__setitem__"):
        return type(data)(items)
    # A copy keeps what the constructor would ask for: the factory of a defaultdict, the attributes of a subclass.
    fresh = copy.copy(data)
    for key, value in items.items():
        fresh[key] = value
    return fresh


def _rebuild_dataclass(data: Any, visit: Visit) -> Any:
    fresh = copy.copy(data)
    for field in dataclasses.fields(data):
        if hasattr(data, field.name):
            object.__setattr__(fresh, field.name, visit(getattr(data, field.name)))
    return fresh


_rebuilds: dict[type, Rebuild] = {
    dict: _rebuild_dict, list: _rebuild_list, tuple: _rebuild_tuple, str: _keep, bytes: _keep, int: _keep,
    float: _keep, bool: _keep, type(None): _keep, type: _keep,
}  # fmt: skip


def _learn(kind: type) -> Rebuild:
    """Judge a class met for the first time, and remember."""
    rebuild = next((rule for applies, rule in _JUDGEMENTS if applies(kind)), _keep)
    _rebuilds[kind] = rebuild
    return rebuild


_JUDGEMENTS: tuple[tuple[Callable[[type], bool], Rebuild], ...] = (
    (lambda kind: issubclass(kind, type), _keep),
    (lambda kind: callable(getattr(kind, "to", None)), _move),
    (lambda kind: issubclass(kind, Mapping), _rebuild_mapping),
    (lambda kind: issubclass(kind, tuple) and hasattr(kind, "_fields"), _rebuild_named_tuple),
    (lambda kind: issubclass(kind, tuple), _rebuild_tuple_subclass),
    (lambda kind: issubclass(kind, list), _rebuild_list_subclass),
    (dataclasses.is_dataclass, _rebuild_dataclass),
)

_non_blocking_kinds: dict[type, bool] = {}


def _takes_non_blocking(kind: type) -> bool:
    """Whether `kind.to` has the parameter `non_blocking`; what cannot be inspected (C code) is taken to have it."""
    known = _non_blocking_kinds.get(kind)
    if known is None:
        known = _non_blocking_kinds[kind] = _accepts(kind.to, "non_blocking")  # type: ignore[attr-defined]
    return known


def _accepts(function: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
