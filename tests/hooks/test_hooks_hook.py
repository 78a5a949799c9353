from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.hooks import DistSamplerSeedHook, Hook, default_hooks


def at(epoch=0, iteration=0, max_epochs=9, max_iters=9):
    return SimpleNamespace(epoch=epoch, iter=iteration, max_epochs=max_epochs, max_iters=max_iters)


def test_there_are_22_points_and_each_is_a_method():
    assert len(Hook.stages) == 22
    assert all(callable(getattr(Hook, stage)) for stage in Hook.stages)


@given(st.integers(0, 100), st.integers(-1, 20), st.integers(0, 30))
def test_every_n_counts_from_start(position, n, start):
    expected = n > 0 and position + 1 >= start and (position + 1 - start) % n == 0
    assert Hook().every_n_epochs(at(epoch=position), n, start) == expected
    assert Hook().every_n_train_iters(at(iteration=position), n, start) == expected


@given(st.integers(0, 100), st.integers(-1, 20))
def test_every_n_inner_iters_counts_the_batches_of_the_epoch(batch_idx, n):
    assert Hook().every_n_inner_iters(batch_idx, n) == (n > 0 and (batch_idx + 1) % n == 0)


def test_the_last_epoch_iteration_and_batch_are_recognised():
    hook = Hook()
    assert hook.is_last_train_epoch(at(epoch=8)) and not hook.is_last_train_epoch(at(epoch=7))
    assert hook.is_last_train_iter(at(iteration=8)) and not hook.is_last_train_iter(at(iteration=7))
    assert hook.end_of_epoch([0] * 5, 4) and not hook.end_of_epoch([0] * 5, 3)


@pytest.mark.parametrize("mode", ["train", "val", "test"])
def test_epoch_and_iteration_points_reach_the_shared_methods_with_their_mode(mode):
    class Shared(Hook):
        def _before_epoch(self, runner, mode="train"):
            seen.append(("before_epoch", mode))

        def _after_epoch(self, runner, mode="train"):
            seen.append(("after_epoch", mode))

        def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
            seen.append(("before_iter", mode))

        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            seen.append(("after_iter", mode))

    seen = []
    hook = Shared()
    getattr(hook, f"before_{mode}_epoch")(None)
    getattr(hook, f"before_{mode}_iter")(None, batch_idx=0)
    getattr(hook, f"after_{mode}_iter")(None, batch_idx=0)
    getattr(hook, f"after_{mode}_epoch")(None)
    assert seen == [(point, mode) for point in ("before_epoch", "before_iter", "after_iter", "after_epoch")]


def test_triggered_stages_are_those_overridden_directly_or_by_the_shared_methods():
    class Some(Hook):
        def after_run(self, runner):
            pass

        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            pass

    assert Some().get_triggered_stages() == ["after_train_iter", "after_val_iter", "after_test_iter", "after_run"]
    assert Hook().get_triggered_stages() == []


def test_default_hooks_are_the_contracts_and_a_bar_only_on_a_terminal():
    assert set(default_hooks()) == {"runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"}


@pytest.mark.parametrize("where", ["sampler", "batch_sampler"])
def test_the_sampler_or_that_of_the_batch_sampler_is_told_the_epoch(where):
    sampler = SimpleNamespace(set_epoch=lambda epoch: seen.append(epoch))
    seen = []
    loader = SimpleNamespace(sampler=object(), batch_sampler=SimpleNamespace(sampler=sampler))
    if where == "sampler":
        loader = SimpleNamespace(sampler=sampler, batch_sampler=None)
    runner = SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader), epoch=4)
    DistSamplerSeedHook().before_train_epoch(runner)
    assert seen == [4]
