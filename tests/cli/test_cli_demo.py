"""The command line: what it suggests, and that the demo's promises hold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from drivetrain.cli import _demo, main


def options(work_dir: Path, **changes) -> argparse.Namespace:
    return argparse.Namespace(
        **{"work_dir": str(work_dir), "epochs": 12, "workers": 0, "seed": 0, "resume": False, **changes}
    )


def write_scalars(work_dir: Path, start: str, rows: list[dict[str, float]]) -> None:
    folder = work_dir / start / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def curve_of(work_dir: Path) -> dict[str, list[tuple[int, float]]]:
    return _demo.read_curve(SimpleNamespace(work_dir=str(work_dir)))


def test_one_seed_gives_one_set_of_first_weights(tmp_path, capsys):
    first, second, other = (
        _demo.build_runner(options(tmp_path / name, seed=seed)).model.state_dict()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_resumed_start_goes_on_with_the_curve_and_repeats_no_point(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [{"step": 10, "loss": 2.0}, {"step": 1, "accuracy": 0.5}])
    write_scalars(
        tmp_path,
        "20260101_000100",
        [{"step": 1, "accuracy": 0.5}, {"step": 20, "loss": 1.0}, {"step": 2, "accuracy": 0.7}],
    )
    assert curve_of(tmp_path) == {"loss": [(10, 2.0), (20, 1.0)], "accuracy": [(1, 0.5), (2, 0.7)]}


def test_a_fresh_start_in_the_same_folder_begins_a_new_curve(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}])
    write_scalars(tmp_path, "20260101_000100", [{"step": 10, "loss": 3.0}])
    assert curve_of(tmp_path)["loss"] == [(10, 3.0)]


def test_the_suggested_commands_name_the_work_dir_that_was_used(tmp_path):
    assert f"--work-dir {tmp_path}" in _demo.suggestions(options(tmp_path))
    assert "--work-dir" not in _demo.suggestions(options(Path("work_dirs/demo")))


def test_a_misspelt_command_is_answered_with_the_right_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["dmeo"])
    assert "Did you mean 'demo'?" in capsys.readouterr().err


def test_an_interrupted_run_ends_without_a_traceback_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(_runner):
        raise KeyboardInterrupt

    monkeypatch.setattr("drivetrain.runner.Runner.train", interrupted)
    assert main(["demo", "--work-dir", str(tmp_path)]) == 130
    assert f"drivetrain demo --resume --work-dir {tmp_path}" in capsys.readouterr().err


def test_an_unwritable_folder_is_an_error_of_one_line(capsys):
    assert main(["demo", "--work-dir", "/proc/nowhere/run"]) == 1
    assert capsys.readouterr().err.startswith("drivetrain demo: ")
