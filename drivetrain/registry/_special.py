"""Build functions of models, optimizers, schedulers and runners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, NotReadyError

from ._build import build_from_cfg, build_with, resolve
from ._construct import construct
from ._names import article
from ._optional import packages_of

if TYPE_CHECKING:
    from ._registry import Registry

_sequential: type | None = None


def set_sequential_container(container: type) -> None:
    """Say which class holds the models of a list config; the model room calls this when it is imported.

    Args:
        container: called as `container(*modules)`.
    """
    global _sequential
    _sequential = container


def build_model_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a model, or a `Sequential` of models from a list of configs.

    Args:
        cfg: one config or a list of them.
        registry: where the names are looked up.
        default_args: arguments for keys that a config lacks.
    """
    if type(cfg) is not list:
        return build_from_cfg(cfg, registry, default_args)
    modules = [build_from_cfg(item, registry, default_args) for item in cfg]
    if _sequential is None:
        registry.root.import_from_location()
    if _sequential is None:
        raise NotReadyError(
            "a list of model configs builds a Sequential, and no container class was set. "
            "Import drivetrain.model, or call set_sequential_container(cls)."
        )
    return _sequential(*modules)


def build_optimizer_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build an optimizer; a name that an optional package would bring is reported with its install line.

    Args:
        cfg: the config; `params` usually come in `default_args`.
        registry: where the name is looked up.
        default_args: arguments for keys that `cfg` lacks.
    """
    try:
        return build_from_cfg(cfg, registry, default_args)
    except NotFoundError as error:
        missing = [package.install for package in packages_of(str(cfg.get("type"))) if not package.is_installed]
        if not missing:
            raise
        raise NotFoundError(
            f"the optimizer {cfg['type']!r} is there when the package {missing[0]!r} is installed. "
            f"Install it with: pip install {missing[0]}"
        ) from error


def build_scheduler_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a parameter scheduler, converted from epochs to iterations on request.

    Args:
        cfg: the config. With `convert_to_iter_based=True` the scheduler is given in epochs and steps by iteration, an
            epoch being `epoch_length` iterations.
        registry: where the name is looked up.
        default_args: arguments for keys that `cfg` lacks, such as `optimizer` and `epoch_length`.

    Raises:
        ArgumentError: conversion is asked for without `epoch_length`, or for a scheduler that is not by epoch.
    """
    return build_with(_construct_scheduler, cfg, registry, default_args)


def build_runner_from_cfg(cfg: Any, registry: Registry) -> Any:
    """Build a runner from the config of a whole run.

    Args:
        cfg: the config; `runner_type` names the class, `Runner` when it is missing.
        registry: where the name is looked up.
    """
    if not callable(getattr(cfg, "items", None)):
        raise ArgumentTypeError(
            f"the config of {article(registry.name)} must be a dict or a config, got {type(cfg).__name__}."
        )
    settings = cfg.copy()
    scope = settings.pop("_scope_", None)
    with registry.switch_scope_and_registry(scope) as scoped:
        return resolve(settings.get("runner_type", "Runner"), scoped).from_cfg(settings)


def _construct_scheduler(scheduler: Any, args: dict[str, Any], registry: Registry) -> Any:
    convert = args.pop("convert_to_iter_based", False)
    epoch_length = args.pop("epoch_length", None)
    if not convert:
        return construct(scheduler, args, registry)
    _check_conversion(scheduler, args.get("by_epoch", True), epoch_length)
    return construct(scheduler.build_iter_from_epoch, {**args, "epoch_length": epoch_length}, registry)


def _check_conversion(scheduler: Any, by_epoch: bool, epoch_length: int | None) -> None:
    name = getattr(scheduler, "__name__", scheduler)
    if not by_epoch:
        raise ArgumentError(
            f"{name}: convert_to_iter_based=True converts a schedule given in epochs, and by_epoch is "
            "False. Drop one of the two."
        )
    if epoch_length is None:
        raise ArgumentError(
            f"{name}: convert_to_iter_based=True needs epoch_length, the number of iterations of an epoch."
        )
