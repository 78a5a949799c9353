"""A schedule, a chain of them, saved at any step and restored into fresh objects, goes on bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain import optim
from drivetrain.optim import OptimWrapper

CONFIGS: dict[str, dict[str, Any]] = {
    "Constant": {"factor": 0.25, "end": 12},
    "CosineAnnealing": {"T_max": 9, "eta_min_ratio": 0.02},
    "CosineRestart": {"periods": [4, 6, 9], "restart_weights": [1, 0.5, 0.8], "eta_min": 0.003},
    "Exponential": {"gamma": 0.93},
    "Linear": {"start_factor": 0.1, "begin": 2, "end": 10},
    "MultiStep": {"milestones": [3, 8, 8], "gamma": 0.5},
    "OneCycle": {"eta_max": 0.4, "begin": 3, "total_steps": 25, "three_phase": True},
    "Poly": {"power": 0.9, "end": 20, "eta_min": 0.001},
    "ReduceOnPlateau": {"monitor": "m", "factor": 0.7, "patience": 1, "cooldown": 1, "min_value": 0.002},
    "Step": {"step_size": 4, "gamma": 0.3},
}
KINDS = ["LR", "Momentum"]
METRICS = [{"m": (7 * step % 11) / 5} for step in range(60)]
STEPS = 35


def make(names: list[str], kind: Any) -> tuple[Any, list[Any]]:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.03, 0.1)]
    wrapper = OptimWrapper(kind(groups, lr=0.2, **({"momentum": 0.9} if kind is torch.optim.SGD else {})))
    chain = []
    for name in names:
        family = name.removesuffix("LR").removesuffix("Momentum")
        chain.append(getattr(optim, name)(wrapper, **CONFIGS[family]))
    return wrapper, chain


def go_on(wrapper: Any, chain: list[Any], first: int, last: int) -> list[Any]:
    seen = []
    for step in range(first, last):
        seen.append([
            {key: value for key, value in group.items() if key != "params"} for group in wrapper.param_groups
        ])  # fmt: skip
        for schedule in chain:
            if getattr(schedule, "need_val_args", False):
                schedule.step(METRICS[step])
            else:
                schedule.step()
    return seen


def assert_goes_on(names: list[str], kind: Any, cut: int) -> None:
    wrapper, chain = make(names, kind)
    go_on(wrapper, chain, 0, cut)
    saved = [schedule.state_dict() for schedule in chain]
    other, resumed = make(names, kind)
    other.load_state_dict(wrapper.state_dict())
    for schedule, state in zip(resumed, saved, strict=True):
        schedule.load_state_dict(state)
    assert go_on(wrapper, chain, cut, STEPS) == go_on(other, resumed, cut, STEPS)
    assert [schedule.state_dict() for schedule in chain] == [schedule.state_dict() for schedule in resumed]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", [family + kind for family in sorted(CONFIGS) for kind in KINDS])
def test_any_curve_at_any_step(name: str, kind: Any) -> None:
    for cut in (0, 1, 3, 9, 20, 34):
        assert_goes_on([name], kind, cut)


@given(
    names=st.lists(
        st.sampled_from([family + kind for family in sorted(CONFIGS) for kind in KINDS]), min_size=2, max_size=5
    ),
    cut=st.integers(0, STEPS),
)
def test_any_chain_at_any_step(names: list[str], cut: int) -> None:
    assert_goes_on(names, torch.optim.SGD, cut)


@pytest.mark.parametrize("name", [family + kind for family in sorted(CONFIGS) for kind in (*KINDS, "ParamScheduler")])
def test_a_state_holds_plain_things_without_the_optimizer_and_knows_what_it_counts(name: str) -> None:
    extra = {"param_name": "lr"} if name.endswith("ParamScheduler") else {}
    family = next(family for family in CONFIGS if name.startswith(family))
    target = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    state = getattr(optim, name)(target, **extra, **CONFIGS[family]).state_dict()
    assert {type(value) for value in state.values()} <= {int, float, bool, str, list, dict, type(None)}
    assert state["by"] == "epoch" and not {"optimizer", "_sharing"} & set(state)


def test_a_state_that_tells_by_epoch_alone_is_understood() -> None:
    target = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = optim.LinearLR(target, end=5)
    schedule.load_state_dict({"by_epoch": False, "last_step": 2, "_global_step": 2})
    assert (schedule.by, schedule.by_epoch) == ("iteration", False)
