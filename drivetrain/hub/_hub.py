"""Configs and models that installed packages ship, by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from drivetrain.checkpoint import load_checkpoint
from drivetrain.config import MODULE2PACKAGE, Config, config_folder, shipped_models
from drivetrain.errors import ArgumentError, CheckpointError, MissingFileError, did_you_mean
from drivetrain.registry import MODELS, DefaultScope

_EXAMPLE = "'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'"


def get_config(cfg_path: str, pretrained: bool = False) -> Config:
    """A config that an installed package ships.

    Args:
        cfg_path: the package and the path in its folder of configs:
            `'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'`.
        pretrained: set `model_path` of the config to the address of the weights, which the package's model index says.

    Raises:
        ArgumentError: `cfg_path` names no package.
        MissingPackageError: the package is not installed.
        MissingFileError: it ships no such config.
        CheckpointError: its model index has no weights for the config.
    """
    package, path = _split(cfg_path)
    cfg = Config.fromfile(_checked(package, config_folder(package) / path))
    if pretrained:
        cfg.model_path = _weights(package, Path(cfg.filename))
    return cfg


def get_model(cfg_path: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A model whose config an installed package ships, built in the scope of that package.

    Args:
        cfg_path: as for `get_config`.
        pretrained: load the weights that the package's model index names.
        kwargs: arguments of the model that its config does not set.

    Returns:
        The model, in training mode.

    Raises:
        ArgumentError: `cfg_path` names no package.
        MissingPackageError: the package is not installed.
        MissingFileError: it ships no such config.
        CheckpointError: its model index has no weights for the config.
    """
    package, _ = _split(cfg_path)
    cfg = get_config(cfg_path, pretrained)
    with DefaultScope.overwrite_default_scope(package):
        model: nn.Module = MODELS.build(cfg.model, default_args=kwargs)
    if pretrained:
        load_checkpoint(model, cfg.model_path)
    return model


def _split(cfg_path: str) -> tuple[str, str]:
    package, mark, path = str(cfg_path).partition("::")
    if not mark or not package or not path:
        raise ArgumentError(f"cfg_path should be a package and a path in it, such as {_EXAMPLE}, got {cfg_path!r}.")
    by_package = {name: module for module, name in MODULE2PACKAGE.items()}
    return by_package.get(package, package), path


def _checked(package: str, path: Path) -> Path:
    if path.is_file():
        return path
    folder = path.parent
    siblings = [file.name for file in folder.glob("*.py")] if folder.is_dir() else []
    raise MissingFileError(f"the package {package!r} ships no config {path}.{did_you_mean(path.name, siblings)}")


def _weights(package: str, path: Path) -> str:
    """The address of the weights of a config."""
    for model in shipped_models(package):
        if model.weights and model.config.resolve() == path.resolve():
            return model.weights
    raise CheckpointError(
        f"the model index of {package!r} names no weights for {path.name}. "
        "Train it, or load weights of your own with drivetrain.checkpoint.load_checkpoint."
    )
