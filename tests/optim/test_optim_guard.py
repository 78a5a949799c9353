"""Updates whose gradients are not finite can be left out, with any optimizer and either kind of clipping."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.logging import MessageHub
from drivetrain.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, OptimWrapper, OptimWrapperDict

CLIPS = [None, {"max_norm": 1.0}, {"type": "value", "clip_value": 0.5}]
BAD = [float("nan"), float("inf"), -float("inf")]


def wrapped(clip: Any = None, kind: Any = torch.optim.AdamW, **settings: Any) -> tuple[nn.Linear, OptimWrapper]:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    wrapper = OptimWrapper(kind(model.parameters(), lr=0.1, **settings), clip_grad=clip)
    wrapper.message_hub = MessageHub("guard")
    wrapper.skip_non_finite = True
    return model, wrapper


def loss_of(model: nn.Module, factor: float) -> Tensor:
    return model(torch.ones(1, 2)).sum() * factor


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("fused", [False, True])
@given(factors=st.lists(st.sampled_from([1.0, 2.0, *BAD]), min_size=1, max_size=8))
def test_a_run_with_bad_gradients_is_the_run_without_their_steps(clip: Any, fused: bool, factors: list[float]) -> None:
    (model, wrapper), (other_model, other) = wrapped(clip, fused=fused), wrapped(clip, fused=fused)
    updated = []
    for factor in factors:
        wrapper.update_params(loss_of(model, factor))
        updated.append(wrapper.updated)
        if factor not in BAD[1:] and factor == factor:
            other.update_params(loss_of(other_model, factor))
    good = [abs(factor) < 3 for factor in factors]
    assert updated == good and wrapper.updates == other.updates == sum(good)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other_model.parameters(), strict=True))
    if not all(good):
        assert wrapper.message_hub.get_scalar("train/skipped_steps").current() == len(good) - sum(good)


@pytest.mark.parametrize("settings", [{}, {"fused": True}])
def test_one_flag_is_read_for_each_update_and_nothing_else(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    model, wrapper = wrapped({"max_norm": 1.0}, torch.optim.SGD, **settings)
    read = []
    original = Tensor.__bool__
    monkeypatch.setattr(Tensor, "__bool__", lambda self: read.append(1) or original(self))
    for method in ("item", "tolist", "cpu", "numpy", "__float__"):
        monkeypatch.setattr(Tensor, method, None)
    for _ in range(3):
        wrapper.update_params(loss_of(model, 1.0))
    assert len(read) == 3


@pytest.mark.parametrize(("clip", "moved"), [(CLIPS[1], 1.0), (CLIPS[2], 0.5 * 3**0.5), (None, 5 * 3**0.5)])
def test_the_guard_clips_as_the_step_without_it(clip: Any, moved: float) -> None:
    model, wrapper = wrapped(clip, torch.optim.SGD)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    wrapper.update_params(loss_of(model, 5.0))
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.1 * moved, rel=1e-4)


def test_how_many_were_left_out_in_a_row_is_known() -> None:
    model, wrapper = wrapped()
    seen = []
    for factor in (1.0, BAD[0], BAD[1], 1.0, BAD[0]):
        wrapper.update_params(loss_of(model, factor))
        seen.append((wrapper.skipped_in_row, wrapper.step_skipped))
    assert seen == [(0, False), (1, True), (2, True), (0, False), (1, True)]


def test_one_bad_loss_spoils_its_window_and_no_other() -> None:
    model, wrapper = wrapped()
    wrapper._accumulative_counts = 2
    updated = []
    for factor in (1.0, BAD[0], 1.0, 1.0):
        wrapper.update_params(loss_of(model, factor))
        updated.append(wrapper.updated)
    assert updated == [False, False, False, True]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_without_the_guard_nothing_is_looked_at() -> None:
    model, wrapper = wrapped()
    wrapper.skip_non_finite = False
    wrapper.update_params(loss_of(model, BAD[0]))
    assert wrapper.updated and torch.isnan(model.weight).all()


def test_the_guard_of_several_is_set_at_once_and_their_skips_add_up() -> None:
    (first_model, first), (_, second) = wrapped(), wrapped()
    first.skip_non_finite = second.skip_non_finite = False
    second.message_hub = first.message_hub
    wrappers = OptimWrapperDict(gen=first, dis=second)
    assert wrappers.skip_non_finite is False and wrappers.step_skipped is False
    wrappers.skip_non_finite = True
    assert first.skip_non_finite and second.skip_non_finite and wrappers.skip_non_finite
    first.update_params(loss_of(first_model, BAD[0]))
    assert wrappers.step_skipped and wrappers.skipped_in_row == 1
    assert first.message_hub.get_info("skipped_steps") == 1


@pytest.mark.parametrize("fused", [False, True])
def test_a_fused_optimizer_tells_of_an_overflow_as_any_other(fused: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, fused=fused),
        dtype="float16",
        loss_scale={"init_scale": 16.0},
    )
    wrapper.message_hub = MessageHub("overflow")
    updated = []
    for factor in (1.0, float("inf"), float("inf"), 1.0):
        before = copy.deepcopy(model.state_dict())
        with wrapper.optim_context(model):
            loss = loss_of(model, factor).float()
        wrapper.update_params(loss)
        updated.append(wrapper.updated)
        assert torch.equal(before["weight"], model.weight) is not wrapper.updated
    assert updated == [True, False, False, True] and wrapper.updates == 2
    assert wrapper.message_hub.get_scalar("train/skipped_steps").data[0].tolist() == [1, 2]
    assert wrapper.loss_scaler is not None and wrapper.loss_scaler.get_scale() == 4.0


@given(factors=st.lists(st.sampled_from([1.0, 3.0, *BAD]), min_size=2, max_size=10), data=st.data())
@pytest.mark.parametrize("fused", [False, True])
def test_scaler_optimizer_and_schedules_saved_anywhere_go_on_bitwise(
    fused: bool, factors: list[float], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(factors) - 1))
    counts = data.draw(st.integers(1, 3))

    def start() -> tuple[nn.Linear, AmpOptimWrapper, list[Any]]:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        wrapper = AmpOptimWrapper(
            optimizer=torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused),
            dtype="float16",
            loss_scale={"init_scale": 16.0, "growth_interval": 2},
            clip_grad={"max_norm": 2},
            accumulative_counts=counts,
        )
        wrapper.initialize_count_status(model, 0, len(factors))
        schedules = [LinearLR(wrapper, end=3, by_epoch=False), CosineAnnealingLR(wrapper, T_max=9, by_epoch=False)]
        return model, wrapper, schedules

    def step(model: nn.Module, wrapper: OptimWrapper, schedules: list[Any], factor: float) -> None:
        with wrapper.optim_context(model):
            loss = loss_of(model, factor).float()
        wrapper.update_params(loss)
        if wrapper.updated:
            for schedule in schedules:
                schedule.step()

    (model, wrapper, schedules), (other_model, other, others) = start(), start()
    for index, factor in enumerate(factors):
        if index == cut:
            other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
            other_model.load_state_dict(model.state_dict())
            for ours, theirs in zip(others, schedules, strict=True):
                ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
            for ours, theirs in zip(other_model.parameters(), model.parameters(), strict=True):
                ours.grad = None if theirs.grad is None else theirs.grad.clone()
            other.initialize_count_status(other_model, cut, len(factors))
        step(model, wrapper, schedules, factor)
        if index >= cut:
            step(other_model, other, others, factor)
            assert other.updated is wrapper.updated and other.get_lr() == wrapper.get_lr()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other_model.parameters(), strict=True))
    assert other.updates == wrapper.updates and other.loss_scaler is not None and wrapper.loss_scaler is not None
    assert other.loss_scaler.state_dict() == wrapper.loss_scaler.state_dict()
