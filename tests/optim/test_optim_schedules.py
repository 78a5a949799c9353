from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain import optim
from drivetrain.optim import OptimWrapper

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Constant": {"factor": 0.25, "end": 12},
    "CosineAnnealing": {"T_max": 9, "eta_min": 0.01},
    "Exponential": {"gamma": 0.93},
    "Linear": {"start_factor": 0.1, "end": 10},
    "MultiStep": {"milestones": [3, 8, 8], "gamma": 0.5},
    "Poly": {"power": 0.9, "end": 20},
    "Step": {"step_size": 4, "gamma": 0.3},
    "OneCycle": {"eta_max": 0.4, "total_steps": 30},
    "CosineRestart": {"periods": [4, 6, 9], "restart_weights": [1, 0.5, 0.8], "eta_min_ratio": 0.1},
}
FAMILIES = sorted(ARGUMENTS)
FACTORS = st.floats(min_value=0.01, max_value=1.0)
SPANS = st.integers(min_value=2, max_value=60)


def optimizer(*rates: float, kind: Any = torch.optim.SGD, **settings: Any) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (0.1,)]
    if kind is torch.optim.SGD:
        settings = {"momentum": 0.9, "weight_decay": 0.5, **settings}
    built: torch.optim.Optimizer = kind(groups, lr=0.1, **settings)
    return built


def trace(target: Any, steps: int, *schedules: Any, key: str = "lr") -> list[list[float]]:
    """The values of all groups before each of `steps` steps."""
    values = []
    for _ in range(steps):
        values.append([group[key] for group in target.param_groups])
        for schedule in schedules:
            schedule.step()
    return values


def rates(name: str, steps: int, **arguments: Any) -> list[float]:
    target = optimizer()
    schedule = getattr(optim, f"{name}LR")(target, **arguments)
    return [value for (value,) in trace(target, steps, schedule)]


def closed(curve: Callable[[int], float], begin: int, end: int, steps: int) -> list[float]:
    """`curve(t)` inside the window, the start value before it, the last value after it."""
    inside = [curve(t) for t in range(end - begin)]
    return [0.1 if step < begin else inside[min(step, end - 1) - begin] for step in range(steps)]


@given(start=FACTORS, stop=FACTORS, begin=st.integers(0, 20), span=SPANS)
def test_linear_is_even_from_start_to_end_factor(start: float, stop: float, begin: int, span: int) -> None:
    found = rates("Linear", 90, start_factor=start, end_factor=stop, begin=begin, end=begin + span)
    curve = lambda t: 0.1 * (start + (stop - start) * t / (span - 1))  # noqa: E731
    assert found == pytest.approx(closed(curve, begin, begin + span, 90), rel=1e-9, abs=1e-12)


@given(period=st.integers(1, 40), minimum=st.floats(0.0, 0.09), begin=st.integers(0, 20))
def test_cosine_falls_to_the_minimum_and_rises_again(period: int, minimum: float, begin: int) -> None:
    found = rates("CosineAnnealing", 120, T_max=period, eta_min=minimum, begin=begin, end=110)
    curve = lambda t: minimum + (0.1 - minimum) * (1 + math.cos(math.pi * t / period)) / 2  # noqa: E731
    assert found == pytest.approx(closed(curve, begin, 110, 120), abs=1e-9)


@given(power=st.floats(0.5, 3.0), minimum=st.floats(0.0, 0.09), begin=st.integers(0, 20), span=SPANS)
def test_poly_falls_as_a_power_of_the_steps_left(power: float, minimum: float, begin: int, span: int) -> None:
    found = rates("Poly", 90, power=power, eta_min=minimum, begin=begin, end=begin + span)
    curve = lambda t: minimum + (0.1 - minimum) * (1 - t / (span - 1)) ** power  # noqa: E731
    assert found == pytest.approx(closed(curve, begin, begin + span, 90), abs=1e-9)


