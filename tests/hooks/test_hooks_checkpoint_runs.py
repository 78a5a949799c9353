"""Saving in whole runs: the background changes nothing, and a run goes on from the newest file that is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import assert_same_weights, build, weights_of

from drivetrain.checkpoint import _load_checkpoint
from drivetrain.errors import CheckpointError
from drivetrain.runner import Runner


def run(work_dir: Path, epochs: int = 3, train: bool = True, **changes: Any) -> Runner:
    checkpoint = {"type": "CheckpointHook", "interval": 1, "save_best": "accuracy", **changes.pop("checkpoint", {})}
    runner = build(
        work_dir,
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        default_hooks={"checkpoint": checkpoint},
        custom_hooks=[{"type": "EMAHook"}],
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        randomness={"seed": 3},
        **changes,
    )
    if train:
        runner.train()
    return runner


def assert_same(first: Any, second: Any, path: str = "") -> None:
    assert type(first) is type(second), path
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f"{path}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, each in enumerate(first):
            assert_same(each, second[index], f"{path}[{index}]")


def test_files_written_in_the_background_equal_those_written_at_once(tmp_path: Path) -> None:
    now = run(tmp_path / "now")
    later = run(tmp_path / "later", checkpoint={"async_save": True})
    assert_same_weights(weights_of(now), weights_of(later))
    names = sorted(path.name for path in (tmp_path / "now").glob("*.pth"))
    assert names == sorted(path.name for path in (tmp_path / "later").glob("*.pth")) and len(names) == 4
    for name in names:
        first, second = (_load_checkpoint(tmp_path / folder / name) for folder in ("now", "later"))
        for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
            assert_same(first[part], second[part], f"{name}: {part}")
        assert_same(first["drivetrain"]["random"], second["drivetrain"]["random"])


@pytest.mark.parametrize("background", [False, True])
def test_a_run_goes_on_from_the_newest_whole_file_and_ends_the_same(
    tmp_path: Path, background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    checkpoint = {"save_best": None, "async_save": background}
    run(tmp_path / "cut", checkpoint=checkpoint)
    for path, damage in (("epoch_3.pth", 1000), ("epoch_2.pth", 0)):
        content = (tmp_path / "cut" / path).read_bytes()
        (tmp_path / "cut" / path).write_bytes(content[:damage] + content[damage + 1 :])
    resumed = run(tmp_path / "cut", resume=True, train=False, checkpoint=checkpoint)
    paths, resume = [], resumed.resume
    monkeypatch.setattr(resumed, "resume", lambda path: (paths.append(path), resume(path)))
    resumed.train()
    assert paths == [str(tmp_path / "cut" / "epoch_1.pth")]
    assert_same_weights(weights_of(whole), weights_of(resumed))
    log = next((tmp_path / "cut").glob(f"{resumed.timestamp}/*.log")).read_text()
    assert "Refused the checkpoint" in log and "epoch_3.pth: " in log and "epoch_2.pth: " in log


def test_a_run_whose_files_are_all_damaged_does_not_start_anew(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:-1])
    resumed = run(tmp_path, resume=True, train=False)
    with pytest.raises(CheckpointError, match=r"(?s)no checkpoint in .* can be resumed from:.*epoch_2.*resume=False"):
        resumed.train()
    assert resumed.iter == 0
