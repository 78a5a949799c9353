"""EMAHook: when it averages, what is evaluated, and what a checkpoint holds."""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy import ToyData, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentError, CheckpointError
from drivetrain.hooks import EMAHook, Hook


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


def test_a_validation_before_the_first_update_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runner = runner_with(nn.Linear(1, 1))
    hook = EMAHook(begin_iter=4)
    hook.before_run(runner)
    hook.before_val_epoch(runner)
    assert not caplog.messages, "outside of training there is nothing to say"
    hook.before_train(runner)
    for value in (1.0, 2.0, 3.0, 4.0):
        hook.before_val_epoch(runner)
        hook.after_val_epoch(runner)
        step(hook, runner, value)
    assert [text for text in caplog.messages if "made no update yet" in text] == caplog.messages[:1]


def test_a_step_that_did_not_change_the_weights_does_not_advance_the_average() -> None:
    runner = runner_with(nn.Linear(1, 1))
    runner.optim_wrapper = SimpleNamespace(updated=True)
    hook = started(EMAHook(momentum=0.5), runner)
    for value, updated in ((0.0, True), (4.0, False), (4.0, True), (8.0, False)):
        runner.optim_wrapper.updated = updated
        step(hook, runner, value)
    assert int(hook.ema_model.steps) == 2 and weight(hook.ema_model) == 2.0


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


class Watch(Hook):
    """Keeps the trained weights after every step, and the number of updates that the average has made."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []
        self.counts: list[int] = []
        self.hook: Any = None

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.hook = next(hook for hook in runner.hooks if type(hook) is EMAHook)
        self.weights.append(weights_of(runner))
        self.counts.append(int(self.hook.ema_model.steps))


def trained(folder: Any, ema: dict[str, Any], iters: int = 7, **changes: Any) -> tuple[Any, Watch]:
    watch = Watch()
    defaults = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "accumulative_counts": 3}}
    runner = build(
        folder,
        train_dataloader=loader(ToyData(12)),
        train_cfg={"by_epoch": False, "max_iters": iters, "val_interval": 4},
        param_scheduler=None,
        custom_hooks=[{"type": "EMAHook", **ema}, watch],
        **{**defaults, **changes},
    )
    runner.train()
    return runner, watch


def test_inside_an_accumulation_window_the_average_stands_still(tmp_path: Path) -> None:
    _, watch = trained(tmp_path, {"momentum": 0.25}, default_hooks={"checkpoint": None})
    assert watch.counts == [0, 0, 1, 1, 1, 2, 3]  # the last window of the run is a short one
    expected = watch.weights[2]
    for index in (5, 6):
        for name, value in watch.weights[index].items():
            if value.is_floating_point() and "running" not in name:
                expected[name] = torch.lerp(expected[name], value, 0.25)
    averaged = dict(watch.hook.ema_model.module.named_parameters())
    assert all(torch.equal(averaged[name], expected[name]) for name in averaged)


def test_a_skipped_fp16_step_does_not_advance_the_average(tmp_path: Path) -> None:
    # A scale at which every gradient of float16 overflows, halved at each overflow: some steps are skipped, then none.
    wrapper = {
        "type": "AmpOptimWrapper",
        "dtype": "float16",
        "loss_scale": {"init_scale": 2.0**40, "backoff_factor": 2.0**-8},
        "optimizer": {"type": "SGD", "lr": 0.1},
    }
    runner, watch = trained(tmp_path, {}, optim_wrapper=wrapper, default_hooks={"checkpoint": None}, **only_training())
    changed = [
        not torch.equal(a["conv.weight"], b["conv.weight"])
        for a, b in zip(watch.weights, watch.weights[1:], strict=False)
    ]
    made = [after - before for before, after in zip(watch.counts, watch.counts[1:], strict=False)]
    assert [bool(count) for count in made] == changed
    assert watch.counts[0] == 0 and 0 < watch.counts[-1] < 7 and runner.optim_wrapper.updates == watch.counts[-1]


EMA_SETTINGS = st.fixed_dictionaries(
    {
        "ema_type": st.sampled_from(["ExponentialMovingAverage", "StochasticWeightAverage", "MomentumAnnealingEMA"]),
        "interval": st.sampled_from([1, 2]),
        "update_buffers": st.booleans(),
        "begin_iter": st.integers(0, 6),
    }
)


SAVED_EVERY_STEP = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}}


@settings(max_examples=8)
@given(EMA_SETTINGS, st.sampled_from([(1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (2, 2), (4, 2), (6, 2)]))
def test_a_run_saved_at_any_update_and_resumed_equals_one_never_stopped(
    ema: dict[str, Any], place: tuple[int, int]
) -> None:
    cut, window = place
    changes: dict[str, Any] = {
        "default_hooks": SAVED_EVERY_STEP,
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 0.01}, "accumulative_counts": window},
    }
    with tempfile.TemporaryDirectory() as folder:
        whole, first = trained(Path(folder) / "whole", ema, **changes)
        start = str(Path(folder) / "whole" / f"iter_{cut}.pth")
        again, second = trained(Path(folder) / "again", ema, load_from=start, resume=True, **changes)
    assert first.counts[cut:] == second.counts
    assert_same_weights(weights_of(whole), weights_of(again))
    assert_same_weights(first.hook.ema_model.state_dict(), second.hook.ema_model.state_dict())


def test_validation_sees_the_average_and_the_file_holds_it_under_the_models_names(tmp_path: Path) -> None:
    sgd = {"optimizer": {"type": "SGD", "lr": 0.1}}
    runner, watch = trained(tmp_path, {"momentum": 0.25}, optim_wrapper=sgd, default_hooks=SAVED_EVERY_STEP)
    file = torch.load(tmp_path / "iter_7.pth", weights_only=True)
    average, raw = watch.hook.ema_model.state_dict(), weights_of(runner)
    for name in raw:
        if "running" in name or "num_batches" in name:
            continue
        assert torch.equal(file["state_dict"][name], average[f"module.{name}"])
        assert torch.equal(file["ema_state_dict"][f"module.{name}"], raw[name])
    assert int(file["ema_state_dict"]["steps"]) == 7


@pytest.mark.parametrize(("interval", "updates"), [("3it", 3), ("0.5ep", 4)])
def test_its_interval_may_have_a_unit(interval: str, updates: int) -> None:
    runner = runner_with(nn.Linear(2, 2))
    runner.train_dataloader = range(8)
    hook = started(EMAHook(interval=interval), runner)
    assert hook.ema_model.interval == updates


def test_an_interval_in_time_is_refused_since_an_average_counts_updates() -> None:
    with pytest.raises(ArgumentError, match="'10min' is a time, and here steps count"):
        EMAHook(interval="10min")