@given(gamma=FACTORS, size=st.integers(1, 12), begin=st.integers(0, 20), span=SPANS)
def test_step_and_exponential_multiply_at_every_period(gamma: float, size: int, begin: int, span: int) -> None:
    window = {"begin": begin, "end": begin + span}
    expected = closed(lambda t: 0.1 * gamma ** (t // size), begin, begin + span, 90)
    assert rates("Step", 90, step_size=size, gamma=gamma, **window) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    if size == 1:
        assert rates("Exponential", 90, gamma=gamma, **window) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(milestones=st.lists(st.integers(1, 40), max_size=6), gamma=FACTORS, begin=st.integers(0, 20), span=SPANS)
def test_multi_step_counts_a_milestone_as_often_as_it_is_given(
    milestones: list[int], gamma: float, begin: int, span: int
) -> None:
    found = rates("MultiStep", 90, milestones=milestones, gamma=gamma, begin=begin, end=begin + span)
    curve = lambda t: 0.1 * gamma ** sum(m <= t for m in milestones)  # noqa: E731
    assert found == pytest.approx(closed(curve, begin, begin + span, 90), rel=1e-9)


@given(factor=FACTORS, begin=st.integers(0, 20), span=SPANS)
def test_constant_gives_the_value_back_in_its_last_step(factor: float, begin: int, span: int) -> None:
    found = rates("Constant", 90, factor=factor, begin=begin, end=begin + span)
    curve = lambda t: 0.1 * (factor if t < span - 1 else 1.0)  # noqa: E731
    assert found == pytest.approx(closed(curve, begin, begin + span, 90), rel=1e-9)


@given(
    periods=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    minimum=st.floats(0.0, 0.09),
    weights=st.lists(st.floats(0.1, 2.0), min_size=4, max_size=4),
    begin=st.integers(0, 20),
)
def test_cosine_restart_falls_in_each_period_from_its_own_height(
    periods: list[int], minimum: float, weights: list[float], begin: int
) -> None:
    found = rates(
        "CosineRestart", 90, periods=periods, eta_min=minimum, restart_weights=weights[: len(periods)], begin=begin
    )
    curve = [
        minimum + (0.1 * weight - minimum) * (1 + math.cos(math.pi * t / period)) / 2
        for period, weight in zip(periods, weights, strict=False)
        for t in range(period)
    ]
    assert found == pytest.approx(closed(curve.__getitem__, begin, begin + len(curve), 90), abs=1e-9)


@given(
    peak=st.floats(0.01, 1.0), total=st.integers(4, 60), rise=st.floats(0.1, 0.4), drop=st.floats(1.0, 1e4),
    three=st.booleans(),
)  # fmt: skip
def test_one_cycle_begins_below_its_peak_reaches_it_and_ends_far_below(
    peak: float, total: int, rise: float, drop: float, three: bool
) -> None:
    arguments = {"eta_max": peak, "pct_start": rise, "div_factor": 20.0, "final_div_factor": drop, "three_phase": three}
    found = rates("OneCycle", total + 5, total_steps=total, **arguments)
    assert max(found) <= peak * (1 + 1e-12)
    if rise * total > 1.01:  # a rise of one step begins at the peak
        assert found[0] == pytest.approx(peak / 20)
    assert found[total - 1 :] == pytest.approx([peak / 20 / drop] * 6, rel=1e-9)


def test_one_cycle_sets_values_whatever_the_groups_hold() -> None:
    target = optimizer(0.1, 7.0)
    schedule = optim.OneCycleLR(target, eta_max=[0.2, 0.4], total_steps=10, pct_start=0.3)
    assert [group["initial_lr"] for group in target.param_groups] == [0.2 / 25, 0.4 / 25]
    target.param_groups[0]["lr"] = 5.0
    for _ in range(2):
        schedule.step()
    assert [group["lr"] for group in target.param_groups] == [0.2, 0.4]


def test_one_cycle_that_ends_before_its_window_says_so(logged: list[tuple[str, str]]) -> None:
    optim.OneCycleLR(optimizer(), eta_max=0.2, total_steps=10, begin=1, end=16)
    assert [level for level, _ in logged] == ["WARNING"]
    assert "is over after total_steps=10 and acts for 15 steps" in logged[0][1]


def test_the_state_of_a_one_cycle_of_another_engine_is_taken() -> None:
    schedule = optim.OneCycleLR(optimizer(), eta_max=0.2, total_steps=10)
    schedule.load_state_dict({"last_step": 4, "_global_step": 4, "anneal_func": print, "_schedule_phases": []})
    assert schedule.last_step == 4
    assert schedule.anneal_func(1.0, 3.0, 0.5) == pytest.approx(2.0)
    assert not {"anneal_func", "_schedule_phases"} & set(schedule.state_dict())


def test_the_position_of_a_step_in_its_periods() -> None:
    position = optim.CosineRestartLR.get_position_from_periods
    assert [position(step, [3, 7]) for step in range(8)] == [0, 0, 0, 1, 1, 1, 1, None]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_curve_serves_learning_rate_momentum_and_any_setting(family: str) -> None:
    """All three start from a value of 0.5 and must then be bitwise equal."""
    found = []
    for name, key, extra in (("LR", "lr", {}), ("Momentum", "momentum", {}), ("ParamScheduler", "weight_decay", {})):
        target = optimizer(0.5, momentum=0.5, weight_decay=0.5)
        extra = {"param_name": key} if name == "ParamScheduler" else {}
        schedule = getattr(optim, family + name)(target, **extra, **ARGUMENTS[family])
        found.append(trace(target, 40, schedule, key=key))
    assert found[0] == found[1] == found[2]
    assert found[0] != [[0.5]] * 40


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_is_plain_and_without_the_optimizer(family: str) -> None:
    state = getattr(optim, f"{family}LR")(optimizer(), **ARGUMENTS[family]).state_dict()
    assert "optimizer" not in state
    assert {"last_step", "_global_step", "base_values", "_last_value", "begin", "end", "by_epoch"} <= set(state)
    assert {type(value) for value in state.values()} <= {int, float, bool, str, list, dict, type(None)}


@pytest.mark.parametrize("family", FAMILIES)
@given(length=st.integers(1, 5))
def test_a_schedule_built_from_epochs_is_the_one_given_in_iterations(family: str, length: int) -> None:
    cls = getattr(optim, f"{family}LR")
    in_epochs = {"begin": 2, **ARGUMENTS[family]}
    in_iterations = dict(in_epochs)
    for key in ("begin", "end", "T_max", "step_size", "total_steps"):
        if key in in_iterations:
            in_iterations[key] *= length
    for key in ("milestones", "periods"):
        if key in in_iterations:
            in_iterations[key] = [steps * length for steps in in_iterations[key]]
    first, second = optimizer(), optimizer()
    built = cls.build_iter_from_epoch(first, **in_epochs, epoch_length=length)
    assert built.by_epoch is False
    direct = cls(second, **in_iterations, by_epoch=False)
    assert trace(first, 100, built) == trace(second, 100, direct)


def test_schedules_of_one_setting_multiply() -> None:
    target = optimizer()
    warmup = optim.LinearLR(target, start_factor=0.1, end=11)
    decay = optim.StepLR(target, step_size=5, gamma=0.5)
    found = [value for (value,) in trace(target, 20, warmup, decay)]
    expected = [0.1 * (0.1 + 0.9 * min(t, 10) / 10) * 0.5 ** (t // 5) for t in range(20)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_minimum_may_be_a_share_of_each_groups_start() -> None:
    target = optimizer(0.1, 0.02)
    schedule = optim.CosineAnnealingLR(target, T_max=10, eta_min_ratio=0.1)
    assert trace(target, 11, schedule)[-1] == pytest.approx([0.01, 0.002])


def test_the_period_of_a_cosine_defaults_to_its_window() -> None:
    assert optim.CosineAnnealingLR(optimizer(), begin=3, end=10).T_max == 7


def test_momentum_steers_the_first_beta_where_there_are_betas() -> None:
    target = OptimWrapper(optimizer(0.1, 0.2, kind=torch.optim.AdamW))
    schedule = optim.LinearMomentum(target, start_factor=0.5, end=4)
    schedule.step()
    group = target.optimizer.param_groups[1]
    assert group["betas"] == (pytest.approx(0.6), 0.999) and group["momentum"] == group["betas"][0]
    assert target.get_momentum() == {"momentum": [pytest.approx(0.6)] * 2}
    assert schedule.state_dict()["use_betas"] is True


def test_base_settings_of_a_wrapper_follow_the_schedule() -> None:
    target = OptimWrapper(optimizer(0.3, 0.02))
    schedule = optim.LinearLR(target, start_factor=0.5, end=11)
    for _ in range(5):
        schedule.step()
    assert target.get_lr() == {"base_lr": [pytest.approx(0.075)], "lr": [pytest.approx(0.225), pytest.approx(0.015)]}
