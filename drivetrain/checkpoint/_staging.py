"""Copies of a checkpoint's tensors on the host, so that training can go on while a file is written."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN_TENSORS = (Tensor, nn.Parameter)


class Staging:
    """Copies what is to be saved; the memory of one copy is kept for the next.

    Tensors that share memory share it in the copy too. Memory is taken once for every storage: pinned for a storage of
    an accelerator, whose copies all run before the one wait at the end.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[int, bool], list[Tensor]] = defaultdict(list)

    def copy(self, plain: Any) -> tuple[Any, list[Tensor]]:
        """Copy the tensors in what `encode` returned.

        Args:
            plain: containers of tensors, numbers, strings; dicts and lists in it get the copies in place.

        Returns:
            The same with tensors of the host, and the memory under them for `give_back`.
        """
        walk = _Walk(self)
        copied = walk.copied(plain)
        if walk.from_device:
            torch.accelerator.synchronize()
        return copied, walk.taken

    def take(self, size: int, pinned: bool) -> Tensor:
        """Memory of `size` bytes, as a uint8 tensor."""
        free = self._free[(size, pinned)]
        return free.pop() if free else torch.empty(size, dtype=torch.uint8, pin_memory=pinned)

    def give_back(self, taken: list[Tensor]) -> None:
        """Take back the memory of a copy that is written. What the next copy has no use for is let go then."""
        self._free.clear()
        for memory in taken:
            self._free[(memory.numel(), memory.is_pinned())].append(memory)


class _Walk:
    """One copy: which storages and containers it has met."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._storages: dict[int, Tensor] = {}
        self._met: set[int] = set()
        self.taken: list[Tensor] = []
        self.from_device = False

    def copied(self, value: Any) -> Any:
        """The value itself, with copies of the tensors in it."""
        if isinstance(value, Tensor):
            return self._tensor(value)
        if type(value) is tuple:
            return tuple([self.copied(item) for item in value])
        if type(value) is list:
            items: Any = enumerate(value)
        elif hasattr(value, "items"):
            items = value.items()
        else:
            return value
        if id(value) not in self._met:
            self._met.add(id(value))
            for key, item in list(items):
                value[key] = self.copied(item)
        return value

    def _tensor(self, tensor: Tensor) -> Tensor:
        if type(tensor) not in _PLAIN_TENSORS or tensor.layout != torch.strided or _is_special(tensor):
            return tensor.detach().clone().requires_grad_(tensor.requires_grad)
        source = tensor.untyped_storage()
        key = source._cdata
        if key not in self._storages:
            self._storages[key] = self._storage(tensor)
        memory = self._storages[key].untyped_storage()
        copied = torch.empty(0, dtype=tensor.dtype)
        copied.set_(memory, tensor.storage_offset(), tensor.size(), tensor.stride())
        if type(tensor) is nn.Parameter:
            return nn.Parameter(copied, tensor.requires_grad)
        return copied.requires_grad_(tensor.requires_grad)

    def _storage(self, tensor: Tensor) -> Tensor:
        """A copy, on the host, of the whole memory that a tensor lies in."""
        storage = tensor.untyped_storage()
        on_device = tensor.device.type != "cpu"
        memory = self._staging.take(storage.nbytes(), pinned=tensor.device.type == "cuda")
        source = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
        memory.copy_(source, non_blocking=on_device)
        self.from_device |= on_device
        self.taken.append(memory)
        return memory


def _is_special(tensor: Tensor) -> bool:
    return tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.is_meta
