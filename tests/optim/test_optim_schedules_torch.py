"""Every curve that PyTorch has too, over drawn settings: the same values to 1e-12 of the largest."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain import optim

STEPS = 100
FACTOR = st.floats(0.01, 1.0)
SPAN = st.integers(2, 80)
RATES = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=3)
MINIMUM = st.floats(0.0, 1e-4)


def optimizer(rates: list[float]) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def trace(target: Any, step: Any, steps: int = STEPS, key: str = "lr") -> list[list[float]]:
    values = []
    for _ in range(steps):
        values.append([group[key] for group in target.param_groups])
        with warnings.catch_warnings():  # torch asks for an optimizer step before each
            warnings.simplefilter("ignore")
            step()
    return values


def theirs(name: str, rates: list[float], **arguments: Any) -> tuple[torch.optim.Optimizer, Any]:
    target = optimizer(rates)
    return target, getattr(torch.optim.lr_scheduler, name)(target, **arguments)


def assert_same(found: list[list[float]], expected: list[list[float]], tolerance: float = 1e-12) -> None:
    scale = max(1.0, *(abs(value) for row in expected for value in row))
    worst = max(abs(a - b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))
    assert worst <= tolerance * scale


def compare(name: str, arguments: dict[str, Any], other: str, others: dict[str, Any], rates: list[float]) -> None:
    mine = optimizer(rates)
    schedule = getattr(optim, name)(mine, **arguments)
    reference = theirs(other, rates, **others)
    assert_same(trace(mine, schedule.step), trace(reference[0], reference[1].step))


@given(rates=RATES, start=FACTOR, stop=FACTOR, span=SPAN)
def test_linear(rates: list[float], start: float, stop: float, span: int) -> None:
    factors = {"start_factor": start, "end_factor": stop}
    compare("LinearLR", {**factors, "end": span + 1}, "LinearLR", {**factors, "total_iters": span}, rates)


@given(rates=RATES, factor=FACTOR, span=SPAN)
def test_constant(rates: list[float], factor: float, span: int) -> None:
    arguments = {"factor": factor}
    compare("ConstantLR", {**arguments, "end": span + 1}, "ConstantLR", {**arguments, "total_iters": span}, rates)


@given(rates=RATES, gamma=FACTOR, size=SPAN)
def test_step(rates: list[float], gamma: float, size: int) -> None:
    arguments = {"step_size": size, "gamma": gamma}
    compare("StepLR", arguments, "StepLR", arguments, rates)


@given(rates=RATES, gamma=FACTOR, milestones=st.lists(st.integers(1, 90), min_size=1, max_size=6))
def test_multi_step(rates: list[float], gamma: float, milestones: list[int]) -> None:
    arguments = {"milestones": sorted(milestones), "gamma": gamma}
    compare("MultiStepLR", arguments, "MultiStepLR", arguments, rates)


@given(rates=RATES, gamma=FACTOR)
def test_exponential(rates: list[float], gamma: float) -> None:
    compare("ExponentialLR", {"gamma": gamma}, "ExponentialLR", {"gamma": gamma}, rates)


@given(rates=RATES, power=st.floats(0.3, 3.0), span=SPAN)
def test_poly(rates: list[float], power: float, span: int) -> None:
    compare("PolyLR", {"power": power, "end": span + 1}, "PolynomialLR", {"power": power, "total_iters": span}, rates)


@given(rates=RATES, period=st.integers(1, 60), minimum=MINIMUM)
def test_cosine(rates: list[float], period: int, minimum: float) -> None:
    arguments = {"T_max": period, "eta_min": minimum}
    compare("CosineAnnealingLR", arguments, "CosineAnnealingLR", arguments, rates)


@given(rates=RATES, first=st.integers(1, 25), growth=st.sampled_from([1, 2, 3]), minimum=MINIMUM)
def test_cosine_with_restarts(rates: list[float], first: int, growth: int, minimum: float) -> None:
    periods = [first]
    while sum(periods) < STEPS:
        periods.append(periods[-1] * growth)
    arguments = {"periods": periods, "restart_weights": [1] * len(periods), "eta_min": minimum}
    others = {"T_0": first, "T_mult": growth, "eta_min": minimum}
    compare("CosineRestartLR", arguments, "CosineAnnealingWarmRestarts", others, rates)


@given(
    rates=RATES,
    form=st.fixed_dictionaries({
        "pct_start": st.floats(0.05, 0.45),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "div_factor": st.floats(1.0, 50.0),
        "final_div_factor": st.floats(1.0, 1e4),
        "three_phase": st.booleans(),
    }),
    peak=st.floats(0.01, 1.0),
)  # fmt: skip
def test_one_cycle(rates: list[float], form: dict[str, Any], peak: float) -> None:
    mine, (their, reference) = optimizer(rates), theirs("OneCycleLR", rates, max_lr=peak, total_steps=STEPS, **form)
    schedule = optim.OneCycleLR(mine, eta_max=peak, total_steps=STEPS, **form)
    assert_same(trace(mine, schedule.step, STEPS - 1), trace(their, reference.step, STEPS - 1))


@given(three=st.booleans(), rise=st.floats(0.05, 0.45), low=st.floats(0.5, 0.85), high=st.floats(0.86, 0.99))
def test_the_momentum_of_one_cycle(three: bool, rise: float, low: float, high: float) -> None:
    form: dict[str, Any] = {"total_steps": STEPS, "pct_start": rise, "three_phase": three}
    their, reference = theirs("OneCycleLR", [0.1], max_lr=1.0, base_momentum=low, max_momentum=high, **form)
    mine = optimizer([0.1])
    schedule = optim.OneCycleMomentum(mine, eta_max=low, div_factor=low / high, final_div_factor=1, **form)
    found = trace(mine, schedule.step, STEPS - 1, "momentum")
    assert_same(found, trace(their, reference.step, STEPS - 1, "momentum"))


@given(
    rates=RATES,
    metrics=st.lists(st.floats(-2.0, 2.0), min_size=30, max_size=30),
    rule=st.sampled_from(["less", "greater"]),
    other=st.fixed_dictionaries({
        "factor": st.floats(0.1, 0.9),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1]),
        "cooldown": st.integers(0, 3),
        "eps": st.sampled_from([1e-8, 1e-2]),
    }),
    threshold_rule=st.sampled_from(["rel", "abs"]),
    minimum=MINIMUM,
)  # fmt: skip
def test_reduce_on_plateau(
    rates: list[float], metrics: list[float], rule: str, other: dict[str, Any], threshold_rule: str, minimum: float
) -> None:
    mode = {"less": "min", "greater": "max"}[rule]
    their, reference = theirs(
        "ReduceLROnPlateau", rates, mode=mode, threshold_mode=threshold_rule, min_lr=minimum, **other
    )
    mine = optimizer(rates)
    schedule = optim.ReduceOnPlateauLR(
        mine, monitor="m", rule=rule, threshold_rule=threshold_rule, min_value=minimum, **other
    )
    left, right = iter(metrics), iter(metrics)
    found = trace(mine, lambda: schedule.step({"m": next(left)}), len(metrics))
    assert found == trace(their, lambda: reference.step(next(right)), len(metrics))


@given(rates=RATES, start=FACTOR, warmup=st.integers(2, 30), period=SPAN)
def test_warm_up_and_then_a_cosine(rates: list[float], start: float, warmup: int, period: int) -> None:
    """Ours begin at their own `begin`; torch's need `SequentialLR`. The step at the border is a cosine's first."""
    mine = optimizer(rates)
    chain = [
        optim.LinearLR(mine, start_factor=start, end=warmup),
        optim.CosineAnnealingLR(mine, T_max=period, begin=warmup, end=warmup + period),
    ]
    found = trace(mine, lambda: [schedule.step() for schedule in chain], warmup + period)
    first, reference = theirs("LinearLR", rates, start_factor=start, total_iters=warmup - 1)
    second, cosine = theirs("CosineAnnealingLR", rates, T_max=period)
    expected = trace(first, reference.step, warmup) + trace(second, cosine.step, period)
    assert_same(found, expected)


def test_torchs_own_schedulers_are_not_ours() -> None:
    with pytest.raises(TypeError):
        optim.LinearLR(torch.optim.lr_scheduler.LinearLR(optimizer([0.1])))
