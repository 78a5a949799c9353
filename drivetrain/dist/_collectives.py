"""Collectives on tensors. A tensor that the backend cannot send travels through one that it can, and comes back."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch import distributed as torch_dist

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean

from ._devices import get_comm_device, message_device
from ._info import get_rank, get_world_size

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_REDUCTIONS = {
    "sum": "SUM", "mean": "SUM", "product": "PRODUCT", "min": "MIN", "max": "MAX",
    "band": "BAND", "bor": "BOR", "bxor": "BXOR",
}  # fmt: skip
BYTES_PER_MB = 1024 * 1024


def all_reduce(data: Tensor, op: str = "sum", group: ProcessGroup | None = None) -> None:
    """Reduce `data` over all processes of `group`, in place on each.

    Args:
        data: same shape and dtype on every process.
        op: 'sum', 'mean', 'product', 'min', 'max', 'band', 'bor' or 'bxor'.
        group: the processes; None is all.

    Raises:
        ArgumentError: `op` is none of these.
        ArgumentTypeError: the mean of integers.
    """
    world_size = get_world_size(group)
    if world_size == 1:
        return
    reduction = _reduction(op, data)
    target, staged = _stage(data, group)
    torch_dist.all_reduce(staged, reduction, group)
    if op.lower() == "mean":
        staged.div_(world_size)
    _unstage(target, staged)


def broadcast(data: Tensor, src: int = 0, group: ProcessGroup | None = None) -> None:
    """Copy `data` of the process with global rank `src` into `data` of every process of `group`."""
    if get_world_size(group) == 1:
        return
    target, staged = _stage(data, group)
    torch_dist.broadcast(staged, src, group)
    _unstage(target, staged)


def all_gather(data: Tensor, group: ProcessGroup | None = None) -> list[Tensor]:
    """`data` of every process of `group`, in rank order, on every process.

    Args:
        data: same shape and dtype on every process.
        group: the processes; None is all.

    Returns:
        A list of `world_size` tensors on the device of `data`; `[data]` on a single process.
    """
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    _, staged = _stage(data, group)
    parts = [torch.empty_like(staged) for _ in range(world_size)]
    torch_dist.all_gather(parts, staged, group)
    return [part.to(data.device) for part in parts]


def gather(data: Tensor, dst: int = 0, group: ProcessGroup | None = None) -> list[Tensor | None]:
    """`data` of every process of `group`, in rank order, on the process with rank `dst`; elsewhere an empty list."""
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    _, staged = _stage(data, group)
    parts = [torch.empty_like(staged) for _ in range(world_size)] if get_rank(group) == dst else None
    torch_dist.gather(staged, parts, dst if group is None else torch_dist.get_global_rank(group, dst), group)
    return [part.to(data.device) for part in parts or ()]


def all_reduce_dict(data: dict[str, Tensor], op: str = "sum", group: ProcessGroup | None = None) -> None:
    """Reduce every tensor of a dict over all processes of `group`, in one message for each dtype and device.

    The dict takes new tensors; the old ones, which autograd may need, are left alone.

    Args:
        data: tensors by name; the names are the same on every process, their order may differ.
        op: as for `all_reduce`.
        group: the processes; None is all.

    Raises:
        ArgumentTypeError: `data` is no dict.
    """
    if not issubclass(type(data), dict):
        raise ArgumentTypeError(f"data must be a dict of tensors, got {type(data).__name__}.")
    if get_world_size(group) == 1:
        return
    names = sorted(data)
    for indices in _by_kind([data[name] for name in names]):
        members = [data[names[index]] for index in indices]
        for index, reduced in zip(indices, _reduce_flat(members, op, group), strict=True):
            data[names[index]] = reduced


def all_reduce_params(
    params: list[Tensor] | Generator[Tensor, None, None],
    coalesce: bool = True,
    bucket_size_mb: int = -1,
    op: str = "sum",
    group: ProcessGroup | None = None,
) -> None:
    """Reduce the values of parameters or buffers over all processes of `group`, in place.

    Args:
        params: tensors in the same order on every process.
        coalesce: send many tensors in one message.
        bucket_size_mb: most MiB of one message; -1 is no limit.
        op: as for `all_reduce`.
        group: the processes; None is all.
    """
    if get_world_size(group) == 1:
        return
    tensors = [param.detach() for param in params]
    if not coalesce:
        for tensor in tensors:
            all_reduce(tensor, op, group)
        return
    for indices in _by_kind(tensors):
        for bucket in _buckets([tensors[index] for index in indices], bucket_size_mb):
            torch._foreach_copy_(bucket, _reduce_flat(bucket, op, group))


def sync_random_seed(group: ProcessGroup | None = None) -> int:
    """A random seed that every process of `group` has: rank 0 draws it from NumPy's global generator.

    Returns:
        An integer in [0, 2**31).
    """
    import numpy

    seed = int(numpy.random.randint(2**31))
    if get_world_size(group) == 1:
        return seed
    shared = torch.tensor(seed if get_rank(group) == 0 else 0, dtype=torch.int64, device=get_comm_device(group))
    all_reduce(shared, "sum", group)
    return int(shared)


def _reduction(op: str, data: Tensor) -> torch_dist.ReduceOp.RedOpType:
    name = _REDUCTIONS.get(op.lower())
    if name is None:
        raise ArgumentError(f"op must be one of {', '.join(_REDUCTIONS)}, got {op!r}.{did_you_mean(op, _REDUCTIONS)}")
    if op.lower() == "mean" and not (data.is_floating_point() or data.is_complex()):
        raise ArgumentTypeError(f"the mean of {data.dtype} is no {data.dtype}: convert the tensor with .float() first.")
    return getattr(torch_dist.ReduceOp, name)


def _stage(data: Tensor, group: ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """`data` without its graph, and the same values in memory that the backend can send (often the same tensor)."""
    target = data.detach()
    return target, target.to(message_device(data, group)).contiguous()


def _unstage(target: Tensor, staged: Tensor) -> None:
    if staged is not target:
        target.copy_(staged)


def _by_kind(tensors: list[Tensor]) -> Iterable[list[int]]:
    """Indices of the tensors, grouped by dtype and device, in order."""
    groups: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault((tensor.dtype, tensor.device), []).append(index)
    return groups.values()


def _buckets(tensors: list[Tensor], size_mb: int) -> Iterator[list[Tensor]]:
    """The tensors in runs of at most `size_mb` MiB (a larger tensor is a run of its own)."""
    limit = size_mb * BYTES_PER_MB if size_mb > 0 else float("inf")
    bucket: list[Tensor] = []
    filled = 0
    for tensor in tensors:
        if bucket and filled + tensor.nbytes > limit:
            yield bucket
            bucket, filled = [], 0
        bucket.append(tensor)
        filled += tensor.nbytes
    if bucket:
        yield bucket


def _reduce_flat(tensors: list[Tensor], op: str, group: ProcessGroup | None) -> list[Tensor]:
    """The reduced values of tensors of one dtype and device, through one message."""
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    all_reduce(flat, op, group)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
