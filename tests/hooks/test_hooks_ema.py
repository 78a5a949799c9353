"""EMAHook: when it averages, what is evaluated, and what a checkpoint holds."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, CheckpointError
from drivetrain.hooks import EMAHook


class Tied(nn.Module):
    """A model whose two layers share a weight, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(1))


def runner_with(model: nn.Module, resume: bool = False) -> Any:
    return SimpleNamespace(
        model=model, epoch=0, iter=0, max_epochs=3, max_iters=6, _resume=resume, logger=logging.getLogger("ema-hook")
    )


def started(hook: EMAHook, runner: Any) -> EMAHook:
    hook.before_run(runner)
    hook.before_train(runner)
    return hook


def step(hook: EMAHook, runner: Any, value: float) -> None:
    with torch.no_grad():
        for parameter in runner.model.parameters():
            parameter.fill_(value)
    hook.after_train_iter(runner, runner.iter)
    runner.iter += 1
    runner.epoch = runner.iter // 2


def weight(model: nn.Module) -> float:
    return float(next(model.parameters()).flatten()[0].detach())


def test_validation_and_test_see_the_average_and_training_goes_on_with_its_own() -> None:
    runner = runner_with(nn.Linear(2, 2))
    hook = started(EMAHook(momentum=0.25), runner)
    step(hook, runner, 0.0)
    step(hook, runner, 8.0)
    for before, after in (
        (hook.before_val_epoch, hook.after_val_epoch),
        (hook.before_test_epoch, hook.after_test_epoch),
    ):
        before(runner)
        assert weight(runner.model) == 2.0
        after(runner)
        assert weight(runner.model) == 8.0 and weight(hook.ema_model) == 2.0


@pytest.mark.parametrize(
    ("arguments", "updates"),
    [({}, 6), ({"begin_iter": 3}, 4), ({"begin_epoch": 2}, 4), ({"begin_epoch": 1}, 6)],
)
def test_updates_begin_where_they_should(arguments: dict[str, int], updates: int) -> None:
    runner = runner_with(nn.Linear(1, 1))
    hook = started(EMAHook(**arguments), runner)
    for index in range(6):
        step(hook, runner, float(index))
    assert int(hook.ema_model.steps) == updates


def test_before_its_first_update_the_average_is_neither_evaluated_nor_saved() -> None:
    runner = runner_with(nn.Linear(1, 1))
    hook = started(EMAHook(begin_iter=5), runner)
    step(hook, runner, 7.0)
    hook.before_val_epoch(runner)
    assert weight(runner.model) == 7.0
    hook.after_val_epoch(runner)
    checkpoint = {"state_dict": copy.deepcopy(runner.model.state_dict())}
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint["state_dict"]["weight"] == 7.0
    assert checkpoint["ema_state_dict"]["module.weight"] == 7.0 and checkpoint["ema_state_dict"]["steps"] == 0


def saved(hook: EMAHook, runner: Any) -> dict[str, Any]:
    checkpoint = {"state_dict": runner.model.state_dict()}
    hook.before_save_checkpoint(runner, checkpoint)
    return copy.deepcopy(checkpoint)


@pytest.mark.parametrize("update_buffers", [False, True])
def test_a_checkpoint_holds_the_average_under_every_name_and_the_trained_weights_beside(update_buffers: bool) -> None:
    runner = runner_with(Tied())
    hook = started(EMAHook(momentum=0.5, update_buffers=update_buffers), runner)
    step(hook, runner, 0.0)
    runner.model.seen.fill_(4)
    step(hook, runner, 4.0)
    checkpoint = saved(hook, runner)
    state, average = checkpoint["state_dict"], checkpoint["ema_state_dict"]
    assert float(state["first.weight"][0, 0]) == float(state["second.weight"][0, 0]) == 2.0
    assert float(average["module.first.weight"][0, 0]) == float(average["module.second.weight"][0, 0]) == 4.0
    assert float(state["seen"]) == (2.0 if update_buffers else 4.0)
    assert int(average["steps"]) == 2 and weight(runner.model) == 4.0
    assert set(average) == {"steps", "module.first.weight", "module.second.weight", "module.seen"}


