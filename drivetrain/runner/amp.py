"""Mixed precision for a block of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from drivetrain.device import get_device


@contextmanager
def autocast(
    device_type: str | None = None,
    dtype: torch.dtype | None = None,
    enabled: bool = True,
    cache_enabled: bool | None = None,
) -> Iterator[None]:
    """`torch.autocast` with the device type of this machine as default.

    Args:
        device_type: 'cuda', 'cpu', 'mps' ...; by default the accelerator's, else 'cpu'.
        dtype: by default the device's own: float16 on CUDA, bfloat16 on CPU.
        enabled: False switches autocasting off inside the block.
        cache_enabled: whether casts of weights are kept within the block.
    """
    kind = get_device().split(":")[0] if device_type is None else device_type
    with torch.autocast(device_type=kind, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled):
        yield
