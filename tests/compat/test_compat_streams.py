"""Under the alias a run draws random numbers as MMEngine does, unless told otherwise, and says so."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from drivetrain.runner import Runner


class Model(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x


def log_of(work_dir: Path, **randomness: Any) -> tuple[Runner, str]:
    runner = Runner(Model(), str(work_dir), randomness={"seed": 3, **randomness})
    return runner, "".join(path.read_text() for path in sorted(work_dir.rglob("*.log")))


def test_streams_are_mmengines_under_the_alias_and_the_log_says_so_once(alias: ModuleType, tmp_path: Path) -> None:
    runner, log = log_of(tmp_path)
    assert "seed: 3 (streams by worker)" in " ".join(log.split()).replace("seed 3", "seed: 3")
    assert log.count("randomness=dict(streams='sample')") == 1
    runner.set_randomness(seed=4)
    assert runner._randomness_cfg["streams"] == "worker"


@pytest.mark.parametrize("streams", ["sample", "worker"])
def test_given_streams_win_without_a_word(alias: ModuleType, tmp_path: Path, streams: str) -> None:
    runner, log = log_of(tmp_path, streams=streams)
    assert runner._randomness_cfg["streams"] == streams
    assert "Random streams:" not in log


def test_without_the_alias_each_sample_has_its_own(tmp_path: Path) -> None:
    runner, log = log_of(tmp_path)
    assert runner._randomness_cfg["streams"] == "sample"
    assert "Random streams:" not in log
