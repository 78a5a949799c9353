"""What the backends of other trackers write, against small stand-ins for their packages."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.config import Config
from drivetrain.errors import ArgumentError, MissingPackageError
from drivetrain.registry import VISBACKENDS
from drivetrain.visualization import ClearMLVisBackend, DVCLiveVisBackend


class Recorder:
    """Keeps the calls of its methods, whatever they are."""

    def __init__(self, calls: list[Any], **attributes: Any) -> None:
        self.calls = calls
        for name, value in attributes.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, *args, *([kwargs] if kwargs else [])))


CONFIG = Config({"optim": {"lr": 0.1, "steps": (1, 2)}, "place": Path("a"), "nothing": None})
PLAIN = {"optim": {"lr": 0.1, "steps": [1, 2]}, "place": "a", "nothing": None}


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder([], _dvc_repo=object(), step=None)
    module = types.ModuleType("dvclive")
    module.Live = lambda **options: recorder.calls.append(("Live", options)) or recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dvclive", module)
    return recorder


def work_dir(folder: Path) -> Path:
    for file in ("a.log", "b.json", "sub/c.py", "sub/d.pth", "vis/own.json"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder.resolve()


def test_dvclive_writes_in_the_save_dir_with_the_options_given(live: Recorder, tmp_path: Path) -> None:
    DVCLiveVisBackend(str(tmp_path)).close()
    assert live.calls == []
    backend = DVCLiveVisBackend(str(tmp_path), init_kwargs={"save_dvc_exp": False})
    assert backend.experiment is live
    assert live.calls == [("Live", {"dir": str(tmp_path), "save_dvc_exp": False})]


def test_dvclive_gets_plain_parameters_numbers_of_the_step_and_images(live: Recorder, tmp_path: Path) -> None:
    backend = DVCLiveVisBackend(str(tmp_path))
    backend.add_config(CONFIG)
    backend.add_scalar("loss", torch.tensor(0.5), 3)
    assert live.step == 3
    with pytest.warns(UserWarning, match="DVCLive takes numbers: left out 'v'"):
        backend.add_scalars({"a": np.int64(1), "v": [1, 2]}, 4)
    assert live.step == 4
    backend.add_image("im", np.zeros((4, 5), np.uint8), 5)
    assert live.calls[1:4] == [("log_params", PLAIN), ("log_metric", "loss", 0.5), ("log_metric", "a", 1)]
    assert live.calls[4][:2] == ("log_image", "im_5.png") and live.calls[4][2].shape == (4, 5, 3)


@pytest.mark.parametrize("repository", [object(), None])
def test_dvclive_adds_artifacts_where_there_is_a_repository(live: Recorder, tmp_path: Path, repository: Any) -> None:
    top = work_dir(tmp_path)
    live._dvc_repo = repository
    backend = DVCLiveVisBackend(str(tmp_path / "vis"))
    backend.add_config({"work_dir": str(tmp_path)})
    live.calls.clear()
    backend.close()
    added = [("log_artifact", str(top / "b.json")), ("log_artifact", str(top / "sub" / "c.py"))]
    assert live.calls == [*(added if repository else []), ("end",)]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    calls: list[Any] = []
    recorder = Recorder(calls, get_logger=lambda: Recorder(calls))
    module = types.ModuleType("clearml")
    module.Task = types.SimpleNamespace(  # type: ignore[attr-defined]
        init=lambda **options: calls.append(("init", options)) or recorder
    )
    monkeypatch.setitem(sys.modules, "clearml", module)
    return recorder


def test_clearml_task_gets_config_numbers_and_images_of_their_steps(task: Recorder) -> None:
    ClearMLVisBackend().close()
    assert task.calls == []
    backend = VISBACKENDS.build({"type": "ClearMLVisBackend", "init_kwargs": {"project_name": "p"}})
    assert backend.experiment is sys.modules["clearml"]
    backend.add_config(CONFIG)
    backend.add_scalars({"loss": torch.tensor(0.5), "a": True}, 3)
    backend.add_image("im", np.zeros((4, 5, 3), np.uint8), 5)
    backend.close()
    assert task.calls[:2] == [("init", {"project_name": "p"}), ("connect_configuration", PLAIN)]
    assert task.calls[2:4] == [
        ("report_scalar", {"title": "loss", "series": "loss", "value": 0.5, "iteration": 3}),
        ("report_scalar", {"title": "a", "series": "a", "value": True, "iteration": 3}),
    ]
    assert task.calls[4][1]["iteration"] == 5 and task.calls[4][1]["image"].shape == (4, 5, 3)
    assert task.calls[5:] == [("close",)]


def test_clearml_uploads_the_files_of_the_work_dir_with_their_folders(task: Recorder, tmp_path: Path) -> None:
    top = work_dir(tmp_path)
    backend = ClearMLVisBackend(artifact_suffix=".py")
    backend.add_config({"work_dir": str(tmp_path)})
    backend.close()
    assert task.calls[2:] == [("upload_artifact", "sub/c.py", str(top / "sub" / "c.py")), ("close",)]


@pytest.mark.parametrize(("kind", "package"), [(DVCLiveVisBackend, "dvclive"), (ClearMLVisBackend, "clearml")])
def test_missing_package_is_named_and_a_step_among_the_numbers_refused(
    kind: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: Recorder, task: Recorder
) -> None:
    with pytest.raises(ArgumentError, match="'step'"):
        kind(save_dir=str(tmp_path)).add_scalars({"step": 1})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f'pip install "{package}"'):
        kind(save_dir=str(tmp_path)).add_scalar("a", 1)
