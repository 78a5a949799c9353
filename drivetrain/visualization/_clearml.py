"""Scalars, images and the config in ClearML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from drivetrain.errors import require_package
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._tracking import files_to_upload, numbers_of, plain_config
from ._values import as_uint8_rgb


@VISBACKENDS.register_module()
class ClearMLVisBackend(BaseVisBackend):
    """Writes a task of ClearML. Without a server, call `clearml.Task.set_offline(True)` first.

    Args:
        save_dir: unused; ClearML keeps its files itself.
        init_kwargs: arguments of `clearml.Task.init` (`project_name`, `task_name` ...).
        artifact_suffix: endings of the files in the work_dir that `close` uploads.

    Raises:
        MissingPackageError: clearml is not installed (on first use).
    """

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: dict[str, Any] | None = None,
        artifact_suffix: Sequence[str] | str = (".py", ".pth"),
    ) -> None:
        super().__init__(save_dir)  # type: ignore[arg-type]
        self._init_kwargs = init_kwargs
        self._artifact_suffix = artifact_suffix
        self.cfg: Mapping[str, Any] | None = None

    def _init_env(self) -> None:
        try:
            import clearml  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise require_package("clearml", "ClearMLVisBackend") from error
        self._clearml = clearml
        self._task = clearml.Task.init(**(self._init_kwargs or {}))
        self._logger = self._task.get_logger()

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module `clearml`, with the task open."""
        return self._clearml

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run."""
        self.cfg = config
        self._task.connect_configuration(plain_config(config))

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image of a step, uint8 (H, W, 3) in RGB order."""
        self._logger.report_image(title=name, series=name, iteration=step, image=as_uint8_rgb(image))

    @force_init_env
    def add_scalar(self, name: str, value: int | float | Tensor | np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write a number of a step; a value that is no single number is left out with a warning."""
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step.

        Raises:
            ArgumentError: the dict holds a `step`, which would become a metric.
        """
        for name, value in numbers_of(scalar_dict, "ClearML").items():
            self._logger.report_scalar(title=name, series=name, value=value, iteration=step)

    def close(self) -> None:
        """Upload the files of the work_dir, and end the task."""
        if not hasattr(self, "_task"):
            return
        for file, folder in files_to_upload(self.cfg, self._artifact_suffix):
            name = file.name if folder is None else f"{folder}/{file.name}"
            self._task.upload_artifact(name, str(file))
        self._task.close()
