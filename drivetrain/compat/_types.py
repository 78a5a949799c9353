"""Type aliases and constants of deep modules of MMEngine; they need torch."""

from __future__ import annotations

from typing import Any, TypeAlias

from torch.optim import Optimizer

from drivetrain.config import Config, ConfigDict
from drivetrain.device import (
    get_device,
    is_dipu_available,
    is_mlu_available,
    is_musa_available,
    is_npu_available,
)
from drivetrain.optim import BaseOptimWrapper

ConfigType: TypeAlias = dict[str, Any] | Config | ConfigDict
"""A config of a run."""

OptimizerType: TypeAlias = BaseOptimWrapper | Optimizer
"""What a schedule can change."""

DEVICE = get_device()
"""Kind of the device that this machine computes on."""

IS_NPU_AVAILABLE = is_npu_available()
"""Whether a device of kind 'npu' is there."""

IS_MLU_AVAILABLE = is_mlu_available()
"""Whether a device of kind 'mlu' is there."""

IS_DIPU_AVAILABLE = is_dipu_available()
"""Whether a device of kind 'dipu' is there."""

IS_MUSA_AVAILABLE = is_musa_available()
"""Whether a device of kind 'musa' is there."""
