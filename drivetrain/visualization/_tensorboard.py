"""Scalars, images and the config as TensorBoard events."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from drivetrain.config import dump_python
from drivetrain.errors import ArgumentError, require_package
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._values import check_type, plain_number

_NUMBERS = (int, float, bool)


@VISBACKENDS.register_module()
class TensorboardVisBackend(BaseVisBackend):
    """Writes event files for TensorBoard, with `torch.utils.tensorboard`.

    Args:
        save_dir: the folder of the event files, created on first use.

    Raises:
        MissingPackageError: tensorboard is not installed (on first use).
    """

    def _init_env(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise require_package("tensorboard", "TensorboardVisBackend", "tensorboard") from error
        self._tensorboard = SummaryWriter(self._save_dir)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The `SummaryWriter`."""
        return self._tensorboard

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run as a text named `config`."""
        self._tensorboard.add_text("config", dump_python(config))

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image, (H, W, 3) in RGB order or (H, W)."""
        layout = "HW" if image.ndim == 2 else "HWC"
        self._tensorboard.add_image(name, image, step, dataformats=layout)

    @force_init_env
    def add_scalar(self, name: str, value: int | float | Tensor | np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write a number of a step; a value that is no single number is left out with a warning."""
        number = plain_number(value)
        if type(number) in _NUMBERS:
            self._tensorboard.add_scalar(name, number, step)
            return
        warnings.warn(f"TensorBoard takes numbers: {name!r} is left out, it is {_described(value)}.", stacklevel=3)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step, each as `add_scalar` does.

        Raises:
            ArgumentError: the dict holds a `step`, which would become a scalar.
        """
        check_type("scalar_dict", scalar_dict, dict)
        if "step" in scalar_dict:
            raise ArgumentError("scalar_dict holds the key 'step': pass it as the argument `step`.")
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        if hasattr(self, "_tensorboard"):
            self._tensorboard.close()


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if shape is not None else type(value).__name__
