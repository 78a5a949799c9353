"""A batch as plain data, and back: data elements are taken apart and rebuilt; what no file can hold is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from drivetrain.checkpoint import encode
from drivetrain.errors import CheckpointError
from drivetrain.structures import BaseDataElement, InstanceData, LabelData, PixelData

_ELEMENT = "__element__"
_OWN: tuple[type[BaseDataElement], ...] = (InstanceData, PixelData, LabelData, BaseDataElement)


def pack(batch: Any, left_out: list[str], path: str = "batch") -> Any:
    """The plain form of a batch, which a checkpoint can hold.

    Args:
        batch: nested containers, tensors, data elements.
        left_out: gets a line for each part that cannot be saved and is None instead.
        path: where in the batch this is, for these lines.
    """
    kind: Any = type(batch)
    if issubclass(kind, BaseDataElement):
        return {
            _ELEMENT: f"{kind.__module__}.{kind.__qualname__}",
            "base": next(base.__name__ for base in kind.__mro__ if base in _OWN),
            "meta": {name: pack(value, left_out, f"{path}.{name}") for name, value in batch.metainfo_items()},
            "data": {name: pack(value, left_out, f"{path}.{name}") for name, value in batch.items()},
        }
    if issubclass(kind, dict):
        return {key: pack(value, left_out, f"{path}[{key!r}]") for key, value in batch.items()}
    if issubclass(kind, (list, tuple)):
        items = [pack(value, left_out, f"{path}[{index}]") for index, value in enumerate(batch)]
        return items if issubclass(kind, list) else tuple(items)
    return _plain(batch, left_out, path)


def _plain(value: Any, left_out: list[str], path: str) -> Any:
    if torch.is_tensor(value):
        # A view would take the whole tensor it is cut from into the file.
        return value.detach().clone() if value.untyped_storage().nbytes() > 2 * value.nbytes else value.detach()
    try:
        encode(value)
    except CheckpointError:
        left_out.append(f"{path}: a {type(value).__module__}.{type(value).__qualname__}")
        return None
    return value


def unpack(packed: Any) -> Any:
    """The batch that `pack` took apart.

    A data element is of its own class if that is loaded, else of the class of ours it descends from; nothing is
    imported.

    Raises:
        CheckpointError: a data element is damaged.
    """
    if type(packed) is dict:
        if _ELEMENT in packed:
            return _element(packed)
        return {key: unpack(value) for key, value in packed.items()}
    if type(packed) in (list, tuple):
        return type(packed)(unpack(value) for value in packed)
    return packed


def _element(packed: dict[Any, Any]) -> BaseDataElement:
    known = {kind.__name__: kind for kind in _OWN}
    base, meta, data = known.get(str(packed.get("base"))), packed.get("meta"), packed.get("data")
    if base is None or type(meta) is not dict or type(data) is not dict:
        raise CheckpointError(f"the capsule's batch has a damaged data element {packed.get(_ELEMENT)!r}.")
    kinds = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in _below(base)}
    kind = kinds.get(str(packed[_ELEMENT]), base)
    try:
        return kind(metainfo=unpack(meta), **unpack(data))
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise CheckpointError(f"the capsule's {kind.__name__} cannot be rebuilt: {error}") from error


def _below(kind: type[BaseDataElement]) -> Iterator[type[BaseDataElement]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)
