"""Which kind of device there is. Vendors are asked for through `torch.accelerator`; none is imported here.

A vendor's torch extension (Ascend NPU, Cambricon MLU, Moore Threads MUSA, DIPU) registers itself with torch when it is
imported, and then `torch.accelerator` reports it under its own name.
"""

from __future__ import annotations

import torch


def get_device() -> str:
    """Type of the device to compute on: 'cuda', 'mps', 'xpu', a vendor's name, or 'cpu' without an accelerator."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type


def has_pinned_memory() -> bool:
    """Whether memory of the host can be pinned for the accelerator, so that copies are fast and nothing waits."""
    return get_device() not in ("cpu", "mps")


def is_cuda_available() -> bool:
    """Whether the accelerator is a CUDA (or ROCm) GPU."""
    return get_device() == "cuda"


def is_mps_available() -> bool:
    """Whether the accelerator is Apple's Metal GPU."""
    return get_device() == "mps"


def is_npu_available() -> bool:
    """Whether an Ascend NPU extension is loaded and finds a device."""
    return get_device() == "npu"


def is_mlu_available() -> bool:
    """Whether a Cambricon MLU extension is loaded and finds a device."""
    return get_device() == "mlu"


def is_musa_available() -> bool:
    """Whether a Moore Threads MUSA extension is loaded and finds a device."""
    return get_device() == "musa"


def is_dipu_available() -> bool:
    """Whether a DIPU extension is loaded and finds a device."""
    return get_device() == "dipu"


def is_npu_support_full_precision() -> bool:
    """Whether there is an NPU and its `bfloat16` support says that it is of the generation that trains in float32."""
    if not is_npu_available():
        return False
    supports_bf16 = getattr(torch.get_device_module("npu"), "is_bf16_supported", None)
    return bool(supports_bf16 is not None and supports_bf16())
