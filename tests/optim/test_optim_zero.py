"""ZeRO over two gloo processes against one process with the plain optimizer. One spawn for all cases."""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from drivetrain.errors import ArgumentTypeError, NotFoundError, NotReadyError
from drivetrain.optim import LinearMomentum, build_optim_wrapper
from drivetrain.registry import OPTIMIZERS

sys.path.append(str(Path(__file__).parents[1] / "dist"))
from gloo_processes import run_on_processes

CASES = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"lr": 0.01},
    "rules": {"lr": 0.01, "weight_decay": 0.1},
}
DATA = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(3))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def config_of(case: str, zero: bool) -> dict[str, Any]:
    kind = "AdamW" if case == "rules" else case
    names = {"type": "ZeroRedundancyOptimizer", "optimizer_type": kind} if zero else {"type": kind}
    rules = {"bias_decay_mult": 0.0, "custom_keys": {"0.": {"lr_mult": 0.1}}, "freeze": "2.bias"}
    return {"optimizer": {**names, **CASES[case]}, "paramwise_cfg": rules if case == "rules" else None}


def train(model: nn.Module, wrapper: Any, batches: torch.Tensor) -> None:
    schedule = LinearMomentum(wrapper, start_factor=0.5, end=4, by_epoch=False)
    for batch in batches:
        wrapper.update_params(model(batch).square().mean())
        schedule.step()


def two_processes(rank: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # torch's own, of a process that does not write to the terminal
    found: dict[str, Any] = {}
    for case in CASES:
        inner = net()
        wrapper = build_optim_wrapper(inner, config_of(case, zero=True))
        model = DistributedDataParallel(inner)
        train(model, wrapper, DATA[:3, rank::2])
        state = wrapper.state_dict()
        again = net()
        again.load_state_dict(inner.state_dict())
        resumed = build_optim_wrapper(again, config_of(case, zero=True))
        box = [copy.deepcopy(state)]
        torch.distributed.broadcast_object_list(box)
        resumed.load_state_dict(box[0])
        train(model, wrapper, DATA[3:, rank::2])
        train(DistributedDataParallel(again), resumed, DATA[3:, rank::2])
        found[case] = {
            "weights": inner.state_dict(),
            "resumed": again.state_dict(),
            "held": len(wrapper.optimizer.optim.state),
            "saved": state,
            "left": [value for value in box[0]["state"].values() if value is not None],
        }
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return run_on_processes(two_processes)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_one_process_with_the_plain_optimizer(ranks: list[Any], case: str) -> None:
    model = net()
    wrapper = build_optim_wrapper(model, config_of(case, zero=False))
    train(model, wrapper, DATA[:3])
    train(model, wrapper, DATA[3:])
    for found in ranks:
        # The mean over a batch is that of two halves: equal up to the order of the sum.
        torch.testing.assert_close(found[case]["weights"], dict(model.state_dict()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_each_process_holds_a_part_of_the_state_and_together_all(ranks: list[Any], case: str) -> None:
    trained = 5 if case == "rules" else 6
    held = [found[case]["held"] for found in ranks]
    assert sum(held) == trained and all(0 < part < trained for part in held)


@pytest.mark.parametrize("case", CASES)
def test_the_first_process_gets_the_whole_state_and_a_resume_goes_on_from_it(ranks: list[Any], case: str) -> None:
    plain = build_optim_wrapper(net(), config_of(case, zero=False)).state_dict()
    first, second = (found[case]["saved"] for found in ranks)
    assert len(first["state"]) == (5 if case == "rules" else 6) and second["state"] == {}
    assert all(len(found[case]["left"]) == len(first["state"]) for found in ranks)  # loading took nothing away
    for saved in (first, second):
        assert [group["params"] for group in saved["param_groups"]] == [g["params"] for g in plain["param_groups"]]
    for found in ranks:
        for name, weight in found[case]["weights"].items():
            assert torch.equal(weight, found[case]["resumed"][name]), name


def test_without_processes_it_says_what_to_do() -> None:
    cfg = {"optimizer": {"type": "ZeroRedundancyOptimizer", "optimizer_type": "AdamW", "lr": 0.1}}
    with pytest.raises(NotReadyError, match=r"there is no process group\. Start the run with several processes"):
        build_optim_wrapper(net(), cfg)


def test_the_inner_optimizer_is_found_by_name_or_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from drivetrain.optim.optimizer import _zero

    monkeypatch.setattr(_zero, "_check_process_group", lambda: None)
    assert _zero._optimizer_class("SGD") is _zero._optimizer_class(torch.optim.SGD) is torch.optim.SGD
    zero = OPTIMIZERS.get("ZeroRedundancyOptimizer")
    with pytest.raises(NotFoundError, match=r"optimizer_type='AdmaW' is no optimizer. Did you mean 'AdamW'"):
        zero([nn.Parameter(torch.ones(1))], "AdmaW")
    with pytest.raises(ArgumentTypeError, match="must be the name of an optimizer, got 3"):
        zero([nn.Parameter(torch.ones(1))], 3)
