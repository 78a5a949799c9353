"""IterTimerHook: times, what remains, epochs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drivetrain.hooks import IterTimerHook
from drivetrain.hooks import iter_timer_hook as module
from drivetrain.logging import MessageHub


class Clock:
    """Stands in for the module `time`."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(module, "time", clock := Clock())
    return clock


@pytest.fixture
def runner() -> Any:
    return SimpleNamespace(
        message_hub=MessageHub.get_instance("timer"),
        iter=3,
        epoch=1,
        max_iters=26,
        val_dataloader=range(8),
        test_dataloader=range(8),
    )


def step(hook: IterTimerHook, runner: Any, clock: Clock, mode: str, batch_idx: int) -> None:
    clock.now += 1
    getattr(hook, f"before_{mode}_iter")(runner, batch_idx)
    clock.now += 2
    getattr(hook, f"after_{mode}_iter")(runner, batch_idx)


def test_a_step_has_a_waiting_time_inside_its_time(clock: Clock, runner: Any) -> None:
    hook = IterTimerHook()
    hook.before_train_epoch(runner)
    step(hook, runner, clock, "train", 0)
    assert runner.message_hub.get_scalar("train/data_time").current() == 1.0
    assert runner.message_hub.get_scalar("train/time").current() == 3.0


def test_eta_of_training_counts_the_steps_of_this_process(clock: Clock, runner: Any) -> None:
    hook = IterTimerHook()
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    etas = []
    for runner.iter in (3, 4, 5):
        step(hook, runner, clock, "train", runner.iter)
        etas.append(runner.message_hub.get_info("eta"))
    assert etas == [66.0, 63.0, 60.0]
    assert (hook.start_iter, hook.time_sec_tot) == (3, 9.0)


@pytest.mark.parametrize("mode", ["val", "test"])
def test_eta_of_an_evaluation_counts_its_batches(clock: Clock, runner: Any, mode: str) -> None:
    hook = IterTimerHook()
    for _ in range(2):
        getattr(hook, f"before_{mode}_epoch")(runner)
        step(hook, runner, clock, mode, 0)
        step(hook, runner, clock, mode, 1)
        assert runner.message_hub.get_info("eta") == 18.0
        getattr(hook, f"after_{mode}_epoch")(runner, {})
    assert hook.time_sec_tot == 0


def test_time_between_epochs_is_not_a_steps_time(clock: Clock, runner: Any) -> None:
    hook = IterTimerHook()
    clock.now += 1000
    hook.before_train_epoch(runner)
    step(hook, runner, clock, "train", 0)
    assert hook.time_sec_tot == 3.0


def test_a_loader_without_length_gives_no_eta(clock: Clock, runner: Any) -> None:
    runner.val_dataloader = iter([])
    hook = IterTimerHook()
    hook.before_val_epoch(runner)
    step(hook, runner, clock, "val", 0)
    assert runner.message_hub.get_info("eta") is None


def test_the_epoch_window_begins_with_the_epoch_and_goes_on_after_a_resume(clock: Clock, runner: Any) -> None:
    hook, hub = IterTimerHook(), runner.message_hub
    for runner.epoch, value in ((1, 1.0), (1, 3.0), (2, 5.0)):
        hook.before_train_epoch(runner)
        hub.update_scalar("train/x", value)
        seen = hub.get_scalar("train/x").mean("epoch")
        assert seen == {1.0: 1.0, 3.0: 2.0, 5.0: 5.0}[value]
    for value in (1.0, 2.0):
        hook.before_val_epoch(runner)
        hub.update_scalar("val/x", value)
        assert hub.get_scalar("val/x").mean("epoch") == value
    assert hub.get_scalar("train/x").mean("epoch") == 5.0
