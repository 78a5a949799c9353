"""Schedules inside a run: what each counts, what is refused before the first step, and a resume."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import assert_same_weights, build, only_training, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.hooks import Hook
from drivetrain.optim import OptimWrapper, schedule_values

ACCUMULATING = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 3}
BY_UPDATE = {"type": "CosineAnnealingLR", "by": "update"}
PLATEAU = {
    "type": "ReduceOnPlateauLR",
    "monitor": "accuracy",
    "rule": "greater",
    "patience": 0,
    "threshold": 2.0,
    "threshold_rule": "abs",
}


class Rates(Hook):
    """Keeps the rate of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.found.append(runner.optim_wrapper.get_lr()["lr"][0])


def rates_of_run(work_dir: Path, **changes: Any) -> list[float]:
    rates = Rates()
    build(work_dir, custom_hooks=[rates], **changes).train()
    return rates.found


def test_a_run_uses_the_values_that_were_foretold(tmp_path: Path) -> None:
    schedules = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4},
        {"type": "CosineAnnealingLR", "by_epoch": True, "begin": 1, "convert_to_iter_based": True},
        {"type": "MultiStepLR", "milestones": [2]},
    ]
    found = rates_of_run(tmp_path, param_scheduler=schedules)
    assert found == schedule_values(schedules, max_epochs=3, epoch_length=5)["lr"]


def test_a_schedule_by_update_ends_with_the_last_update_of_the_run(tmp_path: Path) -> None:
    found = rates_of_run(tmp_path, param_scheduler=BY_UPDATE, optim_wrapper=ACCUMULATING)
    assert found == schedule_values(BY_UPDATE, max_epochs=3, epoch_length=5, optimizer=ACCUMULATING)["lr"]
    assert len(set(found)) == 5


class Overflowing(OptimWrapper):
    """Leaves out every third update, as a scaler does when gradients overflow."""

    calls = 0

    def update_params(self, loss: Any, step_kwargs: Any = None, zero_kwargs: Any = None) -> None:
        self.calls += 1
        self.step_skipped = self.calls % 3 == 0
        if not self.step_skipped:
            super().update_params(loss, step_kwargs, zero_kwargs)
        else:
            self.backward(self.scale_loss(loss))
            self.zero_grad()
            self.updated = False


@pytest.mark.parametrize("by", ["iteration", "update"])
def test_a_skipped_update_holds_the_schedule(tmp_path: Path, by: str) -> None:
    schedule = {"type": "LinearLR", "start_factor": 0.1, "end": 10, "by": by}
    rates = Rates()
    runner = build(tmp_path, custom_hooks=[rates], param_scheduler=schedule)
    runner.optim_wrapper = Overflowing(torch.optim.SGD(runner.model.parameters(), lr=0.1))
    runner.train()
    assert [left == right for left, right in zip(rates.found, rates.found[1:], strict=False)][:9] == [
        False, False, True, False, False, True, False, False, True
    ]  # fmt: skip


def test_a_plateau_is_stepped_after_each_validation(tmp_path: Path) -> None:
    found = rates_of_run(tmp_path, param_scheduler=PLATEAU)
    assert found == [0.1] * 10 + [pytest.approx(0.01)] * 5


def test_a_plateau_resumes_where_it_was_without_a_warning(tmp_path: Path) -> None:
    checkpoint = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    whole = build(tmp_path / "whole", param_scheduler=PLATEAU, train_cfg={"max_epochs": 4}, default_hooks=checkpoint)
    whole.train()
    first = build(tmp_path / "part", param_scheduler=PLATEAU, train_cfg={"max_epochs": 2}, default_hooks=checkpoint)
    first.train()
    second = build(
        tmp_path / "part", param_scheduler=PLATEAU, train_cfg={"max_epochs": 4}, default_hooks=checkpoint,
        resume=True, log_level="WARNING",
    )  # fmt: skip
    second.train()
    assert_same_weights(weights_of(whole), weights_of(second))
    assert whole.param_schedulers[0].state_dict() == second.param_schedulers[0].state_dict()
    logs = "".join(path.read_text() for path in tmp_path.glob("part/*/*.log"))
    assert "goes on as it was saved" not in logs


class StopAt(Hook):
    """Ends the run before a step, as a kill does."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [6, 7])
def test_a_schedule_by_update_resumes_at_the_border_of_a_window_and_inside_one(tmp_path: Path, stop: int) -> None:
    def run(name: str, *hooks: Any, resume: bool = False) -> list[float]:
        rates = Rates()
        runner = build(
            tmp_path / name, custom_hooks=[rates, *hooks], param_scheduler=BY_UPDATE, optim_wrapper=ACCUMULATING,
            train_cfg={"by_epoch": False, "max_iters": 14, "val_interval": 100}, resume=resume,
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}},
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            runner.train()
        return rates.found

    whole = run("whole")
    run("part", StopAt(stop))
    assert run("part", resume=True) == whole[stop:]


@pytest.mark.parametrize(
    ("schedule", "changes", "error", "message"),
    [
        ({**BY_UPDATE, "by_epoch": True}, {}, ArgumentError, "by='update' and by_epoch=True contradict each other"),
        ({**BY_UPDATE, "convert_to_iter_based": True, "end": 9}, {}, ArgumentError, "by says otherwise"),
        ({"type": "LinearLR", "begin": 9, "end": 4}, {}, ArgumentError, "begin=9, end=4"),
        ({"type": "LinearLR", "by_epochs": False}, {}, ArgumentTypeError, "Did you mean 'by_epoch'"),
        ({"type": "OneCycleLR"}, {}, ArgumentError, "eta_max, the peak, must be given"),
        (PLATEAU, only_training(), ArgumentError, "a ReduceOnPlateauLR, which waits for .* a validation, .* has none"),
    ],
)
def test_a_wrong_schedule_stops_the_run_before_its_first_step(
    tmp_path: Path, schedule: dict[str, Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    rates = Rates()
    with pytest.raises(error, match=message):
        build(tmp_path, custom_hooks=[rates], param_scheduler=schedule, **changes).train()
    assert rates.found == []


def test_a_metric_that_the_validation_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"'acuracy', and the validation gave 'accuracy'\. Did you mean"):
        build(tmp_path, param_scheduler={**PLATEAU, "monitor": "acuracy"}).train()
