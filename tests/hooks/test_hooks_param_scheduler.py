from types import SimpleNamespace

import pytest
import torch
from torch import nn

from drivetrain.hooks import ParamSchedulerHook
from drivetrain.optim import AmpOptimWrapper, LinearLR, OptimWrapper


class Counter:
    def __init__(self, by, need_val_args=False):
        self.by, self.by_epoch, self.need_val_args, self.steps = by, by == "epoch", need_val_args, []

    def step(self, *args):
        self.steps.append(args)


class Wrapper(dict):
    """Stands for an optimizer wrapper, or for several when it holds some."""

    updates, updated, step_skipped = 0, True, False

    def should_update(self):
        return True

    def update(self, *, skipped=False, times=1):
        self.updates += 0 if skipped else times
        self.updated, self.step_skipped = not skipped, skipped


def run_of(schedulers, wrapper):
    return SimpleNamespace(schedulers_built=True, param_schedulers=schedulers, optim_wrapper=wrapper)


@pytest.mark.parametrize("several_optimizers", [False, True])
def test_schedules_step_by_what_they_count(several_optimizers):
    by_epoch, by_iter, waiting = Counter("epoch"), Counter("iteration"), Counter("epoch", need_val_args=True)
    chain = [by_epoch, by_iter, waiting]
    wrappers = Wrapper(a=Wrapper(), b=Wrapper())
    runner = run_of({"a": chain[:1], "b": chain[1:]} if several_optimizers else chain, wrappers)
    hook = ParamSchedulerHook()
    hook.after_train_iter(runner, 0)
    assert (len(by_epoch.steps), len(by_iter.steps), len(waiting.steps)) == (0, 1, 0)
    hook.after_train_epoch(runner)
    assert (len(by_epoch.steps), len(by_iter.steps), len(waiting.steps)) == (1, 1, 0)
    hook.after_val_epoch(runner, {"loss": 1.0})
    assert waiting.steps == [({"loss": 1.0},)]


def test_without_schedules_nothing_steps():
    runner = SimpleNamespace(schedulers_built=False, param_schedulers=None)
    ParamSchedulerHook().after_train_iter(runner, 0)
    ParamSchedulerHook().after_train_epoch(runner)
    ParamSchedulerHook().after_val_epoch(runner, {"a": 1})


def test_a_schedule_by_update_steps_once_for_each_update():
    by_update, by_iter = Counter("update"), Counter("iteration")
    wrapper = Wrapper()
    wrapper.updates = 7  # of a run before this one
    runner, hook = run_of([by_update, by_iter], wrapper), ParamSchedulerHook()
    hook.before_train(runner)
    found = []
    for times in (0, 0, 1, 0, 3):  # inside windows, at the end of one, and a step that updates three times
        wrapper.update(times=times)
        hook.after_train_iter(runner, 0)
        found.append(len(by_update.steps))
    assert found == [0, 0, 1, 1, 4]
    assert len(by_iter.steps) == 5


def test_several_schedules_by_update_see_the_same_updates():
    pair, wrapper, hook = [Counter("update"), Counter("update")], Wrapper(), ParamSchedulerHook()
    runner = run_of(pair, wrapper)
    hook.before_train(runner)
    wrapper.update(times=2)
    hook.after_train_iter(runner, 0)
    assert [len(schedule.steps) for schedule in pair] == [2, 2]


def test_each_optimizers_schedules_follow_its_own_updates():
    often, seldom = Counter("update"), Counter("update")
    wrappers = Wrapper(critic=Wrapper(), generator=Wrapper())
    runner, hook = run_of({"critic": [often], "generator": [seldom]}, wrappers), ParamSchedulerHook()
    hook.before_train(runner)
    for iteration in range(6):
        wrappers["critic"].update()
        if iteration % 3 == 2:
            wrappers["generator"].update()
        hook.after_train_iter(runner, 0)
    assert (len(often.steps), len(seldom.steps)) == (6, 2)


def test_an_update_that_was_left_out_advances_nothing_but_epochs():
    schedules, wrapper, hook = (
        [Counter("iteration"), Counter("update"), Counter("epoch")],
        Wrapper(),
        ParamSchedulerHook(),
    )
    runner = run_of(schedules, wrapper)
    hook.before_train(runner)
    for skipped in (True, False, True):
        wrapper.update(skipped=skipped)
        hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    assert [len(schedule.steps) for schedule in schedules] == [1, 1, 1]


def test_inside_the_window_after_a_skipped_update_iterations_count_again():
    schedule, wrapper, hook = Counter("iteration"), Wrapper(), ParamSchedulerHook()
    wrapper.step_skipped, wrapper.should_update = True, lambda: False
    hook.after_train_iter(run_of([schedule], wrapper), 0)
    assert len(schedule.steps) == 1


@pytest.mark.parametrize(("says", "steps"), [(None, 1), (True, 1), (False, 0)])
def test_a_wrapper_that_does_not_count_updates_is_believed(says, steps):
    schedule, wrapper = Counter("update"), SimpleNamespace(**{} if says is None else {"updated": says})
    hook, runner = ParamSchedulerHook(), run_of([schedule], wrapper)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert len(schedule.steps) == steps


def test_with_accumulation_a_real_wrapper_moves_its_schedule_once_a_window():
    weight = nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=1.0), accumulative_counts=3)
    schedule = LinearLR(wrapper, start_factor=0.5, end=3, by="update")
    runner, hook = run_of([schedule], wrapper), ParamSchedulerHook()
    hook.before_train(runner)
    rates = []
    for _ in range(9):
        wrapper.update_params((weight * 0.0).sum())
        rates.append(wrapper.param_groups[0]["lr"])
        hook.after_train_iter(runner, 0)
    assert rates == [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 1.0, 1.0, 1.0]


def test_a_scaler_that_skips_holds_both_kinds_of_schedule():
    weight = nn.Parameter(torch.ones(1))
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD([weight], lr=1.0), dtype="float16", loss_scale="dynamic")
    schedules = [LinearLR(wrapper, start_factor=0.5, end=5, by=by) for by in ("iteration", "update")]
    runner, hook = run_of(schedules, wrapper), ParamSchedulerHook()
    hook.before_train(runner)
    steps = []
    for factor in (0.0, float("inf"), 0.0, 0.0):
        wrapper.update_params((weight * factor).sum())
        hook.after_train_iter(runner, 0)
        steps.append([schedule.last_step for schedule in schedules])
    assert steps == [[1, 1], [1, 1], [2, 2], [3, 3]]
