"""Make what a metric keeps lean: off the device in few large copies, and free of the batches that it was cut from.

A row of a batch is a view: kept, it keeps the whole batch alive. An entry is touched only where the list is the only
one that holds it, so that a metric may go on writing into an object that it also keeps elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drivetrain.tensors import map_tensors

CHUNK_BYTES = 32 * 1024 * 1024
"""Most that is put together on the device for one copy."""


def to_host(data: Any) -> Any:
    """The same nest with all plain tensors on the CPU, in few copies."""
    if not torch.accelerator.is_available():
        return data
    found = [tensor for tensor in _tensors(data) if is_away(tensor)]
    if not found:
        return data
    moved = {id(tensor): host for tensor, host in zip(found, moved_to_host(found), strict=True)}
    return map_tensors(data, lambda tensor: moved.get(id(tensor), tensor))


def make_lean(results: list[Any], start: int, end: int) -> None:
    """Replace the entries from `start` to `end` by such as own their memory on the CPU, where nobody else has them."""
    places = [place for place in range(start, end) if _references(results, place) <= _ALONE]
    for place, entry in zip(places, lean([results[place] for place in places]), strict=True):
        results[place] = entry


def lean(entries: list[Any]) -> list[Any]:
    """Equal entries with memory of their own, on the CPU. What several of them hold stays one object."""
    found = _tensors(entries)
    own = {id(tensor): new for tensor, new in zip(found, _own(found), strict=True)}
    arrays: dict[int, Any] = {}
    return [_with_own_arrays(entry, arrays) for entry in map_tensors(entries, lambda tensor: own[id(tensor)])]


def needs_it(entry: Any) -> bool:
    """Whether an entry has a tensor on a device, or a view of something larger."""
    return any(is_view(leaf) if is_array(leaf) else is_away(leaf) or _is_plain_view(leaf) for leaf in leaves(entry))


def leaves(entry: Any) -> Iterator[Any]:
    """Tensors and arrays in a nest."""
    waiting = [entry]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if issubclass(kind, (Tensor, np.ndarray)):
            yield item
        else:
            waiting.extend(inside(item))


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array, not a tensor."""
    return issubclass(type(leaf), np.ndarray)


def inside(item: Any) -> Any:
    """What a container or a data element holds."""
    kind = type(item)
    if issubclass(kind, dict):
        return item.values()
    if issubclass(kind, (list, tuple, set)):
        return item
    return [item.__dict__] if hasattr(item, "to_dict") and hasattr(item, "all_items") else ()


def is_away(tensor: Tensor) -> bool:
    """Whether a plain tensor is on a device."""
    return tensor.device.type != "cpu" and _is_plain(tensor)


def is_view(leaf: Any) -> bool:
    """Whether a tensor or an array keeps more alive than it shows."""
    return bool(owner_of(leaf)[1] > leaf.nbytes)


def owner_of(leaf: Any) -> tuple[Any, int]:
    """What a tensor's or array's memory belongs to, as a key, and its bytes."""
    if is_array(leaf):
        base = leaf.base
        while is_array(base):
            leaf, base = base, base.base
        if not issubclass(type(base), Tensor):
            return id(leaf), leaf.nbytes
        leaf = base
    if leaf.layout is not torch.strided or leaf.device.type == "meta":
        return id(leaf), 0
    storage = leaf.untyped_storage()
    return (leaf.device, storage.data_ptr()), storage.nbytes()


def moved_to_host(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors of a device on the CPU, each with memory of its own: one copy for each dtype and 32 MiB."""
    moved = list(tensors)
    for places in _chunks(tensors):
        flat = torch.cat([tensors[place].reshape(-1) for place in places]).to("cpu")
        parts = flat.split([tensors[place].numel() for place in places])
        for place, part in zip(places, parts, strict=True):
            moved[place] = part.reshape(tensors[place].shape).clone()
    return moved


def _chunks(tensors: list[Tensor]) -> Iterator[list[int]]:
    open_chunks: dict[Any, tuple[list[int], int]] = {}
    for place, tensor in enumerate(tensors):
        key = (tensor.device, tensor.dtype)
        places, size = open_chunks.get(key, ([], 0))
        if places and size + tensor.nbytes > CHUNK_BYTES:
            yield places
            places, size = [], 0
        open_chunks[key] = ([*places, place], size + tensor.nbytes)
    for places, _ in open_chunks.values():
        yield places


def _tensors(data: Any) -> list[Tensor]:
    """All tensors of a nest, each once."""
    found: dict[int, Tensor] = {}
    map_tensors(data, lambda tensor: found.setdefault(id(tensor), tensor))
    return list(found.values())


def _own(tensors: list[Tensor]) -> list[Tensor]:
    own = list(tensors)
    away = [place for place, tensor in enumerate(tensors) if is_away(tensor)]
    for place, tensor in zip(away, moved_to_host([tensors[place] for place in away]), strict=True):
        own[place] = tensor
    return [tensor.clone() if _is_plain_view(tensor) else tensor for tensor in own]


def _with_own_arrays(item: Any, known: dict[int, Any]) -> Any:
    """The same dicts, lists and tuples with arrays that are no views. `known` holds what replaces each, by its id."""
    kind = type(item)
    if kind is np.ndarray:
        if id(item) not in known:  # kept beside the new one, lest another takes its id
            known[id(item)] = (item.copy() if is_view(item) else item, item)
        return known[id(item)][0]
    if kind is dict:
        return {key: _with_own_arrays(value, known) for key, value in item.items()}
    return kind([_with_own_arrays(value, known) for value in item]) if kind in (list, tuple) else item


def _is_plain(tensor: Tensor) -> bool:
    """Whether values, dtype and shape are all there is to a tensor."""
    simple = type(tensor) is Tensor and tensor.layout is torch.strided and tensor.device.type != "meta"
    return simple and not (tensor.requires_grad or tensor.is_quantized)


def _is_plain_view(tensor: Tensor) -> bool:
    return _is_plain(tensor) and is_view(tensor)


def _references(items: list[Any], place: int) -> int:
    return sys.getrefcount(items[place])


_ALONE = _references([object()], 0)
