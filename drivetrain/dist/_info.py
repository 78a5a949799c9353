"""Who this process is among the processes of a run."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed as torch_dist

from drivetrain.errors import NotReadyError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")

_made: list[tuple[Any, ProcessGroup]] = []
"""The local group that was made, with the default group that it belongs to: it ends when that one does."""


def is_distributed() -> bool:
    """Whether a process group is initialised."""
    return torch_dist.is_available() and torch_dist.is_initialized()


def get_rank(group: ProcessGroup | None = None) -> int:
    """Rank of this process in `group` (the default group if None), 0 when nothing is distributed."""
    return torch_dist.get_rank(group) if is_distributed() else 0


def get_world_size(group: ProcessGroup | None = None) -> int:
    """Number of processes in `group` (the default group if None), 1 when nothing is distributed."""
    return torch_dist.get_world_size(group) if is_distributed() else 1


def get_dist_info(group: ProcessGroup | None = None) -> tuple[int, int]:
    """Rank and world size of this process in `group`."""
    return get_rank(group), get_world_size(group)


def is_main_process(group: ProcessGroup | None = None) -> bool:
    """Whether this process has rank 0 in `group`."""
    return get_rank(group) == 0


def get_backend(group: ProcessGroup | None = None) -> str | None:
    """Name of the backend of `group` ('nccl', 'gloo', 'mpi', ...), None when nothing is distributed."""
    return torch_dist.get_backend(group) if is_distributed() else None


def get_default_group() -> ProcessGroup | None:
    """The group of all processes.

    Raises:
        NotReadyError: nothing is distributed.
    """
    if not is_distributed():
        raise NotReadyError("there is no default process group: call init_dist(launcher) first.")
    return torch_dist.group.WORLD


def master_only(func: Callable[..., Result]) -> Callable[..., Result | None]:
    """Decorator: `func` runs on rank 0 and returns None everywhere else."""

    @functools.wraps(func)
    def only_on_master(*args: Any, **kwargs: Any) -> Result | None:
        return func(*args, **kwargs) if is_main_process() else None

    return only_on_master


def barrier(group: ProcessGroup | None = None) -> None:
    """Wait until every process of `group` is here."""
    if is_distributed():
        torch_dist.barrier(group)


def init_local_group(node_rank: int, num_gpus_per_node: int) -> None:
    """Make the group of the processes on this node. Every process of the run must call it with its own node's rank.

    Args:
        node_rank: rank of this process's node.
        num_gpus_per_node: processes on each node; ranks are numbered node by node.
    """
    if not is_distributed():
        raise NotReadyError("init_local_group needs a process group: call init_dist(launcher) first.")
    groups: list[Any] = [
        torch_dist.new_group(list(range(first, first + num_gpus_per_node)))
        for first in range(0, get_world_size(), num_gpus_per_node)
    ]
    _made[:] = [(torch_dist.group.WORLD, groups[node_rank])]


def get_local_group() -> ProcessGroup | None:
    """The group of the processes on this node, None when nothing is distributed.

    Raises:
        NotReadyError: distributed, and `init_local_group` was not called.
    """
    if not is_distributed():
        return None
    made = _made_local_group()
    if made is None:
        raise NotReadyError("the local group is not made yet: call init_local_group(node_rank, num_gpus_per_node).")
    return made


def get_local_size() -> int:
    """Number of processes on this node: of the local group if made, else as the launcher says, else 1."""
    if not is_distributed():
        return 1
    made = _made_local_group()
    return get_world_size(made) if made is not None else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def get_local_rank() -> int:
    """Rank of this process on its node: in the local group if made, else as the launcher says.

    Without either, ranks are taken to be numbered node by node, one process for each accelerator.
    """
    if not is_distributed():
        return 0
    made = _made_local_group()
    if made is not None:
        return get_rank(made)
    per_node = max(torch.accelerator.device_count(), 1)
    return int(os.environ.get("LOCAL_RANK", get_rank() % per_node))


def _made_local_group() -> ProcessGroup | None:
    return _made[0][1] if _made and _made[0][0] is torch_dist.group.WORLD else None
