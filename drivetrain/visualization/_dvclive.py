"""Scalars, images and the config as files of DVCLive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from drivetrain.errors import require_package
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._tracking import files_to_upload, image_file, numbers_of, plain_config
from ._values import as_uint8_rgb


@VISBACKENDS.register_module()
class DVCLiveVisBackend(BaseVisBackend):
    """Writes metrics, parameters and images as files that DVC shows and compares.

    Args:
        save_dir: the folder of the files.
        artifact_suffix: endings of the files in the work_dir that `close` adds as artifacts.
        init_kwargs: arguments of `dvclive.Live`; outside of a DVC repository give `save_dvc_exp=False`.

    Raises:
        MissingPackageError: dvclive is not installed (on first use).
    """

    def __init__(
        self,
        save_dir: str,
        artifact_suffix: Sequence[str] | str = (".json", ".py", "yaml"),
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._artifact_suffix = artifact_suffix
        self._init_kwargs = init_kwargs
        self.cfg: Mapping[str, Any] | None = None

    def _init_env(self) -> None:
        try:
            from dvclive import Live  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise require_package("dvclive", "DVCLiveVisBackend") from error
        self._dvclive = Live(**{"dir": self._save_dir, **(self._init_kwargs or {})})

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The `dvclive.Live`."""
        return self._dvclive

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run as parameters."""
        self.cfg = config
        self._dvclive.log_params(plain_config(config))

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image, uint8 (H, W, 3) in RGB order, as `<name>_<step>.png`."""
        self._dvclive.log_image(image_file(name, step), as_uint8_rgb(image))

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
        self._dvclive.step = step
        for name, value in numbers_of(scalar_dict, "DVCLive").items():
            self._dvclive.log_metric(name, value)

    def close(self) -> None:
        """Add the files of the work_dir as artifacts, inside a DVC repository, and write the summary."""
        if not hasattr(self, "_dvclive"):
            return
        if getattr(self._dvclive, "_dvc_repo", True) is not None:
            for file, _ in files_to_upload(self.cfg, self._artifact_suffix, self._is_own):
                self._dvclive.log_artifact(str(file))
        self._dvclive.end()

    def _is_own(self, file: Path) -> bool:
        return Path(self._save_dir).resolve() in file.parents
