"""What each backend writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingPackageError
from drivetrain.registry import VISBACKENDS
from drivetrain.visualization import (
    BaseVisBackend,
    LocalVisBackend,
    TensorboardVisBackend,
    WandbVisBackend,
    force_init_env,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_environment_is_opened_once_and_not_before_use(tmp_path: Path) -> None:
    class Counting(BaseVisBackend):
        opened = 0

        def _init_env(self) -> None:
            self.opened += 1

        @property
        @force_init_env
        def experiment(self) -> Any:
            return "experiment"

        @force_init_env
        def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> Any:
            return name, value, step, kwargs

    backend = Counting(str(tmp_path))
    backend.add_config({})
    backend.close()
    assert backend.opened == 0
    assert backend.experiment == "experiment"
    assert backend.add_scalar("a", 1, step=2, extra=3) == ("a", 1, 2, {"extra": 3})
    assert backend.opened == 1
    assert Counting.add_scalar.__name__ == "add_scalar"


def test_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseVisBackend("x")  # type: ignore[abstract]


def test_backends_are_registered() -> None:
    for backend in (LocalVisBackend, TensorboardVisBackend, WandbVisBackend):
        assert VISBACKENDS.get(backend.__name__) is backend


class TestLocal:
    def test_folder_is_created_on_first_use(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path / "a" / "b"))
        assert not (tmp_path / "a").exists()
        assert backend.experiment is backend
        assert (tmp_path / "a" / "b").is_dir()

    def test_scalars_are_lines_in_the_order_given(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        backend.add_scalar("loss", 0.5, 3)
        backend.add_scalars({"z": 1, "a": 2.5}, step=4)
        backend.add_scalars({"step": 9, "a": 2}, step=4)
        assert (tmp_path / "scalars.json").read_text() == (
            '{"loss": 0.5, "step": 3}\n{"z": 1, "a": 2.5, "step": 4}\n{"step": 9, "a": 2}\n'
        )

    def test_tensors_and_numpy_values_become_plain_numbers(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        values = {"t": torch.tensor(1.5), "one": torch.tensor([2]), "np": np.float32(0.25), "b": np.bool_(True),
                  "many": np.arange(2), "bf": torch.tensor(0.5, dtype=torch.bfloat16), "s": "x", "n": None}  # fmt: skip
        backend.add_scalars(values)
        assert lines(tmp_path / "scalars.json") == [
            {"t": 1.5, "one": 2, "np": 0.25, "b": True, "many": [0, 1], "bf": 0.5, "s": "x", "n": None, "step": 0}
        ]
        assert type(values["t"]) is torch.Tensor and "step" not in values

    def test_second_file_gets_the_same_line(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path), scalar_save_file="all.json")
        backend.add_scalars({"acc": 0.5}, 2, file_path="2024.json")
        assert lines(tmp_path / "all.json") == lines(tmp_path / "2024.json") == [{"acc": 0.5, "step": 2}]

    def test_wrong_second_file_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        with pytest.raises(ArgumentError, match=r"'scalars.json' is the file of all scalars"):
            backend.add_scalars({"acc": 1}, file_path="scalars.json")
        with pytest.raises(ArgumentError, match=r"file_path should end in '.json', got 'a.txt'"):
            backend.add_scalars({"acc": 1}, file_path="a.txt")
        with pytest.raises(ArgumentTypeError, match="`scalar_dict` should be dict, got list"):
            backend.add_scalars([1])  # type: ignore[arg-type]
        assert not (tmp_path / "scalars.json").exists()

    def test_value_that_json_cannot_hold_leaves_no_part_of_a_line(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        backend.add_scalar("a", 1)
        with pytest.raises(ArgumentTypeError, match="JSON holds"):
            backend.add_scalars({"a": 1, "b": object()})
        assert lines(tmp_path / "scalars.json") == [{"a": 1, "step": 0}]

    def test_lines_of_many_threads_stay_whole(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        backend.add_scalar("start", 0)

        def write(name: str) -> None:
            for step in range(50):
                backend.add_scalar(name, 1, step)

        threads = [threading.Thread(target=write, args=(name * 2000,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lines(tmp_path / "scalars.json")) == 101

    def test_killed_process_leaves_whole_lines(self, tmp_path: Path) -> None:
        code = (
            "import sys; from drivetrain.visualization import LocalVisBackend\n"
            f"b = LocalVisBackend({str(tmp_path)!r}); i = 0\n"
            "while True:\n"
            "    b.add_scalars({'loss': i, 'text': 'x' * 5000}, i); i += 1\n"
            "    if i == 20: print('go', flush=True)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        text = (tmp_path / "scalars.json").read_text()
        assert text.endswith("\n") and [line["step"] for line in lines(tmp_path / "scalars.json")][:3] == [0, 1, 2]

    def test_config_is_readable_python(self, tmp_path: Path) -> None:
        LocalVisBackend(str(tmp_path)).add_config({"model": {"type": torch.nn.Linear}, "lr": 0.1})
        namespace: dict[str, Any] = {}
        exec((tmp_path / "config.py").read_text(), {}, namespace)
        assert namespace == {"model": {"type": "torch.nn.modules.linear.Linear"}, "lr": 0.1}

    def test_images_are_png_files_in_rgb_order(self, tmp_path: Path) -> None:
        backend = LocalVisBackend(str(tmp_path))
        red = np.zeros((4, 6, 3), np.uint8)
        red[..., 0] = 255
        backend.add_image("red", red, 3)
        backend.add_image("val/gray", np.full((4, 6), 7, np.uint8))
        assert np.array_equal(np.array(Image.open(tmp_path / "vis_image" / "red_3.png")), red)
        assert (np.array(Image.open(tmp_path / "vis_image" / "val" / "gray_0.png")) == 7).all()
        with pytest.raises(ArgumentTypeError, match="`image` should be ndarray, got NoneType"):
            backend.add_image("none", None)  # type: ignore[arg-type]

    def test_file_names_need_their_endings(self) -> None:
        with pytest.raises(ArgumentError, match=r"scalar_save_file should end in '.json', got 'a.txt'"):
            LocalVisBackend("x", scalar_save_file="a.txt")
        with pytest.raises(ArgumentError, match="config_save_file"):
            LocalVisBackend("x", config_save_file="a.json")


class TestTensorboard:
    def test_events_are_written(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        backend = TensorboardVisBackend(str(tmp_path / "tb"))
        assert not (tmp_path / "tb").exists()
        backend.add_config({"lr": 0.1})
        backend.add_scalar("loss", torch.tensor(0.5), 3)
        backend.add_scalars({"a": np.int64(1), "b": True}, step=4)
        backend.add_image("im", np.zeros((4, 4, 3), np.uint8), 5)
        backend.add_image("gray", np.zeros((4, 4), np.uint8), 5)
        backend.close()
        events = EventAccumulator(str(tmp_path / "tb"))
        events.Reload()
        assert [(e.step, e.value) for e in events.Scalars("loss")] == [(3, 0.5)]
        assert [(e.step, e.value) for e in events.Scalars("a")] == [(4, 1.0)]
        assert set(events.Tags()["images"]) == {"im", "gray"}
        assert events.Tensors("config/text_summary")[0].tensor_proto.string_val == [b"lr = 0.1\n"]

    @pytest.mark.parametrize("value", ["text", None, [1], torch.ones(2)])
    def test_value_that_is_no_number_is_left_out_with_a_warning(self, value: Any, tmp_path: Path) -> None:
        backend = TensorboardVisBackend(str(tmp_path))
        with pytest.warns(UserWarning, match="'x' is left out, it is"):
            backend.add_scalar("x", value)
        backend.close()

    def test_step_among_the_scalars_is_refused(self, tmp_path: Path) -> None:
        backend = TensorboardVisBackend(str(tmp_path))
        with pytest.raises(ArgumentError, match="holds the key 'step'"):
            backend.add_scalars({"a": 1, "step": 2})
        backend.close()

    def test_missing_package_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingPackageError, match=r'pip install "drivetrain\[tensorboard\]"'):
            TensorboardVisBackend(str(tmp_path)).add_scalar("a", 1)

    def test_closing_what_was_never_opened_is_fine(self) -> None:
        TensorboardVisBackend("nowhere").close()
        assert not os.path.exists("nowhere")


class FakeWandb(types.ModuleType):
    """Records the calls that the backend makes."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        for name in ("init", "log", "define_metric", "watch", "finish"):
            setattr(self, name, self._recorder(name))
        self.Image = lambda image: ("image", image.shape)
        self.config = types.SimpleNamespace(update=self._recorder("config.update"))
        self.run = types.SimpleNamespace(log_code=self._recorder("run.log_code"))

    def _recorder(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


class TestWandb:
    def test_nothing_is_opened_before_use(self, wandb: FakeWandb, tmp_path: Path) -> None:
        WandbVisBackend(str(tmp_path)).close()
        assert wandb.calls == []

    def test_run_is_opened_in_the_save_dir_with_its_metrics(self, wandb: FakeWandb, tmp_path: Path) -> None:
        backend = WandbVisBackend(str(tmp_path / "w"), {"project": "p", "mode": "offline"}, {"loss": "min"})
        assert backend.experiment is wandb
        assert (tmp_path / "w").is_dir()
        assert wandb.calls == [
            ("init", (), {"dir": str(tmp_path / "w"), "project": "p", "mode": "offline"}),
            ("define_metric", (), {"name": "loss", "summary": "min"}),
        ]

    def test_metric_definitions_may_be_a_list(self, wandb: FakeWandb, tmp_path: Path) -> None:
        definition = {"name": "acc", "summary": "max", "step_metric": "epoch"}
        assert WandbVisBackend(str(tmp_path), define_metric_cfg=[definition]).experiment is wandb
        assert wandb.calls[1:] == [("define_metric", (), definition)]
        with pytest.raises(ArgumentTypeError, match="define_metric_cfg should be a dict or a list of dicts, got 'acc'"):
            _ = WandbVisBackend(str(tmp_path), define_metric_cfg="acc").experiment  # type: ignore[arg-type]

    def test_calls_reach_the_run(self, wandb: FakeWandb, tmp_path: Path) -> None:
        backend = WandbVisBackend(str(tmp_path), commit=False, log_code_name="code", watch_kwargs={"log": "all"})
        model = torch.nn.Identity()
        backend.add_config({"lr": 0.1})
        backend.add_scalar("loss", torch.tensor(0.5), 3)
        backend.add_scalars({"a": np.int64(1)}, 4, file_path="x.json")
        backend.add_image("im", np.zeros((4, 5, 3), np.uint8), 5)
        backend.add_graph(model, [])
        backend.close()
        assert wandb.calls[1:] == [
            ("config.update", ({"lr": 0.1},), {"allow_val_change": False}),
            ("run.log_code", (), {"name": "code"}),
            ("log", ({"loss": 0.5},), {"commit": False}),
            ("log", ({"a": 1},), {"commit": False}),
            ("log", ({"im": ("image", (4, 5, 3))},), {"commit": False}),
            ("watch", (model,), {"log": "all"}),
            ("finish", (), {}),
        ]

    def test_missing_package_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "wandb", None)
        with pytest.raises(MissingPackageError, match='pip install "wandb"'):
            WandbVisBackend(str(tmp_path)).add_scalar("a", 1)
