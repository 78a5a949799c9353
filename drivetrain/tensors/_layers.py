"""Families of layers that rules and conversions ask for: norms and convolutions."""

from __future__ import annotations

from torch import nn
from torch.nn import SyncBatchNorm as SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm as _BatchNorm
from torch.nn.modules.conv import _ConvNd as _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm as _InstanceNorm

from drivetrain.errors import ArgumentTypeError

NORM_LAYERS: tuple[type[nn.Module], ...] = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Base classes of every normalisation layer that torch has."""


def is_norm(layer: nn.Module, exclude: type | tuple[type, ...] | None = None) -> bool:
    """Whether `layer` is a normalisation layer (batch, instance, group, layer or RMS norm).

    Args:
        layer: any module.
        exclude: a class, or a tuple of classes, that shall not count.

    Raises:
        ArgumentTypeError: `exclude` is neither a class nor a tuple of classes.
    """
    excluded = exclude if type(exclude) is tuple else (() if exclude is None else (exclude,))
    kind = type(layer)
    try:
        return issubclass(kind, NORM_LAYERS) and not issubclass(kind, excluded)
    except TypeError:
        raise ArgumentTypeError(f"exclude must be a class or a tuple of classes, got {exclude!r}.") from None


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any layer of `model`, itself included, is a batch norm (synchronised ones count)."""
    return any(issubclass(type(layer), _BatchNorm) for layer in model.modules())
