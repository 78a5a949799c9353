"""`pack_collate`: `pseudo_collate` whose tensors lie in a few buffers, so that a batch is cheap to send and to move.

A tensor that a worker sends costs the main process a file descriptor, a mapping and 80 us. Here the tensors of a list
share one, and so do those in data elements and other objects. The copy into shared memory is the one that
sending makes anyway.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from typing import Any, SupportsIndex, TypeAlias

import torch
from numpy import ndarray
from torch import Tensor
from torch.utils.data import get_worker_info

from drivetrain.registry import FUNCTIONS
from drivetrain.tensors import PackedList, pack_together, packable, unpack_together

from ._collate import _collate, _first

_Block: TypeAlias = "tuple[Tensor, list[tuple[torch.dtype, tuple[tuple[int, ...], ...], list[int]]]]"
"""A block of bytes; and by dtype the shapes of the tensors in it and their places among all tensors."""

_WITHOUT_TENSORS = frozenset({str, bytes, int, float, bool, complex, type(None), ndarray})
_SMALL = 16 * 1024
"""Bytes. Up to here a tensor gets memory of its own where it arrives: who keeps one label keeps no batch of masks."""


@FUNCTIONS.register_module()
def pack_collate(data_batch: Sequence[Any]) -> Any:
    """Turn a list of samples into one sample of lists, as `pseudo_collate` does, with tensors packed.

    A list of tensors of one dtype becomes a `PackedList`: a list like any other, whose tensors lie in one buffer that
    is pinned and moved by one copy. In a worker the buffer is made in shared memory. Tensors inside data elements, or
    other objects, and those of several dtypes, are sent in one block too, and arrive where they were.
    Tensors on a device, sparse ones, subclasses and those that require a gradient stay as they are.

    Args:
        data_batch: the samples, all of one form: mappings, tuples or lists, nested.

    Returns:
        What `pseudo_collate` returns, with lists of tensors as `PackedList`.

    Raises:
        CollateError: there is no sample, or samples differ in their keys or lengths.
    """
    collated = _collate(_first(data_batch), data_batch, pack_collate, _packed)
    return _sent_in_parcels(collated) if collated is data_batch and get_worker_info() is not None else collated


def _packed(column: Sequence[Any]) -> Sequence[Any]:
    in_one = type(column) is list and all(map(_on_host, column)) and len({tensor.dtype for tensor in column}) == 1
    return PackedList.pack(column, shared=get_worker_info() is not None) if in_one else column


def _on_host(value: Any) -> bool:
    return packable(value) and value.device.type == "cpu"


def _sent_in_parcels(column: Any) -> Any:
    """The column, which packs its tensors when it is sent; one that can hold none as it is."""
    if all(type(value) in _WITHOUT_TENSORS for value in column):
        return column
    return _PARCELS.get(type(column), _as_it_is)(column)


def _as_it_is(column: Any) -> Any:
    return column


class _ListParcel(list[Any]):
    """A list that is sent to another process with its tensors in a few buffers, and arrives as a plain list."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _sealed(list(self))


class _TupleParcel(tuple[Any, ...]):
    """The same for a tuple."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _sealed(tuple(self))


_PARCELS: dict[type, Any] = {list: _ListParcel, tuple: _TupleParcel}


class _Sealing(ForkingPickler):
    """A pickler that leaves tensors out and keeps them in `tensors`."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        """The place of a tensor in `tensors`; None for everything else, which is pickled."""
        kind = type(obj)
        if kind is not Tensor and not issubclass(kind, Tensor):
            return None
        place = self._places.setdefault(id(obj), len(self.tensors))
        if place == len(self.tensors):
            self.tensors.append(obj)
        return place


def _sealed(column: Any) -> tuple[Any, ...]:
    """How a column is pickled."""
    file = BytesIO()
    sealing = _Sealing(file)
    try:
        sealing.dump(column)
    except Exception:
        # The queue's own pickler meets the same object and says what is wrong with it.
        return type(column), (list(column),)
    places: dict[torch.dtype, list[int]] = {}
    others: dict[int, Tensor] = {}
    for place, tensor in enumerate(sealing.tensors):
        if _on_host(tensor):
            places.setdefault(tensor.dtype, []).append(place)
        else:
            others[place] = tensor
    return _opened, (file.getvalue(), _block(sealing.tensors, places), others)


def _block(tensors: list[Tensor], places: dict[torch.dtype, list[int]]) -> _Block | None:
    """The tensors at `places` in one block of memory; None where there are none."""
    if not places:
        return None
    block, lists = pack_together([[tensors[at] for at in group] for group in places.values()], shared=True)
    return block, [
        (dtype, tuple(map(tuple, packed.shapes)), group)
        for (dtype, group), packed in zip(places.items(), lists, strict=True)
    ]


def _opened(content: bytes, sent: _Block | None, others: dict[int, Tensor]) -> Any:
    """The column that was sealed."""
    tensors = dict(others)
    if sent is not None:
        block, groups = sent
        lists = unpack_together(block, [(dtype, shapes) for dtype, shapes, _ in groups])
        for packed, (_, _, places) in zip(lists, groups, strict=True):
            owned = [tensor.clone() if tensor.nbytes <= _SMALL else tensor for tensor in packed]
            tensors.update(zip(places, owned, strict=True))
    unpickler = _Opening(BytesIO(content))
    unpickler.tensors = tensors
    return unpickler.load()


class _Opening(pickle.Unpickler):
    """An unpickler that puts tensors back in their places."""

    tensors: dict[int, Tensor]

    def persistent_load(self, pid: int) -> Tensor:
        """The tensor that was at this place."""
        return self.tensors[pid]
