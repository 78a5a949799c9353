"""Devices of vendors whose torch plug-in brings a device type of its own."""

from __future__ import annotations

import torch

from drivetrain.typing import DeviceLike


def vendor_device(kind: str, device: DeviceLike | None = None) -> torch.device:
    """The device of type `kind` ('npu', 'mlu', 'musa') with the given index; without one, the current device.

    Raises:
        RuntimeError: torch knows no such device type, that is, the vendor's plug-in was not imported.
    """
    if device is None:
        return torch.device(kind)
    return torch.device(kind, device) if type(device) is int else torch.device(device)
