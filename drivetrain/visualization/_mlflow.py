"""Scalars, images and the config in MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from drivetrain.config import dump_python
from drivetrain.errors import MissingPackageError, NotFoundError, did_you_mean, require_package
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend, force_init_env
from ._tracking import files_to_upload, flat, image_file, numbers_of
from ._values import as_uint8_rgb

_LONGEST_PARAMETER = 6000
_PARAMETERS_AT_ONCE = 100


@VISBACKENDS.register_module()
class MLflowVisBackend(BaseVisBackend):
    """Writes a run of MLflow.

    Args:
        save_dir: where the run is kept without a `tracking_uri`: in folders or, where MLflow no longer writes those,
            in the database `mlflow.db` (`mlflow ui --backend-store-uri sqlite:///<save_dir>/mlflow.db` shows it).
        exp_name: name of the experiment, created if there is none; by default 'Default', or 'runs' in a
            database in `save_dir`.
        run_name: name of the run; MLflow makes one up if not given.
        tags: tags of the run.
        params: parameters of the run besides those of the config.
        tracking_uri: a server or database to write to.
        artifact_suffix: endings of the files in the work_dir that `close` uploads.
        tracked_config_keys: the top-level keys of the config that become parameters; by default all.
        artifact_location: where a new experiment keeps its files.

    Raises:
        MissingPackageError: mlflow is not installed (on first use).
    """

    def __init__(
        self,
        save_dir: str,
        exp_name: str | None = None,
        run_name: str | None = None,
        tags: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifact_suffix: Sequence[str] | str = (".json", ".log", ".py", "yaml"),
        tracked_config_keys: dict[str, Any] | Sequence[str] | None = None,
        artifact_location: str | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._exp_name = exp_name
        self._run_name = run_name
        self._tags = tags
        self._params = params
        self._tracking_uri = tracking_uri
        self._artifact_suffix = artifact_suffix
        self._tracked_config_keys = tracked_config_keys
        self._artifact_location = artifact_location
        self.cfg: Mapping[str, Any] | None = None

    def _init_env(self) -> None:
        try:
            import mlflow  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise require_package("mlflow", "MLflowVisBackend") from error
        self._mlflow = mlflow
        if self._tracking_uri is not None:
            mlflow.set_tracking_uri(self._tracking_uri)
        elif self._save_dir is not None:
            os.makedirs(self._save_dir, exist_ok=True)
            self._use_folder(Path(self._save_dir).resolve())
        self._open_experiment()
        mlflow.start_run(run_name=self._run_name)
        if self._tags:
            mlflow.set_tags(self._tags)
        if self._params:
            mlflow.log_params(self._params)

    def _use_folder(self, folder: Path) -> None:
        """Keep runs in folders, or in a database where MLflow no longer writes those."""
        try:
            self._mlflow.set_tracking_uri(folder.as_uri())
            self._mlflow.search_experiments(max_results=1)
        except self._mlflow.exceptions.MlflowException as error:
            if importlib.util.find_spec("sqlalchemy") is None:
                raise MissingPackageError(
                    "this MLflow keeps runs in a database rather than in folders, and its skinny package has none. "
                    'Install it with: pip install "mlflow"'
                    " (or give a tracking_uri, or set "
                    "MLFLOW_ALLOW_FILE_STORE=true)."
                ) from error
            self._mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
            self._artifact_location = self._artifact_location or (folder / "artifacts").as_uri()
            # The files of a database's own 'Default' would go to the working directory.
            self._exp_name = self._exp_name or "runs"

    def _open_experiment(self) -> None:
        name = self._exp_name or "Default"
        if self._mlflow.get_experiment_by_name(name) is None:
            self._mlflow.create_experiment(name, artifact_location=self._artifact_location)
        self._mlflow.set_experiment(name)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module `mlflow`, with the run open."""
        return self._mlflow

    @force_init_env
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run: its values as parameters (`optim.lr`), and whole as `config.py`.

        Raises:
            NotFoundError: one of `tracked_config_keys` is not in the config.
        """
        self.cfg = config
        values = dict(config.items())
        tracked = {key: values[key] for key in self._tracked(values)}
        parameters = [(name, str(value)[:_LONGEST_PARAMETER]) for name, value in flat(tracked)]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            self._mlflow.log_params(dict(parameters[start : start + _PARAMETERS_AT_ONCE]))
        self._mlflow.log_text(dump_python(config), "config.py")

    def _tracked(self, values: Mapping[str, Any]) -> list[str]:
        keys = list(values if self._tracked_config_keys is None else self._tracked_config_keys)
        for key in keys:
            if key not in values:
                raise NotFoundError(f"tracked_config_keys: the config has no key {key!r}.{did_you_mean(key, values)}")
        return keys

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image, uint8 (H, W, 3) in RGB order, as the file `<name>_<step>.png`.

        Args:
            name: its name; with an ending such as `.jpg` it is the name of the file, whatever the step.
            image: the image.
            step: global step.
            kwargs: unused.
        """
        self._mlflow.log_image(as_uint8_rgb(image), image_file(name, step))

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
        self._mlflow.log_metrics(numbers_of(scalar_dict, "MLflow"), step=step)

    def close(self) -> None:
        """Upload the files of the work_dir, and end the run."""
        if not hasattr(self, "_mlflow"):
            return
        for file, folder in files_to_upload(self.cfg, self._artifact_suffix, self._is_own):
            self._mlflow.log_artifact(str(file), folder)
        self._mlflow.end_run()

    def _is_own(self, file: Path) -> bool:
        """Whether a file belongs to the store in `save_dir`: its database, its artifacts, its numbered folders."""
        store = Path(self._save_dir).resolve()
        if store not in file.parents:
            return False
        top = file.relative_to(store).parts[0]
        return top in ("mlflow.db", "artifacts") or top.isdigit()
