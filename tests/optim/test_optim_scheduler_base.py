from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import optim
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.optim import INF, LinearLR, LRSchedulerMixin, MultiStepLR, StepLR, _ParamScheduler
from drivetrain.registry import PARAM_SCHEDULERS


def optimizer(**settings: Any) -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, **settings)


def test_a_schedule_acts_from_begin_and_no_more_at_end() -> None:
    target = optimizer()
    schedule = StepLR(target, step_size=1, gamma=0.5, begin=2, end=4)
    steps, found = [], []
    for _ in range(6):
        steps.append(schedule.last_step)
        found.append(target.param_groups[0]["lr"])
        schedule.step()
    assert steps == [-1, -1, 0, 1, 1, 1]
    assert found == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05]


def test_outside_its_window_a_schedule_does_not_look_at_the_groups() -> None:
    schedule = StepLR(optimizer(), step_size=1, begin=1, end=2)
    groups = schedule.optimizer
    schedule.optimizer = None  # type: ignore[assignment]
    schedule.end = 0
    for _ in range(3):
        schedule.step()
    assert schedule._global_step == 3
    assert groups.param_groups[0]["lr"] == 0.1


def test_the_first_value_is_set_at_construction() -> None:
    target = optimizer()
    schedule = LinearLR(target, start_factor=0.1, end=5)
    assert target.param_groups[0]["lr"] == pytest.approx(0.01)
    assert target.param_groups[0]["initial_lr"] == 0.1
    assert schedule.base_values == [0.1]
    assert schedule.get_last_value() == [pytest.approx(0.01)]


def test_a_schedule_built_later_starts_from_the_initial_value_not_the_warmed_one() -> None:
    target = optimizer()
    LinearLR(target, start_factor=0.1, end=5)
    assert optim.CosineAnnealingLR(target, begin=5, T_max=10).base_values == [0.1]


def test_last_step_goes_on_from_a_loaded_optimizer() -> None:
    target = optimizer()
    schedule = StepLR(target, step_size=2, gamma=0.5)
    for _ in range(3):
        schedule.step()
    other = optimizer()
    other.load_state_dict(target.state_dict())
    resumed = StepLR(other, step_size=2, gamma=0.5, last_step=3)
    schedule.step()
    assert other.param_groups[0]["lr"] == target.param_groups[0]["lr"] == 0.1 * 0.5 * 0.5
    assert resumed.last_step == schedule.last_step == 4
    with pytest.raises(NotFoundError, match="'initial_lr' is needed in every parameter group"):
        StepLR(optimizer(), step_size=2, last_step=3)


def test_verbose_logs_the_value_of_each_group(logged: list[tuple[str, str]]) -> None:
    schedule = StepLR(optimizer(), step_size=2, verbose=True)
    assert logged == [("INFO", "lr of group 0 is set to 1.0000e-01.")]
    schedule.print_value(False, 0, 1.0)
    assert len(logged) == 1


def test_a_learning_rate_that_is_a_tensor_is_filled_in_place() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    target = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    held = target.param_groups[0]["lr"]
    schedule = StepLR(target, step_size=1, gamma=0.5)
    schedule.step()
    assert target.param_groups[0]["lr"] is held
    assert float(held) == 0.05
    assert float(schedule.base_values[0]) == 0.1


def test_a_state_of_another_kind_of_schedule_is_refused() -> None:
    with pytest.raises(ArgumentError, match="not one of a StepLR: it has 'start_factor', 'end_factor', 'total_iters'"):
        StepLR(optimizer(), step_size=3).load_state_dict(LinearLR(optimizer(), end=5).state_dict())


def test_milestones_saved_as_a_counter_become_plain() -> None:
    schedule = MultiStepLR(optimizer(), milestones=[1])
    schedule.load_state_dict({**schedule.state_dict(), "milestones": Counter([4, 4])})
    assert type(schedule.milestones) is dict and schedule.milestones == {4: 2}


