from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import optim
from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError, NotFoundError
from drivetrain.registry import PARAM_SCHEDULERS


def optimizer(*rates: float, kind: Any = torch.optim.SGD) -> Any:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (0.1,)]
    return kind(groups, lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))


def after(metrics: list[Any], *rates: float, **arguments: Any) -> list[float]:
    """The first group's rate after each validation."""
    target = optimizer(*rates)
    schedule = optim.ReduceOnPlateauLR(target, monitor="m", **{"factor": 0.5, "patience": 0, **arguments})
    found = []
    for metric in metrics:
        schedule.step({"m": metric})
        found.append(target.param_groups[0]["lr"])
    return found


def test_it_waits_for_more_bad_validations_than_its_patience_and_then_cools_down() -> None:
    metrics = [1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert after(metrics, patience=1, cooldown=1) == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025]


def test_begin_and_end_count_validations() -> None:
    assert after([1.0] * 6, begin=2, end=5) == [0.1, 0.1, 0.1, 0.05, 0.025, 0.025]


def test_a_value_that_is_no_number_is_a_bad_one() -> None:
    assert after([math.nan, 1.0, math.nan]) == [0.05, 0.05, 0.025]


def test_the_first_result_is_the_best_however_large() -> None:
    assert after([5e12]) == [0.1]


def test_each_group_has_its_own_bound() -> None:
    target = optimizer(0.1, 0.1)
    schedule = optim.ReduceOnPlateauLR(target, monitor="m", factor=0.1, patience=0, min_value=[0.05, 0.002])
    for _ in range(3):
        schedule.step({"m": 1.0})
    assert [group["lr"] for group in target.param_groups] == [0.05, 0.002]
    assert schedule.min_values == [0.05, 0.002]


def test_a_tensor_is_taken_as_a_number() -> None:
    target = optimizer()
    schedule = optim.ReduceOnPlateauLR(target, monitor="m")
    schedule.step({"m": torch.tensor(0.5)})
    assert type(schedule.best) is float and schedule.best == 0.5


def test_momentum_follows_the_first_beta() -> None:
    target = optimizer(kind=torch.optim.AdamW)
    schedule = optim.ReduceOnPlateauMomentum(target, monitor="m", factor=0.5, patience=0)
    for _ in range(2):
        schedule.step({"m": 1.0})
    assert target.param_groups[0]["betas"] == (0.45, 0.999)


def test_without_metrics_nothing_happens() -> None:
    target = optimizer()
    schedule = optim.ReduceOnPlateauLR(target, patience=0)
    before = schedule.state_dict()
    schedule.step()
    assert schedule.state_dict() == before
    assert (schedule.last_step, schedule._global_step) == (-1, 0)


def test_a_reduction_is_logged_when_asked_for(logged: list[tuple[str, str]]) -> None:
    schedule = optim.ReduceOnPlateauLR(optimizer(), monitor="m", patience=0, verbose=True)
    for _ in range(2):
        schedule.step({"m": 1.0})
    assert [line for _, line in logged] == ["lr of group 0 is set to 1.0000e-02."]


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ({"acuracy/top1": 1.0}, NotFoundError, "gave 'acuracy/top1'. Did you mean 'acuracy/top1'.* Set monitor="),
        ({}, NotFoundError, "the validation gave none"),
        (3.0, ArgumentTypeError, "as a dict, got 3.0"),
        ({"accuracy/top1": "high"}, MetricError, "needs a number for 'accuracy/top1', the validation gave 'high'"),
    ],
)
def test_metrics_that_cannot_be_watched_are_refused(metrics: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        optim.ReduceOnPlateauLR(optimizer(), monitor="accuracy/top1").step(metrics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "lesser"}, "rule must be 'less' or 'greater', got 'lesser'.* mean 'less'"),
        ({"threshold_rule": "relative"}, "threshold_rule must be 'rel' or 'abs', got 'relative'"),
        ({"factor": 1.0}, "factor must be below 1, to reduce, got 1.0"),
        ({"patience": -1}, "patience must not be below 0, got -1"),
        ({"cooldown": -1}, "cooldown must not be below 0"),
        ({"threshold": -1e-4}, "threshold must not be below 0"),
        ({"min_value": [0.1, 0.2]}, "min_value has 2 values for 1 parameter groups"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        optim.ReduceOnPlateauLR(optimizer(), **arguments)


def test_there_is_nothing_to_convert() -> None:
    cfg = {"type": "ReduceOnPlateauLR", "convert_to_iter_based": True}
    with pytest.raises(ArgumentError, match="counts validations, not epochs: leave convert_to_iter_based out"):
        PARAM_SCHEDULERS.build(cfg, default_args={"optimizer": optimizer(), "epoch_length": 3})
