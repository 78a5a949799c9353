"""Memory for large tensors on the CPU.

What a fresh batch of 150 MB costs is the system handing out 37,000 pages of 4 KB, several times as much as what is
computed. Where Linux has pages of 2 MB and grants them on request, as most distributions do, that is a sixth.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

_LARGE = 32 * 2**20
"""Bytes. Smaller blocks come out of the heap, which has them mapped already."""

_ON_REQUEST = getattr(mmap, "MADV_HUGEPAGE", None)


def empty(shape: Sequence[int], dtype: torch.dtype, memory_format: torch.memory_format) -> Tensor:
    """As `torch.empty` on the CPU, in large pages where that makes a difference and the system has them.

    Args:
        shape: of the tensor; four sizes for `channels_last`.
        dtype: of the tensor.
        memory_format: contiguous or channels last.
    """
    count = prod(shape)
    if _ON_REQUEST is None or count * dtype.itemsize < _LARGE:
        return torch.empty(shape, dtype=dtype, memory_format=memory_format)
    flat = torch.frombuffer(_mapped(count * dtype.itemsize, _ON_REQUEST), dtype=dtype, count=count)
    if memory_format is torch.channels_last:
        return flat.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    return flat.view(shape)


def _mapped(size: int, advice: int) -> mmap.mmap:
    # The tensor keeps the map alive, and it is unmapped with the tensor.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A kernel without large pages refuses; the memory is as good as any other.
    with contextlib.suppress(OSError):
        memory.madvise(advice)
    return memory
