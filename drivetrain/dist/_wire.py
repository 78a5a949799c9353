"""A nest of results as a message: its tensors in one array for each dtype, the rest pickled once around them.

Pickled one by one, a tensor costs some 50 us and carries its whole storage, which for a row of a batch is the batch.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Message(NamedTuple):
    """What travels."""

    frame: bytes
    forms: list[tuple[torch.dtype, tuple[int, ...]]]
    contents: dict[torch.dtype, Any]  # uint8 arrays


def packed(data: Any) -> Message:
    """`data`, anything that pickles, as a message. Tensors on the CPU are packed; others stay in the pickle."""
    stream = io.BytesIO()
    packer = _Packer(stream, protocol=4)
    packer.dump(data)
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in packer.tensors:
        by_dtype.setdefault(tensor.dtype, []).append(tensor.reshape(-1))
    contents = {dtype: torch.cat(flat).view(torch.uint8).numpy() for dtype, flat in by_dtype.items()}
    return Message(stream.getvalue(), [(tensor.dtype, tuple(tensor.shape)) for tensor in packer.tensors], contents)


def unpacked(message: Message) -> Any:
    """What was packed. Each tensor has memory of its own: none keeps the message alive, or is pickled with it."""
    unpacker = _Unpacker(io.BytesIO(message.frame))
    unpacker.tensors = _tensors(message)
    return unpacker.load()


def _tensors(message: Message) -> list[Tensor]:
    flat = {dtype: torch.from_numpy(content).view(dtype) for dtype, content in message.contents.items()}
    starts, found = dict.fromkeys(flat, 0), []
    for dtype, shape in message.forms:
        start = starts[dtype]
        starts[dtype] = end = start + torch.Size(shape).numel()
        found.append(flat[dtype][start:end].reshape(shape).clone())
    return found


class _Packer(pickle.Pickler):
    """Leaves tensors out: in the stream stand their numbers, one for each object."""

    def __init__(self, stream: io.BytesIO, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        """The number of a tensor that is packed."""
        if type(obj) is not Tensor or not _is_plain(obj):
            return None
        number = self._numbers.setdefault(id(obj), len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(obj)
        return number


class _Unpacker(pickle.Unpickler):
    tensors: list[Tensor]

    def persistent_load(self, pid: int) -> Tensor:
        """The tensor with a number."""
        return self.tensors[pid]


def _is_plain(tensor: Tensor) -> bool:
    """Whether values, dtype and shape are all there is to a tensor."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )
