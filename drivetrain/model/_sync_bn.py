"""Batch norm that shares its statistics between processes, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, did_you_mean, require_package
from drivetrain.tensors import _BatchNorm


class _BatchNormXd(_BatchNorm):
    """Batch norm for any number of dimensions: a synchronised one does not tell which it was made from."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Every shape is welcome."""


def revert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace synchronised batch norms by plain ones, which run without torch.distributed and on the CPU.

    Parameters and statistics are shared with the replaced layers, so optimizers stay valid.

    Args:
        module: any module; changed in place.

    Returns:
        The module, or its replacement if it is itself a synchronised batch norm.
    """
    kinds: tuple[type[nn.Module], ...] = (nn.SyncBatchNorm,)
    mmcv_ops = sys.modules.get("mmcv.ops")
    if mmcv_ops is not None:
        kinds += (mmcv_ops.SyncBatchNorm,)
    return _replace(module, kinds, _BatchNormXd)


def convert_sync_batchnorm(module: nn.Module, implementation: str = "torch") -> nn.Module:
    """Replace batch norms by synchronised ones.

    Args:
        module: any module; changed in place.
        implementation: 'torch', or 'mmcv' for the layer of that package.

    Returns:
        The module, or its replacement if it is itself a batch norm.

    Raises:
        ArgumentError: unknown implementation.
        MissingPackageError: mmcv is asked for and not installed.
    """
    if implementation == "torch":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if implementation != "mmcv":
        hint = did_you_mean(implementation, ["torch", "mmcv"])
        raise ArgumentError(f"sync_bn must be 'torch' or 'mmcv', got {implementation!r}.{hint}")
    try:
        from mmcv.ops import SyncBatchNorm  # type: ignore[import-not-found]
    except ImportError as error:
        raise require_package("mmcv", "sync_bn='mmcv'") from error
    return _replace(module, (_BatchNorm,), SyncBatchNorm)


def _replace(module: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[..., nn.Module]) -> nn.Module:
    if issubclass(type(module), kinds):
        return _copy_norm(module, make)
    for name, child in module.named_children():
        replaced = _replace(child, kinds, make)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


def _copy_norm(norm: nn.Module, make: Callable[..., nn.Module]) -> nn.Module:
    fields = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    fresh = make(*(getattr(norm, field) for field in fields))
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "qconfig"):
        if hasattr(norm, name):
            with torch.no_grad():
                setattr(fresh, name, getattr(norm, name))
    return fresh.train(norm.training)
