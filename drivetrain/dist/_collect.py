"""Bring the results of all processes to rank 0, in the order of the dataset. Nothing is written to disk."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from torch import distributed as torch_dist

from drivetrain.errors import ArgumentError, did_you_mean

from ._devices import backends_by_device
from ._info import get_world_size
from ._objects import gather_object
from ._wire import packed, unpacked

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_MISSING = object()
_DEVICES = ("cpu", "gpu", "npu")
_host_groups: list[tuple[Any, ProcessGroup | None]] = []


def collect_results(results: list[Any], size: int, device: str = "cpu", tmpdir: str | None = None) -> list[Any] | None:
    """Results of all processes on rank 0, in the order of the dataset; None elsewhere.

    Process r of n holds the results of samples r, r + n, r + 2n, ...: the parts are interleaved, and what a sampler
    repeated at the end to make the parts equally long is cut off.

    Args:
        results: what this process has, in the order it got it.
        size: number of samples in the dataset.
        device: 'cpu' sends through host memory, 'gpu' (or 'npu') through the accelerator's backend.
        tmpdir: accepted and not used: there are no shared files.

    Raises:
        ArgumentError: `device` is unknown.
    """
    if device not in _DEVICES:
        raise ArgumentError(f"device must be 'cpu' or 'gpu', got {device!r}.{did_you_mean(device, _DEVICES)}")
    return collect_results_cpu(results, size, tmpdir) if device == "cpu" else collect_results_gpu(results, size)


def collect_results_cpu(result_part: list[Any], size: int, tmpdir: str | None = None) -> list[Any] | None:  # noqa: ARG001
    """`collect_results` through host memory.

    Args:
        result_part: what this process has, in the order it got it.
        size: number of samples in the dataset.
        tmpdir: accepted and not used.
    """
    if get_world_size() == 1:
        return result_part[:size]
    return _interleave(_gathered(result_part, _host_group()), size)


def collect_results_gpu(result_part: list[Any], size: int) -> list[Any] | None:
    """`collect_results` through the default group's own backend.

    Args:
        result_part: what this process has, in the order it got it.
        size: number of samples in the dataset.
    """
    if get_world_size() == 1:
        return result_part[:size]
    return _interleave(_gathered(result_part, None), size)


def _gathered(part: list[Any], group: ProcessGroup | None) -> list[Any] | None:
    messages = gather_object(packed(part), 0, group)
    return None if messages is None else list(map(unpacked, messages))


def _interleave(parts: list[Any] | None, size: int) -> list[Any] | None:
    if parts is None:
        return None
    rows = itertools.zip_longest(*parts, fillvalue=_MISSING)
    ordered = (item for row in rows for item in row if item is not _MISSING)
    return list(itertools.islice(ordered, size))


def _host_group() -> ProcessGroup | None:
    """A group of all processes that sends from host memory: the default one if it can, else a gloo group, made once."""
    world = torch_dist.group.WORLD
    if not _host_groups or _host_groups[0][0] is not world:
        able = "cpu" in backends_by_device(world)
        made: Any = None if able else torch_dist.new_group(backend="gloo")
        _host_groups[:] = [(world, made)]
    return _host_groups[0][1]
