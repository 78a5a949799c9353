"""Base classes of layers and facts of the build, which `mmengine.utils.dl_utils.parrots_wrapper` has by these names."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch.nn import SyncBatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd as _AdaptiveAvgPoolNd
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd as _AdaptiveMaxPoolNd
from torch.nn.modules.pooling import _AvgPoolNd as _AvgPoolNd
from torch.nn.modules.pooling import _MaxPoolNd as _MaxPoolNd
from torch.utils.data import DataLoader as DataLoader

TORCH_VERSION = torch.__version__
"""Version of torch, text that compares as a version."""

PoolDataLoader: TypeAlias = DataLoader
"""torch's loader: the one with a pool belonged to another framework."""

SyncBatchNorm_: TypeAlias = SyncBatchNorm

_ConvTransposeMixin: TypeAlias = _ConvTransposeNd


def is_rocm_pytorch() -> bool:
    """Whether torch was built for AMD's ROCm."""
    return torch.version.hip is not None


def get_build_config() -> str:
    """How torch was built: compiler, libraries and flags, for a bug report."""
    return torch.__config__.show()


def _get_cuda_home() -> str | None:
    """Folder of the CUDA toolkit (ROCm's on AMD), None without one."""
    from torch.utils.cpp_extension import CUDA_HOME  # imports setuptools, for building

    return CUDA_HOME
