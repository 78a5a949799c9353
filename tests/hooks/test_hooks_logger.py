"""LoggerHook: when it logs, what it writes, what it copies."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.hooks import LoggerHook


class Recorder:
    """Notes what is called on it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def info(self, line: str) -> None:
        self.calls.append(line)

    def add_scalars(self, tag: dict[str, Any], step: int, file_path: str | None) -> None:
        self.calls.append((step, file_path))

    def close(self) -> None:
        self.calls.append("closed")


class Processor:
    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        return {"loss": 1.0}, f"{mode} {batch_idx}"

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        results = {"n": np.int64(3), "acc": np.float64(0.5), "ok": np.bool_(True), "map": torch.ones(2), "text": "x"}
        results["deep"] = {"a": [np.float32(1.0), None]}
        results["object"] = Path("a")
        return results if with_non_scalar else {"acc": 0.5}, f"{mode} of {batch_idx}"


@pytest.fixture
def runner(tmp_path: Path) -> Any:
    log_dir = tmp_path / "work" / "20260101_000000"
    log_dir.mkdir(parents=True)
    return SimpleNamespace(
        logger=Recorder(),
        visualizer=Recorder(),
        log_processor=Processor(),
        timestamp="20260101_000000",
        work_dir=str(tmp_path / "work"),
        log_dir=str(log_dir),
        experiment_name="run",
        rank=0,
        iter=0,
        epoch=0,
        train_dataloader=range(13),
        val_dataloader=range(7),
        test_dataloader=range(7),
    )


def train(hook: LoggerHook, runner: Any, epochs: int = 1) -> list[str]:
    for _ in range(epochs):
        for batch_idx in range(len(runner.train_dataloader)):
            hook.after_train_iter(runner, batch_idx)
            runner.iter += 1
    return runner.logger.calls


def test_it_logs_every_interval_and_forgets_the_rest_of_the_epoch(runner: Any) -> None:
    lines = train(LoggerHook(interval=5), runner, epochs=2)
    assert lines == ["train 4", "train 9", "Exp name: run"] * 2


def test_it_logs_the_end_of_the_epoch_on_request(runner: Any) -> None:
    lines = train(LoggerHook(interval=5, ignore_last=False), runner)
    assert lines == ["train 4", "train 9", "Exp name: run", "train 12"]


def test_it_logs_the_end_of_an_epoch_shorter_than_the_interval(runner: Any) -> None:
    assert train(LoggerHook(interval=20), runner) == ["Exp name: run", "train 12"]


def test_a_full_last_interval_is_logged_once(runner: Any) -> None:
    runner.train_dataloader = range(10)
    assert train(LoggerHook(interval=5, ignore_last=False), runner) == ["train 4", "Exp name: run", "train 9"]


def test_the_experiment_is_named_every_so_many_steps(runner: Any) -> None:
    lines = train(LoggerHook(interval=100, interval_exp_name=4), runner)
    assert lines.count("Exp name: run") == 4  # steps 4, 8, 12 and the end


def test_scalars_go_to_the_visualizer_with_the_step_from_one(runner: Any) -> None:
    hook = LoggerHook(interval=5)
    hook.before_run(runner)
    train(hook, runner)
    assert runner.visualizer.calls == [(5, "20260101_000000.json"), (10, "20260101_000000.json")]


def test_a_loader_without_length_is_logged_by_interval(runner: Any) -> None:
    runner.train_dataloader = iter(())
    hook = LoggerHook(interval=2)
    for batch_idx in range(5):
        hook.after_train_iter(runner, batch_idx)
    assert runner.logger.calls == ["train 1", "train 3"]


@pytest.mark.parametrize("mode", ["val", "test"])
def test_evaluation_lines_come_every_interval_without_scalars(runner: Any, mode: str) -> None:
    hook = LoggerHook(interval=3)
    for batch_idx in range(7):
        getattr(hook, f"after_{mode}_iter")(runner, batch_idx)
    assert runner.logger.calls == [f"{mode} 2", f"{mode} 5"]
    assert runner.visualizer.calls == []


@pytest.mark.parametrize(("by_epoch", "step"), [(True, 2), (False, 26)])
def test_metrics_are_drawn_over_epochs_or_steps(runner: Any, by_epoch: bool, step: int) -> None:
    runner.epoch, runner.iter = 2, 26
    hook = LoggerHook(log_metric_by_epoch=by_epoch)
    hook.before_run(runner)
    hook.after_val_epoch(runner, {"acc": 0.5})
    assert runner.logger.calls == ["val of 7"]
    assert runner.visualizer.calls == [(step, "20260101_000000.json")]


def test_batches_of_a_validation_without_length_are_counted(runner: Any) -> None:
    runner.val_dataloader = iter(())
    hook = LoggerHook()
    for batch_idx in range(5):
        hook.after_val_iter(runner, batch_idx)
    hook.after_val_epoch(runner)
    assert runner.logger.calls == ["val of 5"]


def test_test_results_are_written_as_one_object_of_plain_values(runner: Any) -> None:
    hook = LoggerHook()
    hook.before_run(runner)
    hook.after_test_epoch(runner, {})
    written = json.loads((Path(runner.log_dir) / "20260101_000000.json").read_text())
    assert written == {
        "n": 3,
        "acc": 0.5,
        "ok": True,
        "map": [1.0, 1.0],
        "text": "x",
        "deep": {"a": [1.0, None]},
        "object": "a",
    }


def test_other_processes_write_no_results(runner: Any) -> None:
    runner.rank = 1
    hook = LoggerHook()
    hook.before_run(runner)
    hook.after_test_epoch(runner, {})
    assert list(Path(runner.log_dir).iterdir()) == []


@pytest.mark.parametrize("keep_local", [True, False])
def test_logs_are_copied_away_when_the_run_ends(runner: Any, tmp_path: Path, keep_local: bool) -> None:
    log_dir = Path(runner.log_dir)
    (log_dir / "vis_data").mkdir()
    for name in ("a.log", "b.json", "c.txt", "vis_data/d.json"):
        (log_dir / name).write_text(name)
    hook = LoggerHook(out_dir=tmp_path / "out", keep_local=keep_local)
    hook.before_run(runner)
    hook.after_run(runner)
    out = tmp_path / "out" / "work"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.log", "b.json", "vis_data/d.json"]
    assert (out / "vis_data" / "d.json").read_text() == "vis_data/d.json"
    assert (log_dir / "a.log").exists() == keep_local and (log_dir / "c.txt").exists()
    assert runner.visualizer.calls == ["closed"]


def test_without_out_dir_the_run_just_ends(runner: Any) -> None:
    LoggerHook().after_run(runner)
    assert runner.visualizer.calls == ["closed"] and runner.logger.calls == []


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"interval": 0}, ArgumentError, "interval must be at least 1"),
        ({"interval": 5.0}, ArgumentTypeError, "interval must be an int"),
        ({"interval": "5"}, ArgumentTypeError, "interval must be an int"),
        ({"interval": "5steps"}, ArgumentError, "Did you mean '5it'"),
        ({"interval_exp_name": -1}, ArgumentError, "interval_exp_name must be at least 1"),
        ({"ignore_last": 3}, ArgumentTypeError, "ignore_last must be a bool"),
        ({"out_dir": 5}, ArgumentTypeError, "out_dir must be a str or Path"),
        ({"file_client_args": {"backend": "disk"}}, ArgumentError, "`out_dir`"),
        ({"out_dir": "x", "file_client_args": {}, "backend_args": {}}, ArgumentError, "give only backend_args"),
    ],
)
def test_bad_arguments_fail_at_once(kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LoggerHook(**kwargs)
