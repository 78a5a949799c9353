"""Groups that follow one curve: computed once, and yet each group's own present value counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain import optim
from drivetrain.optim import OptimWrapper


def optimizer(rates: list[Any], kind: Any = torch.optim.SGD) -> Any:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return kind(groups, lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))


def rates_of(target: Any) -> list[float]:
    return [float(group["lr"]) for group in target.param_groups]


class CountingLR(optim.CosineAnnealingLR):
    """Counts how many values are computed."""

    computed = 0

    def _move(self) -> Any:
        move = super()._move()

        def counted(value: Any, group: int) -> Any:
            self.computed += 1
            return move(value, group)

        return move and counted


def test_the_work_of_a_step_is_that_of_the_curves_not_of_the_groups() -> None:
    target = optimizer([0.1, 0.2, 0.1, 0.2, 0.3] * 400)
    schedule = CountingLR(target, T_max=50)
    for _ in range(10):
        schedule.step()
    assert schedule.computed == 3 * 10


def test_it_is_so_with_another_schedule_of_the_same_setting_at_work() -> None:
    target = optimizer([0.1, 0.2] * 100)
    schedules = [CountingLR(target, T_max=50), optim.LinearLR(target, start_factor=0.1, end=20)]
    for _ in range(10):
        for schedule in schedules:
            schedule.step()
    assert schedules[0].computed == 2 * 10  # type: ignore[attr-defined]


RATE = st.sampled_from([0.1, 0.05, 0.3, 0.1 + 0.2])


@given(
    rates=st.lists(RATE, min_size=1, max_size=12),
    touched=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 11), st.floats(0.0, 2.0)), max_size=4),
    wrapped=st.booleans(),
    name=st.sampled_from(["CosineAnnealing", "Linear", "Poly", "CosineRestart", "OneCycle"]),
)
def test_many_groups_do_what_each_would_do_alone(
    rates: list[float], touched: list[tuple[int, int, float]], wrapped: bool, name: str
) -> None:
    """Also when a value is set from outside in the middle, and while a second schedule is at work."""
    arguments: dict[str, Any] = {
        "CosineAnnealing": {"T_max": 8, "eta_min_ratio": 0.1},
        "Linear": {"start_factor": 0.1, "end": 15},
        "Poly": {"power": 0.9, "end": 18},
        "CosineRestart": {"periods": [5, 7], "restart_weights": [1, 0.5]},
        "OneCycle": {"eta_max": 0.5, "total_steps": 15},
    }[name]

    def run(given_rates: list[float], number: int | None) -> list[list[float]]:
        target = optimizer(given_rates)
        steered = OptimWrapper(target) if wrapped else target
        chain = [getattr(optim, f"{name}LR")(steered, **arguments), optim.StepLR(steered, step_size=6, gamma=0.5)]
        seen = []
        for step in range(20):
            for when, group, value in touched:
                if when == step and group < len(rates) and number in (None, group):
                    target.param_groups[0 if number is not None else group]["lr"] = value
            for schedule in chain:
                schedule.step()
            seen.append(rates_of(target))
        return seen

    together = run(rates, None)
    for number, rate in enumerate(rates):
        assert [row[number] for row in together] == [row[0] for row in run([rate], number)]


def test_a_tensor_among_numbers_keeps_its_place_and_its_value() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    target = optimizer([0.1, 0.2, 0.1], torch.optim.AdamW)
    target.param_groups[2]["lr"] = rate
    schedule = optim.CosineAnnealingLR(target, T_max=10)
    for _ in range(3):
        schedule.step()
    assert target.param_groups[2]["lr"] is rate
    assert float(rate) == pytest.approx(target.param_groups[0]["lr"])


def test_a_number_that_becomes_a_tensor_is_filled_from_then_on() -> None:
    target = optimizer([0.1, 0.1])
    schedule = optim.ExponentialLR(target, gamma=0.5)
    schedule.step()
    rate = torch.tensor(0.4)
    target.param_groups[1]["lr"] = rate
    for _ in range(2):
        schedule.step()
    assert target.param_groups[1]["lr"] is rate and type(rate) is Tensor
    assert rates_of(target) == pytest.approx([0.0125, 0.1])


def test_a_tensor_that_equals_the_number_before_it_is_not_taken_for_it() -> None:
    target = optimizer([0.1, 0.1])
    schedule = optim.ExponentialLR(target, gamma=0.5)
    schedule.step()
    rate = torch.tensor(target.param_groups[1]["lr"], dtype=torch.float64)
    target.param_groups[1]["lr"] = rate
    schedule.step()
    assert target.param_groups[1]["lr"] is rate
    assert rates_of(target) == [0.025, 0.025]


@pytest.mark.parametrize("rates", [[0.1], [0.1, 0.1], [0.1, 0.2]])
def test_a_group_added_later_is_left_alone_where_its_start_is_unknown(rates: list[float]) -> None:
    target = optimizer(rates)
    schedule = optim.CosineAnnealingLR(target, T_max=10)
    target.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.7})
    for _ in range(5):
        schedule.step()
    assert rates_of(target) == pytest.approx([*(rate / 2 for rate in rates), 0.7])


def test_groups_that_part_in_the_middle_go_their_own_ways() -> None:
    target = optimizer([0.1, 0.1, 0.1])
    schedule = optim.ExponentialLR(target, gamma=0.5)
    schedule.step()
    target.param_groups[1]["lr"] = 0.8
    for _ in range(2):
        schedule.step()
    assert rates_of(target) == [0.0125, 0.2, 0.0125]


@pytest.mark.parametrize("others", [[], [0.2]])
def test_base_values_that_were_changed_count_at_the_next_restart(others: list[float]) -> None:
    target = optimizer([0.1, 0.1, *others])
    schedule = optim.CosineRestartLR(target, periods=[2, 2], restart_weights=[1, 1])
    schedule.base_values[1] = 0.5
    for _ in range(2):
        schedule.step()
    assert rates_of(target) == [0.1, 0.5, *others]


def test_a_third_beta_stays_behind_a_scheduled_first() -> None:
    target = optimizer([0.1, 0.1], torch.optim.AdamW)
    for group in target.param_groups:
        group["betas"] = (0.8, 0.9, 0.99)
    optim.LinearMomentum(target, start_factor=0.5, end=5)
    assert [group["betas"] for group in target.param_groups] == [(0.4, 0.9, 0.99)] * 2
