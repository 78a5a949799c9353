"""Short checksums of whatever a training step has to do with, by the path that leads to each value."""

from __future__ import annotations

import dataclasses
import random
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (bool, int, float, str, bytes, type(None))
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_DEPTH = 8
"""Containers and objects are followed this far down."""


def checksum(data: bytes | memoryview) -> str:
    """CRC-32 as eight digits."""
    return f"{zlib.crc32(data):08x}"


def of_tensor(tensor: torch.Tensor) -> str:
    """Checksum of dtype, shape and every bit of a tensor, wherever it lies."""
    kept = tensor.detach()
    if kept.layout is not torch.strided:
        kept = kept.to_dense()
    host = kept.cpu().contiguous()
    head = f"{host.dtype}{tuple(host.shape)}".encode()
    return checksum(head + host.reshape(-1).view(torch.uint8).numpy().tobytes())


def leaves(value: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
    """Path and checksum of each tensor, array, number and text inside nested containers and data elements.

    Objects of other kinds are told apart by their class alone.
    """
    kind = type(value)
    if torch.is_tensor(value):
        yield path, of_tensor(value)
    elif hasattr(value, "__array_interface__"):  # arrays, and images of PIL
        array = np.asarray(value)
        yield path, checksum(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    elif kind in _PLAIN:
        yield path, repr(value)
    elif depth == 0:
        yield path, kind.__name__
    else:
        yield from _inside(value, path, depth - 1)


def _inside(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    kind = type(value)
    if issubclass(kind, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}.{key}" if path else str(key), depth)
    elif issubclass(kind, (list, tuple)):
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}[{place}]", depth)
    elif hasattr(value, "all_items"):
        for key, item in value.all_items():
            yield from leaves(item, f"{path}.{key}", depth)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name, None), f"{path}.{field.name}", depth)
    else:
        yield path, kind.__name__


def rows(value: Any, count: int) -> dict[str, list[str]]:
    """For each tensor or list in a batch that has one entry a sample: a checksum for every sample.

    Args:
        value: the batch.
        count: samples in it.
    """
    found: dict[str, list[str]] = {}
    for path, part in _parts(value, ""):
        if torch.is_tensor(part) and part.dim() and len(part) == count:
            found[path] = [of_tensor(row) for row in part]
        elif type(part) is not str and hasattr(part, "__len__") and len(part) == count:
            found[path] = [" ".join(f"{name}={mark}" for name, mark in leaves(item)) for item in part]
    return found


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if issubclass(type(value), Mapping):
        for key in value:
            yield from _parts(value[key], f"{path}.{key}" if path else str(key))
    elif type(value) in (list, tuple) and any(issubclass(type(item), (list, tuple, Mapping)) for item in value):
        for place, item in enumerate(value):
            yield from _parts(item, f"{path}[{place}]")
    else:
        yield path or "batch", value


def of_generators() -> dict[str, str]:
    """Checksums of the states of the global random generators of this process."""
    state: Any = np.random.get_state(legacy=False)
    found = {
        "random": checksum(repr(random.getstate()).encode()),
        "numpy.random": checksum(repr(list(leaves(state))).encode()),
        "torch": of_tensor(torch.get_rng_state()),
    }
    if torch.accelerator.is_available():
        module: Any = torch.get_device_module()
        found["torch on the device"] = "".join(of_tensor(part) for part in module.get_rng_state_all())
    return found


def of_attributes(model: nn.Module) -> dict[str, str]:
    """Checksums of what modules keep outside their state dict: attributes, and buffers that are not persistent."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        kept = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}
        kept |= {key: module._buffers[key] for key in module._non_persistent_buffers_set if key in module._buffers}
        for key, value in kept.items():
            if not issubclass(type(value), nn.Module) and not callable(value):
                found.update(leaves(value, f"{prefix}{key}", 3))
    return found


def of_object(value: Any, path: str, depth: int = 5, seen: set[int] | None = None) -> dict[str, str]:
    """Checksums of what an object keeps in its attributes, and in those of the objects there; generators included.

    Args:
        value: a dataset, a transform.
        path: what it is called in the paths.
        depth: how many objects deep.
        seen: objects that were looked at already.
    """
    seen = set() if seen is None else seen
    if id(value) in seen or depth == 0:
        return {}
    seen.add(id(value))
    state = state_of_generator(value)
    if state is not None:
        return {path: state}
    if type(value) in _PLAIN or torch.is_tensor(value) or hasattr(value, "__array_interface__"):
        return dict(leaves(value, path))
    found: dict[str, str] = {}
    for name, item in _attributes(value):
        found |= of_object(item, f"{path}{name}", depth - 1, seen)
    return found


def state_of_generator(value: Any) -> str | None:
    """Checksum of the state of a random generator of any of the three kinds; None for everything else."""
    kind = type(value)
    if issubclass(kind, random.Random):
        return None if issubclass(kind, random.SystemRandom) else checksum(repr(value.getstate()).encode())
    if kind in (np.random.Generator, np.random.RandomState):
        bits = value.bit_generator if kind is np.random.Generator else value._bit_generator
        return checksum(repr(sorted(leaves(bits.state))).encode())
    return of_tensor(value.get_state()) if kind is torch.Generator else None


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Name and content of what is inside an object or a container of at most a thousand entries."""
    kind = type(value)
    if issubclass(kind, Mapping):
        yield f"[{len(value)} entries]", len(value)
        yield from ((f"[{key!r}]", value[key]) for key in list(value)[:1000])
    elif issubclass(kind, (list, tuple)):
        yield f"[{len(value)} entries]", len(value)
        yield from ((f"[{place}]", item) for place, item in enumerate(value[:1000]))
    elif (
        hasattr(value, "__dict__")
        and kind not in (type, type(np))
        and not callable(getattr(value, "__wrapped__", None))
    ):
        yield from ((f".{name}", item) for name, item in vars(value).items())
