"""What a batch consists of: the tensors in it, and the facts beside them that a captured step takes for granted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drivetrain.tensors import map_tensors

Fact = tuple[Any, Any]
"""An entry of the batch by its nearest name, and something about it."""

PLAIN = (str, int, float, bool, bytes, type(None))
"""Types of which equal values are the same to a computation."""
_CONTAINERS = (list, tuple)


def take_apart(batch: Any, ignore: frozenset[str]) -> tuple[list[Tensor], tuple[Fact, ...]]:
    """The tensors of a batch, in order, and everything else: structure, shapes, dtypes, texts and numbers.

    Two batches with equal facts differ in the values of their tensors alone. What cannot be compared is a fact by its
    identity, so that no two are equal.

    Args:
        batch: dicts, lists, tuples and data elements, nested at will.
        ignore: names of entries and fields that are left out.
    """
    tensors: list[Tensor] = []
    facts: list[Fact] = []
    _visit(None, batch, tensors, facts, ignore)
    return tensors, tuple(facts)


def _visit(name: Any, item: Any, tensors: list[Tensor], facts: list[Fact], ignore: frozenset[str]) -> None:
    kind = type(item)
    if kind is Tensor:
        tensors.append(item)
        facts.append((name, item.shape))
        facts.append((name, item.dtype))
    elif kind in PLAIN:
        facts.append((name, item))
    elif issubclass(kind, _CONTAINERS):
        facts.append((name, (kind, len(item))))
        for part in item:
            _visit(name, part, tensors, facts, ignore)
    elif hasattr(item, "items"):
        facts.append((name, kind))
        fields = (*item.items(), *item.metainfo_items()) if hasattr(item, "metainfo_items") else item.items()
        for key, value in fields:
            if key not in ignore:
                facts.append((name, key))
                _visit(key, value, tensors, facts, ignore)
    else:
        facts.append((name, (kind, id(item))))


def static_copy(batch: Any, device: torch.device) -> Any:
    """The same batch in memory of its own on `device`."""
    return map_tensors(batch, lambda tensor: tensor.to(device, copy=True))


def first_difference(before: tuple[Fact, ...], now: tuple[Fact, ...]) -> str:
    """Where two batches differ, in words."""
    for old, new in zip(before, now, strict=False):
        if old != new:
            return f"{new[0]!r} was {old[1]!r:.60} and is {new[1]!r:.60}"
    return f"there were {len(before)} entries and are {len(now)}"
