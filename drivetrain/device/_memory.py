"""Peak memory of an accelerator, as its allocator counts it. Reading a counter never waits for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._kind import get_device

if TYPE_CHECKING:
    from drivetrain.typing import DeviceLike

BYTES_PER_MB = 1024 * 1024


def max_memory_mb(device: DeviceLike | None = None) -> int | None:
    """Most memory that tensors took on `device` since its counter was last reset, in MiB, rounded down.

    Args:
        device: a device, its name or its index; None is the current accelerator.

    Returns:
        None where nothing is counted: on the CPU, and on accelerators whose allocator keeps no peak (Metal).
    """
    kind = get_device() if device is None else _kind_of(device)
    counter = _counter(kind, "max_memory_allocated")
    return None if counter is None else int(counter(device)) // BYTES_PER_MB


def get_max_cuda_memory(device: torch.device | None = None) -> int:
    """Peak memory of tensors on a CUDA device since the last call, in MiB; the counter starts anew.

    Args:
        device: the device; None is the current one.
    """
    return _read_and_reset("cuda", device)


def get_max_musa_memory(device: torch.device | None = None) -> int:
    """Peak memory of tensors on a MUSA device since the last call, in MiB; the counter starts anew.

    Args:
        device: the device; None is the current one.
    """
    return _read_and_reset("musa", device)


def _read_and_reset(kind: str, device: torch.device | None) -> int:
    module = torch.get_device_module(kind)
    peak = int(module.max_memory_allocated(device)) // BYTES_PER_MB
    module.reset_peak_memory_stats(device)
    return peak


def _kind_of(device: DeviceLike) -> str:
    return get_device() if type(device) is int else torch.device(device).type


def _counter(kind: str, name: str) -> Any:
    """The function `name` of a device's torch module; None where the module or the function is missing."""
    return getattr(getattr(torch, kind, None), name, None)
