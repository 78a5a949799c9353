"""Scalars, images and the config in Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from drivetrain.errors import ArgumentTypeError, require_package
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._values import check_type, plain_number

if TYPE_CHECKING:
    from torch import nn


@VISBACKENDS.register_module()
class WandbVisBackend(BaseVisBackend):
    """Writes a run of Weights & Biases. Without a network, set `WANDB_MODE=offline`, or `mode='offline'` below.

    Args:
        save_dir: the folder of the run's files, created on first use.
        init_kwargs: arguments of `wandb.init` (`project`, `name`, `mode` ...); its `dir` is `save_dir` if not given.
        define_metric_cfg: summaries of metrics, `{'loss': 'min'}`, or a list of arguments of `wandb.define_metric`.
        commit: whether each call is a step of the run's own count; False gathers until the next that is.
        log_code_name: name of the artifact of the source code.
        watch_kwargs: arguments of `wandb.watch`, which `add_graph` calls.

    Raises:
        MissingPackageError: wandb is not installed (on first use).
    """

    def __init__(
        self,
        save_dir: str,
        init_kwargs: dict[str, Any] | None = None,
        define_metric_cfg: dict[str, str] | list[dict[str, Any]] | None = None,
        commit: bool | None = True,
        log_code_name: str | None = None,
        watch_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = init_kwargs
        self._define_metric_cfg = define_metric_cfg
        self._commit = commit
        self._log_code_name = log_code_name
        self._watch_kwargs = watch_kwargs or {}

    def _init_env(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise require_package("wandb", "WandbVisBackend") from error
        if self._save_dir is not None:
            os.makedirs(self._save_dir, exist_ok=True)
        wandb.init(**{"dir": self._save_dir, **(self._init_kwargs or {})})
        for arguments in _metric_definitions(self._define_metric_cfg):
            wandb.define_metric(**arguments)
        self._wandb = wandb

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module `wandb`, with the run open."""
        return self._wandb

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run, and the source code of the working directory."""
        allow_change = (self._init_kwargs or {}).get("allow_val_change", False)
        as_dict = getattr(config, "to_dict", None)
        self._wandb.config.update(dict(as_dict() if as_dict else config), allow_val_change=allow_change)
        self._wandb.run.log_code(name=self._log_code_name)

    @force_init_env
    def add_graph(self, model: nn.Module, data_batch: Sequence[Any], **kwargs: Any) -> None:
        """Watch a model's gradients and parameters."""
        self._wandb.watch(model, **self._watch_kwargs)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image, uint8 (H, W, 3) in RGB order."""
        self._wandb.log({name: self._wandb.Image(image)}, commit=self._commit)

    @force_init_env
    def add_scalar(self, name: str, value: int | float | Tensor | np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write a number. The step is the run's own count of calls, which unlike `step` never falls back."""
        self._wandb.log({name: plain_number(value)}, commit=self._commit)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write several numbers of one step of the run's own count."""
        check_type("scalar_dict", scalar_dict, dict)
        self._wandb.log({name: plain_number(value) for name, value in scalar_dict.items()}, commit=self._commit)

    def close(self) -> None:
        """Finish the run: send what is left."""
        if hasattr(self, "_wandb"):
            self._wandb.finish()


def _metric_definitions(config: Any) -> list[dict[str, Any]]:
    """The arguments of each `wandb.define_metric`."""
    if not config:
        return []
    if type(config) is list:
        return config
    if not hasattr(config, "items"):
        raise ArgumentTypeError(f"define_metric_cfg should be a dict or a list of dicts, got {config!r}.")
    return [{"name": name, "summary": summary} for name, summary in config.items()]
