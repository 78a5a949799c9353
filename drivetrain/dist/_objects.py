"""Collectives on any object that pickles. They run within one job, whose processes trust each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import distributed as torch_dist

from ._devices import get_comm_device
from ._info import get_rank, get_world_size

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def broadcast_object_list(data: list[Any], src: int = 0, group: ProcessGroup | None = None) -> None:
    """Replace the items of `data` by those of the process with global rank `src`, in place."""
    if get_world_size(group) > 1:
        torch_dist.broadcast_object_list(data, src, group, device=get_comm_device(group))


def all_gather_object(data: Any, group: ProcessGroup | None = None) -> list[Any]:
    """`data` of every process of `group`, in rank order, on every process."""
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    parts: list[Any] = [None] * world_size
    torch_dist.all_gather_object(parts, data, group)
    return parts


def gather_object(data: Any, dst: int = 0, group: ProcessGroup | None = None) -> list[Any] | None:
    """`data` of every process of `group`, in rank order, on the process with rank `dst`; elsewhere None."""
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    parts: list[Any] | None = [None] * world_size if get_rank(group) == dst else None
    torch_dist.gather_object(data, parts, dst if group is None else torch_dist.get_global_rank(group, dst), group)
    return parts