def test_the_registry_knows_every_class_and_converts_epochs() -> None:
    smooth = ("CosineAnnealing", "CosineRestart", "Exponential", "Linear", "OneCycle", "Poly")
    for family in (*smooth, "Constant", "MultiStep", "ReduceOnPlateau", "Step"):
        for kind in ("LR", "Momentum", "ParamScheduler"):
            assert PARAM_SCHEDULERS.get(family + kind) is getattr(optim, family + kind)
    cfg = {"type": "LinearLR", "end": 4, "convert_to_iter_based": True}
    built = PARAM_SCHEDULERS.build(cfg, default_args={"optimizer": optimizer(), "epoch_length": 3})
    assert (built.end, built.by_epoch) == (12, False)


def test_arguments_are_visible_and_a_wrong_one_is_named_with_the_nearest() -> None:
    assert list(inspect.signature(LinearLR).parameters)[:3] == ["optimizer", "start_factor", "end_factor"]
    with pytest.raises(ArgumentTypeError, match=r"'start_facter'.*Did you mean 'start_factor'"):
        PARAM_SCHEDULERS.build({"type": "LinearLR", "start_facter": 0.1}, default_args={"optimizer": optimizer()})


def test_a_curve_of_ones_own_becomes_a_schedule_of_the_learning_rate() -> None:
    class Halve(_ParamScheduler):
        def __init__(self, optimizer: Any, param_name: str, share: float = 0.5, **kwargs: Any) -> None:
            self.share = share
            super().__init__(optimizer, param_name, **kwargs)

        def _get_value(self) -> list[float]:
            return [base * self.share**self.last_step for base in self.base_values]

    class HalveLR(LRSchedulerMixin, Halve):
        pass

    class Quarter(HalveLR):
        def __init__(self, optimizer: Any, extra: int = 0) -> None:
            super().__init__(optimizer, share=0.25)

    target = optimizer()
    schedule = HalveLR.build_iter_from_epoch(target, begin=0.5, end=2, epoch_length=4)
    assert (schedule.begin, schedule.end) == (2, 8)
    for _ in range(4):
        schedule.step()
    assert target.param_groups[0]["lr"] == 0.1 * 0.25
    assert list(inspect.signature(HalveLR).parameters) == ["optimizer", "share", "kwargs"]
    assert list(inspect.signature(Quarter).parameters) == ["optimizer", "extra"]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("LinearLR", {"optimizer": 3}, ArgumentTypeError, "a torch.optim.Optimizer or an OptimWrapper, got a int: 3"),
        ("LinearLR", {"begin": 5, "end": 5}, ArgumentError, "LinearLR: end must be larger .* begin=5, end=5"),
        ("LinearLR", {"begin": -1}, ArgumentError, "begin must not be negative, got -1"),
        ("LinearLR", {"end": "10"}, ArgumentTypeError, "end must be an int, got '10'"),
        ("LinearLR", {"start_factor": 0}, ArgumentError, "start_factor must be above 0 .* got 0"),
        ("LinearLR", {"start_factor": 1.5}, ArgumentError, "at most 1 .* got 1.5"),
        ("LinearLR", {"end_factor": -0.1}, ArgumentError, "end_factor must be from 0 to 1, got -0.1"),
        ("LinearLR", {"end_factor": "1"}, ArgumentTypeError, "end_factor must be a number, got '1'"),
        ("ConstantLR", {"factor": 0.0}, ArgumentError, "factor must be above 0"),
        ("CosineAnnealingLR", {}, ArgumentError, "needs T_max, .* or end"),
        ("CosineAnnealingLR", {"T_max": 0}, ArgumentError, "T_max must be a positive .* got 0"),
        ("CosineAnnealingLR", {"T_max": 3, "eta_min": 1, "eta_min_ratio": 0.1}, ArgumentError, "either eta_min or"),
        ("LinearLR", {"by": "updates"}, ArgumentError, "by must be 'epoch', 'iteration' or 'update'.*mean 'update'"),
        ("LinearLR", {"by": "epoch", "by_epoch": False}, ArgumentError, "contradict each other: give one"),
        ("ExponentialLR", {"gamma": "0.9"}, ArgumentTypeError, "gamma must be a number, got '0.9'"),
        ("PolyLR", {"power": -1}, ArgumentError, "power must not be below 0, got -1"),
        ("CosineRestartLR", {"periods": 5}, ArgumentTypeError, r"a list of steps such as \[10, 20\], got 5"),
        ("CosineRestartLR", {"periods": [5, 0]}, ArgumentError, r"positive numbers of steps, got \[5, 0\]"),
        ("CosineRestartLR", {"periods": []}, ArgumentError, r"got \[\]"),
        ("CosineRestartLR", {"periods": [5, 9]}, ArgumentError, r"2 periods, \[5, 9\], and 1 weights, \[1\]"),
        ("OneCycleLR", {"total_steps": 9}, ArgumentError, "eta_max, the peak, must be given"),
        ("OneCycleLR", {"eta_max": 1}, ArgumentError, "needs total_steps, .* or end"),
        ("OneCycleLR", {"eta_max": [1, 2], "end": 9}, ArgumentError, "2 values for 1 parameter groups"),
        ("OneCycleLR", {"eta_max": "1", "end": 9}, ArgumentTypeError, "eta_max must be a number, got '1'"),
        ("OneCycleLR", {"eta_max": 1, "total_steps": 2.5}, ArgumentError, "a positive int, got 2.5"),
        ("OneCycleLR", {"eta_max": 1, "end": 9, "pct_start": 3}, ArgumentError, "from 0 to 1, got 3"),
        ("OneCycleLR", {"eta_max": 1, "end": 9, "div_factor": 0}, ArgumentError, "div_factor must be above 0"),
        ("OneCycleLR", {"eta_max": 1, "end": 9, "anneal_strategy": "lin"}, ArgumentError, "mean 'linear'"),
        ("MultiStepLR", {"milestones": 3}, ArgumentTypeError, r"a list of steps such as \[8, 11\], got 3"),
        ("MultiStepLR", {"milestones": [8, "11"]}, ArgumentTypeError, "got \\[8, '11'\\]"),
        ("MultiStepLR", {"milestones": [-1]}, ArgumentError, "must not be negative"),
        ("StepLR", {"step_size": 0}, ArgumentError, "StepLR: step_size must be a positive .* got 0"),
        ("LinearParamScheduler", {"param_name": "weight_decy"}, NotFoundError, "Did you mean 'weight_decay'"),
        ("LinearParamScheduler", {"param_name": "q"}, NotFoundError, "no 'q'; they have lr, momentum"),
    ],
)
def test_wrong_arguments_are_refused_with_the_fix(
    name: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        getattr(optim, name)(**{"optimizer": optimizer(), **arguments})


def test_momentum_of_an_optimizer_without_any_is_refused() -> None:
    adagrad = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ArgumentError, match="LinearMomentum needs an optimizer with 'momentum' or 'betas'"):
        optim.LinearMomentum(adagrad)
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(NotFoundError, match="Steer the first beta with a schedule for momentum"):
        optim.LinearParamScheduler(adam, "momentum")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs epoch_length, .* got None"),
        ({"epoch_length": 0}, "as a positive int; got 0"),
        ({"epoch_length": 5, "by_epoch": False}, "by_epoch is False"),
    ],
)
def test_a_conversion_that_cannot_be_done_is_refused(arguments: dict[str, Any], message: str) -> None:
    for name, extra in (("LinearLR", {}), ("StepLR", {"step_size": 2}), ("MultiStepLR", {"milestones": [2]})):
        with pytest.raises(ArgumentError, match=message):
            getattr(optim, name).build_iter_from_epoch(optimizer(), **extra, **arguments)


def test_the_end_of_an_endless_schedule_is_not_converted() -> None:
    assert LinearLR.build_iter_from_epoch(optimizer(), epoch_length=3).end == INF
