from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import optim
from drivetrain.errors import ArgumentError, MissingPackageError, OutOfRangeError
from drivetrain.optim import OptimWrapper, draw_schedules, schedule_values

WARMUP = {"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "end": 3}
STEPS = {"type": "MultiStepLR", "milestones": [2], "by_epoch": True}
COSINE = {"type": "CosineAnnealingLR", "by_epoch": True, "convert_to_iter_based": True}
PLATEAU = {"type": "ReduceOnPlateauLR", "monitor": "m", "patience": 0, "factor": 0.5}


def test_values_are_those_of_each_iteration() -> None:
    values = schedule_values([WARMUP, STEPS], max_epochs=3, epoch_length=2, optimizer={"lr": 1.0})
    assert values == {"lr": [0.5, 0.75, 1.0, 1.0, 0.1, 0.1]}


def test_without_an_epoch_length_values_are_those_of_each_epoch() -> None:
    assert schedule_values(STEPS, max_epochs=4, optimizer={"lr": 1.0}) == {"lr": [1.0, 1.0, 0.1, 0.1]}


def test_an_end_that_is_not_given_is_the_end_of_the_run() -> None:
    values = schedule_values(COSINE, max_epochs=4, epoch_length=5, optimizer={"lr": 1.0})["lr"]
    assert len(values) == 20 and values[10] == pytest.approx(0.5)


def test_every_setting_that_is_steered_is_there() -> None:
    decay = {"type": "LinearParamScheduler", "param_name": "weight_decay", "start_factor": 0.5, "end": 2}
    momentum = {"type": "ConstantMomentum", "factor": 0.5, "end": 2}
    values = schedule_values(
        [decay, momentum], max_epochs=3, optimizer={"type": "AdamW", "lr": 1.0, "weight_decay": 0.2}
    )
    assert values == {"lr": [1.0] * 3, "weight_decay": [0.1, 0.2, 0.2], "momentum": [0.45, 0.9, 0.9]}


def test_a_schedule_by_update_moves_once_a_window() -> None:
    by_update = {"type": "LinearLR", "start_factor": 0.5, "end": 3, "by": "update"}
    wrapper = {"optimizer": {"lr": 1.0}, "accumulative_counts": 2}
    values = schedule_values(by_update, max_iters=7, optimizer=wrapper)
    assert values == {"lr": [0.5, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0]}


def test_a_schedule_that_waits_is_shown_the_metrics_of_each_epoch() -> None:
    metrics = [{"m": 1.0}, {"m": 1.0}]
    values = schedule_values(PLATEAU, max_epochs=4, optimizer={"lr": 1.0}, metrics=metrics)
    assert values == {"lr": [1.0, 1.0, 0.5, 0.5]}


def test_an_optimizer_is_only_read() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 2.0)]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.1, momentum=0.9))
    optim.LinearLR(wrapper, start_factor=0.1, end=5)
    before = [dict(group) for group in wrapper.param_groups]
    values = schedule_values(STEPS, max_epochs=3, optimizer=wrapper, group=1)
    assert values == {"lr": [2.0, 2.0, 0.2]}
    assert [dict(group) for group in wrapper.param_groups] == before
    with pytest.raises(OutOfRangeError, match="no group 5: the optimizer has 3"):
        schedule_values(STEPS, max_epochs=3, optimizer=wrapper, group=5)


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (STEPS, {}, "give the length of the run: max_epochs"),
        (STEPS, {"max_epochs": 0}, "max_epochs must be a positive int, got 0"),
        (STEPS, {"max_iters": 8}, "needs epoch_length"),
        (WARMUP, {"max_epochs": 2}, "needs epoch_length"),
        (COSINE, {"max_epochs": 2}, "needs epoch_length"),
        ({**STEPS, "by": "update"}, {"max_epochs": 2}, "by='update' and by_epoch=True contradict each other"),
    ],
)
def test_a_length_that_is_missing_is_asked_for(schedule: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        schedule_values(schedule, **arguments)


def test_a_schedule_that_is_built_is_refused() -> None:
    target = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ArgumentError, match="LinearLR is built already and steers another optimizer"):
        schedule_values(optim.LinearLR(target), max_epochs=3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pyparsing's, inside matplotlib
def test_a_picture_is_written(tmp_path: Path) -> None:
    path = draw_schedules([WARMUP, COSINE], tmp_path / "rates.png", max_epochs=3, epoch_length=4)
    assert path == str(tmp_path / "rates.png")
    assert Path(path).read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=r"Drawing schedules needs .*pip install"):
        draw_schedules(STEPS, max_epochs=3)
