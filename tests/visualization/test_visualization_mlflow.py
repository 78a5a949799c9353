"""What the MLflow backend writes, against a small stand-in for the package."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.config import Config
from drivetrain.errors import ArgumentError, MissingPackageError, NotFoundError
from drivetrain.registry import VISBACKENDS
from drivetrain.visualization import MLflowVisBackend, Visualizer


class MlflowException(Exception):
    pass


_RECORDED = """create_experiment set_experiment start_run end_run set_tags log_params log_text log_image log_metrics
    log_artifact"""


class FakeMLflow(types.ModuleType):
    """Keeps what it is called with. Folders are refused, as newer releases do, where `folders` is False."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.exceptions = types.SimpleNamespace(MlflowException=MlflowException)
        self.folders, self.experiments, self.uri = True, {"Default"}, ""
        for name in _RECORDED.split():
            setattr(self, name, self._recorder(name))

    def set_tracking_uri(self, uri: str) -> None:
        self.uri = uri

    def search_experiments(self, max_results: int) -> list[Any]:
        if self.uri.startswith("file") and not self.folders:
            raise MlflowException("no folders")
        return []

    def get_experiment_by_name(self, name: str) -> Any:
        return name if name in self.experiments else None

    def named(self, name: str) -> list[Any]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]

    def _recorder(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMLflow:
    module = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_nothing_is_opened_before_use(mlflow: FakeMLflow, tmp_path: Path) -> None:
    MLflowVisBackend(str(tmp_path / "v")).close()
    assert mlflow.calls == [] and not (tmp_path / "v").exists()


def test_run_is_kept_in_the_folder_of_the_visualizer(mlflow: FakeMLflow, tmp_path: Path) -> None:
    visualizer = Visualizer(vis_backends={"type": "MLflowVisBackend", "run_name": "r"}, save_dir=str(tmp_path))
    assert visualizer.get_backend("MLflowVisBackend").experiment is mlflow
    assert mlflow.uri == (tmp_path / "vis_data").resolve().as_uri()
    assert [call[0] for call in mlflow.calls] == ["set_experiment", "start_run"]
    assert mlflow.named("start_run") == [((), {"run_name": "r"})]


def test_run_is_kept_in_a_database_where_folders_are_refused(
    mlflow: FakeMLflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.folders = False
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match='pip install "mlflow"'):
        _ = MLflowVisBackend(str(tmp_path)).experiment
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert MLflowVisBackend(str(tmp_path)).experiment is mlflow
    assert mlflow.uri == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    location = (tmp_path.resolve() / "artifacts").as_uri()
    assert mlflow.named("create_experiment") == [(("runs",), {"artifact_location": location})]


def test_server_experiment_tags_and_parameters_are_those_given(mlflow: FakeMLflow, tmp_path: Path) -> None:
    backend = MLflowVisBackend(
        str(tmp_path), "mine", tags={"t": 1}, params={"p": 2}, tracking_uri="http://server", artifact_location="s3://a"
    )
    assert backend.experiment is mlflow and mlflow.uri == "http://server"
    assert [(name, args) for name, args, _ in mlflow.calls] == [
        ("create_experiment", ("mine",)), ("set_experiment", ("mine",)), ("start_run", ()), ("set_tags", ({"t": 1},)),
        ("log_params", ({"p": 2},)),
    ]  # fmt: skip
    assert mlflow.calls[0][2] == {"artifact_location": "s3://a"}


CONFIG = {"optim": {"lr": 0.1, "steps": [{"a": 1}, {"b": 2}]}, "size": (1, 2), "name": "x"}


def test_config_is_flat_parameters_and_a_file(mlflow: FakeMLflow, tmp_path: Path) -> None:
    MLflowVisBackend(str(tmp_path)).add_config(Config(CONFIG))
    assert mlflow.named("log_params") == [
        (({"optim.lr": "0.1", "optim.steps.0.a": "1", "optim.steps.1.b": "2", "size": "(1, 2)", "name": "x"},), {})
    ]
    assert mlflow.named("log_text")[0][0][1] == "config.py"


def test_only_tracked_keys_of_the_config_become_parameters(mlflow: FakeMLflow, tmp_path: Path) -> None:
    MLflowVisBackend(str(tmp_path), tracked_config_keys=["name"]).add_config(Config(CONFIG))
    assert mlflow.named("log_params") == [(({"name": "x"},), {})]
    with pytest.raises(NotFoundError, match="Did you mean 'optim'"):
        MLflowVisBackend(str(tmp_path), tracked_config_keys={"optm": 1}).add_config(Config(CONFIG))


def test_many_parameters_are_sent_in_parts_and_long_ones_cut(mlflow: FakeMLflow, tmp_path: Path) -> None:
    MLflowVisBackend(str(tmp_path)).add_config({f"k{i}": "x" * 7000 for i in range(250)})
    parts = [args[0] for args, _ in mlflow.named("log_params")]
    assert [len(part) for part in parts] == [100, 100, 50]
    assert {len(value) for part in parts for value in part.values()} == {6000}


def test_scalars_and_images_are_those_of_the_step(mlflow: FakeMLflow, tmp_path: Path) -> None:
    backend = MLflowVisBackend(str(tmp_path))
    backend.add_scalar("loss", torch.tensor(0.5), 3)
    backend.add_scalars({"a": np.int64(1), "b": True}, 4, file_path="x.json")
    backend.add_image("im", np.zeros((4, 5), np.uint8), 5)
    backend.add_image("im.jpg", np.zeros((4, 5, 3), np.uint8), 5)
    assert mlflow.named("log_metrics") == [(({"loss": 0.5},), {"step": 3}), (({"a": 1, "b": True},), {"step": 4})]
    assert [(args[0].shape, args[1]) for args, _ in mlflow.named("log_image")] == [
        ((4, 5, 3), "im_5.png"), ((4, 5, 3), "im.jpg"),
    ]  # fmt: skip


def test_what_is_no_number_is_left_out_with_a_warning(mlflow: FakeMLflow, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out 's', 'v'"):
        MLflowVisBackend(str(tmp_path)).add_scalars({"s": "text", "a": 1, "v": torch.ones(2)}, 1)
    assert mlflow.named("log_metrics") == [(({"a": 1},), {"step": 1})]
    with pytest.raises(ArgumentError, match="'step'"):
        MLflowVisBackend(str(tmp_path)).add_scalars({"step": 1})


def test_close_uploads_the_files_of_the_work_dir_but_not_its_own_store(mlflow: FakeMLflow, tmp_path: Path) -> None:
    store = tmp_path / "time" / "vis_data"
    for file in ("a.log", "epoch_1.pth", "time/b.json", "time/vis_data/scalars.json", "time/vis_data/123/meta.yaml",
                 "time/vis_data/artifacts/x.py"):  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    backend = MLflowVisBackend(str(store))
    backend.add_config({"work_dir": str(tmp_path)})
    backend.close()
    uploaded = [(Path(args[0]).relative_to(tmp_path.resolve()).as_posix(), args[1])
                for args, _ in mlflow.named("log_artifact")]  # fmt: skip
    assert uploaded == [
        ("a.log", None), ("time/b.json", "time"), ("time/vis_data/scalars.json", "time/vis_data"),
    ]  # fmt: skip
    assert mlflow.calls[-1][0] == "end_run"


def test_missing_package_is_named_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    backend = VISBACKENDS.build({"type": "MLflowVisBackend", "save_dir": str(tmp_path)})
    for _ in range(2):
        with pytest.raises(MissingPackageError, match='pip install "mlflow"'):
            backend.add_scalar("a", 1)
