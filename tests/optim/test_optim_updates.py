"""How many updates there have been, and whether the last step ended in one: what schedules and averages go by."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict


def linear(kind: type[OptimWrapper] = OptimWrapper, **settings: Any) -> tuple[nn.Linear, OptimWrapper]:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return model, kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **settings)


def step(model: nn.Module, wrapper: OptimWrapper, factor: float = 1.0) -> bool:
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 2)).float().sum() * factor
    wrapper.update_params(loss)
    return wrapper.updated


@given(counts=st.integers(1, 5), losses=st.integers(1, 16))
def test_a_step_updates_at_the_end_of_a_window_and_of_the_run(counts: int, losses: int) -> None:
    model, wrapper = linear(accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, losses)
    updated = [step(model, wrapper) for _ in range(losses)]
    assert updated == [done % counts == 0 or done == losses for done in range(1, losses + 1)]
    assert wrapper.updates == sum(updated) == -(-losses // counts)


def test_an_overflow_is_no_update() -> None:
    model, wrapper = linear(AmpOptimWrapper, loss_scale={"init_scale": 128.0}, dtype="float16")
    assert [step(model, wrapper, factor) for factor in (1.0, float("inf"), float("nan"), 1.0)] == [
        True, False, False, True
    ]  # fmt: skip
    assert wrapper.updates == 2


def test_the_number_of_updates_survives_a_save_skipped_ones_not_counted() -> None:
    model, wrapper = linear(AmpOptimWrapper, loss_scale={"init_scale": 128.0}, dtype="float16", accumulative_counts=2)
    for factor in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0):
        step(model, wrapper, factor)
    assert wrapper.updates == 2
    other_model, other = linear(
        AmpOptimWrapper, loss_scale={"init_scale": 128.0}, dtype="float16", accumulative_counts=2
    )
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    other.initialize_count_status(other_model, 6, 100)
    assert other.updates == 2


def test_a_state_without_the_number_leaves_it_to_the_losses() -> None:
    model, wrapper = linear(accumulative_counts=3)
    state = wrapper.state_dict()
    del state["updates"]
    wrapper.load_state_dict(state)
    wrapper.initialize_count_status(model, 10, 100)
    assert wrapper.updates == 3


def test_a_step_of_an_own_kind_counts_too() -> None:
    model, wrapper = linear(accumulative_counts=2)
    step(model, wrapper)
    assert wrapper.updated is False
    wrapper.step()
    assert wrapper.updated is True and wrapper.updates == 1


def test_a_loss_counted_from_outside_is_an_update_where_one_is_due() -> None:
    _, wrapper = linear(accumulative_counts=2)
    seen = []
    for _ in range(4):
        wrapper.count_loss()
        seen.append((wrapper.updated, wrapper.updates))
    assert seen == [(False, 0), (True, 1), (False, 1), (True, 2)]


def test_wrappers_of_users_count_as_updated_where_they_say_nothing() -> None:
    class Own(OptimWrapper):
        def update_params(self, loss: Tensor, step_kwargs: Any = None, zero_kwargs: Any = None) -> None:
            loss.backward()
            self.optimizer.step()

    class OwnStep(OptimWrapper):
        def step(self, **kwargs: Any) -> None:
            self.optimizer.step()

    for kind in (Own, OwnStep):
        model, wrapper = linear(kind)
        assert step(model, wrapper) is True


def test_of_several_wrappers_one_update_is_enough() -> None:
    models, members = zip(linear(), linear(accumulative_counts=2), strict=True)
    wrappers = OptimWrapperDict(gen=members[0], dis=members[1])
    step(models[1], members[1])
    members[0].updated = False
    assert wrappers.updated is False and wrappers.updates == 0
    step(models[1], members[1])
    assert wrappers.updated is True and wrappers.updates == 1
    restored = OptimWrapperDict(gen=linear()[1], dis=linear()[1])
    restored.load_state_dict(wrappers.state_dict())
    assert restored["dis"].updates == 1 and restored["gen"].updates == 0


@pytest.mark.parametrize("measured", [False, True])
def test_the_step_as_the_time_split_writes_it_out_counts_alike(measured: bool, tmp_path: Any) -> None:
    from toy import build, only_training

    from drivetrain.hooks import Hook

    seen = []

    class Look(Hook):
        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            seen.append((runner.optim_wrapper.updated, runner.optim_wrapper.updates))

    runner = build(
        tmp_path,
        **only_training(),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 2},
        train_cfg={"by_epoch": False, "max_iters": 5},
        custom_hooks=[Look()],
        time_split=measured,
    )
    runner.train()
    assert seen == [(False, 0), (True, 1), (False, 1), (True, 2), (True, 3)]
