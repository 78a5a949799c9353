"""`ApexOptimWrapper` against a stand-in for apex.amp with the documented functions of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import drivetrain.optim
from drivetrain.errors import MissingPackageError, NotReadyError
from drivetrain.optim import ApexOptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS


class Amp(ModuleType):
    """Scales losses by 4 and, as apex does, unscales the gradients at the end of the block."""

    def __init__(self) -> None:
        super().__init__("apex.amp")
        self.calls: list[Any] = []
        self.scale = 4.0

    def initialize(self, model: nn.Module, optimizer: Any, **settings: Any) -> tuple[nn.Module, Any]:
        self.calls.append((model, settings))
        return model, optimizer

    @contextmanager
    def scale_loss(self, loss: torch.Tensor, optimizer: Any) -> Iterator[torch.Tensor]:
        yield loss * self.scale
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= self.scale

    def state_dict(self) -> dict[str, Any]:
        return {"loss_scaler0": {"loss_scale": self.scale}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale = state["loss_scaler0"]["loss_scale"]


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch) -> Amp:
    stand_in = Amp()
    package = ModuleType("apex")
    package.amp = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apex", package)
    monkeypatch.setitem(sys.modules, "apex.amp", stand_in)
    return stand_in


def wrapper_of(model: nn.Module, **settings: Any) -> ApexOptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    built: ApexOptimWrapper = OPTIM_WRAPPERS.build({"type": "ApexOptimWrapper", "optimizer": optimizer, **settings})
    return built


def step(model: nn.Module, wrapper: Any) -> None:
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 1)).sum()
    wrapper.update_params(loss)


def test_without_apex_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    assert drivetrain.optim.apex_amp is None
    with pytest.raises(MissingPackageError, match=r"github.com/NVIDIA/apex.*type='AmpOptimWrapper'"):
        wrapper_of(nn.Linear(1, 1))


def test_model_and_optimizer_go_to_apex_once_with_all_settings(amp: Amp) -> None:
    assert drivetrain.optim.apex_amp is amp
    model = nn.Linear(1, 1)
    wrapper = wrapper_of(model, opt_level="O2", loss_scale=8.0)
    for _ in range(3):
        step(model, wrapper)
    [(given, settings)] = amp.calls
    assert given is model and len(settings) == 12
    assert (settings["opt_level"], settings["loss_scale"], settings["max_loss_scale"]) == ("O2", 8.0, 2.0**24)


def test_steps_are_those_of_the_plain_wrapper_and_accumulate(amp: Amp) -> None:
    weights = []
    for cls in (ApexOptimWrapper, drivetrain.optim.OptimWrapper):
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        wrapper = cls(optimizer=torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=1)
        for _ in range(4):
            step(model, wrapper)
        assert wrapper.inner_count == 4
        weights.append(model.weight.detach())
    assert torch.equal(*weights)


def test_a_backward_outside_of_a_step_is_refused(amp: Amp) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(NotReadyError, match="optim_context"):
        wrapper_of(model).update_params(model(torch.ones(1, 1)).sum())


def test_the_scale_is_saved_and_a_state_loaded_early_waits_for_the_first_step(amp: Amp) -> None:
    model = nn.Linear(1, 1)
    wrapper = wrapper_of(model)
    assert "apex_amp" not in wrapper.state_dict()
    step(model, wrapper)
    state = wrapper.state_dict()
    assert state["apex_amp"] == {"loss_scaler0": {"loss_scale": 4.0}}
    state["apex_amp"] = {"loss_scaler0": {"loss_scale": 2.0}}
    other = wrapper_of(model)
    other.load_state_dict(state)
    assert amp.scale == 4.0
    step(model, other)
    assert amp.scale == 2.0 and len(other.optimizer.state) == 2