def test_a_save_while_the_average_is_in_the_model_holds_the_same() -> None:
    runner = runner_with(nn.Linear(1, 1))
    hook = started(EMAHook(momentum=0.5), runner)
    step(hook, runner, 0.0)
    step(hook, runner, 4.0)
    outside = saved(hook, runner)
    hook.before_val_epoch(runner)
    inside = saved(hook, runner)
    assert outside == inside and outside["state_dict"]["weight"] == 2.0


def test_a_resumed_average_equals_one_never_stopped() -> None:
    whole = runner_with(nn.Linear(1, 1))
    whole_hook = started(EMAHook(momentum=0.5), whole)
    for value in (0.0, 4.0, 6.0):
        step(whole_hook, whole, value)

    first = runner_with(nn.Linear(1, 1))
    hook = started(EMAHook(momentum=0.5), first)
    step(hook, first, 0.0)
    step(hook, first, 4.0)
    checkpoint = saved(hook, first)
    second = runner_with(nn.Linear(1, 1), resume=True)
    hook = EMAHook(momentum=0.5)
    hook.before_run(second)
    hook.after_load_checkpoint(second, checkpoint)
    second.model.load_state_dict(checkpoint["state_dict"])
    hook.before_train(second)
    assert weight(second.model) == 4.0 and weight(hook.ema_model) == 2.0
    step(hook, second, 6.0)
    assert weight(hook.ema_model) == weight(whole_hook.ema_model) and int(hook.ema_model.steps) == 3


def test_a_file_loaded_for_its_weights_alone_gives_the_average_and_starts_a_new_one() -> None:
    first = runner_with(nn.Linear(1, 1))
    hook = started(EMAHook(momentum=0.5), first)
    step(hook, first, 0.0)
    step(hook, first, 4.0)
    checkpoint = saved(hook, first)
    second = runner_with(nn.Linear(1, 1))
    hook = EMAHook(momentum=0.5)
    hook.before_run(second)
    hook.after_load_checkpoint(second, checkpoint)
    second.model.load_state_dict(checkpoint["state_dict"])
    hook.before_test_epoch(second)
    assert weight(second.model) == 2.0
    hook.before_train(second)
    assert int(hook.ema_model.steps) == 0 and weight(hook.ema_model) == 2.0


def test_a_subclass_may_swap_in_the_average_right_after_weights_were_loaded() -> None:
    trained = nn.Linear(2, 2)
    loaded = {f"module.{name}": value.clone() for name, value in trained.state_dict().items()}
    runner = runner_with(nn.Linear(2, 2))
    hook = EMAHook()
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, {"state_dict": {**loaded, "head.weight": torch.ones(1), "bias": torch.ones(7)}})
    runner.model.load_state_dict(trained.state_dict())
    hook._swap_ema_parameters()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in runner.model.state_dict().items())
    assert int(hook.ema_model.steps) == 0


def test_resume_without_an_average_in_the_file_warns(caplog: pytest.LogCaptureFixture) -> None:
    runner = runner_with(nn.Linear(1, 1), resume=True)
    hook = EMAHook()
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, {"state_dict": runner.model.state_dict()})
    assert "no ema_state_dict" in caplog.text


def test_an_average_that_does_not_fit_raises() -> None:
    runner = runner_with(nn.Linear(1, 1), resume=True)
    hook = EMAHook(strict_load=True)
    hook.before_run(runner)
    checkpoint = {"state_dict": runner.model.state_dict(), "ema_state_dict": {"module.weight": torch.ones(1, 1)}}
    with pytest.raises(CheckpointError, match="does not fit this run's EMAHook"):
        hook.after_load_checkpoint(runner, checkpoint)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"begin_iter": -1}, "at least 0, got begin_iter=-1"),
        ({"begin_iter": 1, "begin_epoch": 1}, "not both"),
    ],
)
def test_wrong_begins_raise_at_construction(arguments: dict[str, int], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        EMAHook(**arguments)


@pytest.mark.parametrize("arguments", [{"begin_iter": 7}, {"begin_epoch": 4}])
def test_a_begin_after_the_end_raises_before_training(arguments: dict[str, int]) -> None:
    runner = runner_with(nn.Linear(1, 1))
    hook = EMAHook(**arguments)
    hook.before_run(runner)
    with pytest.raises(ArgumentError, match="nothing is averaged"):
        hook.before_train(runner)
