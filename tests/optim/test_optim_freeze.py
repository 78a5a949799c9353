from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.optim import DefaultOptimWrapperConstructor, build_optim_wrapper, freeze_parameters

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(2, 2)
        self.layer10 = nn.Linear(2, 2)
        self.norm1 = nn.LayerNorm(2)
        self.norm2 = nn.LayerNorm(2)
        self.head = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm2(self.layer10(self.norm1(self.layer1(x)))))


def build(model: nn.Module, **paramwise_cfg: Any) -> Any:
    return build_optim_wrapper(model, {"optimizer": dict(SGD), "paramwise_cfg": paramwise_cfg})


def names_in(wrapper: Any, model: nn.Module) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)] for group in wrapper.optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("more", [{}, {"bias_lr_mult": 2.0}])
def test_frozen_weights_do_not_move_and_are_not_in_the_optimizer(more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Net()
    wrapper = build(model, freeze=["layer1", "norm*.weight"], **more)
    frozen = {"layer1.weight", "layer1.bias", "norm1.weight", "norm2.weight"}
    assert names_in(wrapper, model) == {name for name, _ in model.named_parameters()} - frozen
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for _ in range(3):
        wrapper.update_params(model(torch.randn(8, 2)).square().mean())
    still = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert still == frozen
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


def test_freezing_alone_leaves_one_group() -> None:
    assert len(build(Net(), freeze="layer1", strict=True).optimizer.param_groups) == 1
    assert len(build(Net(), freeze="layer1", bias_lr_mult=1.0).optimizer.param_groups) == 8


def test_a_pattern_is_a_dotted_beginning_or_a_glob_over_the_whole_name() -> None:
    model = nn.ModuleDict({"net": Net()})
    assert freeze_parameters(model, "net.layer1") == ["net.layer1.weight", "net.layer1.bias"]
    assert freeze_parameters(model, ["net.layer1."]) == ["net.layer1.weight", "net.layer1.bias"]
    assert freeze_parameters(model, "*.norm?.bias") == ["net.norm1.bias", "net.norm2.bias"]
    assert freeze_parameters(model, ["net.head.weight"]) == ["net.head.weight"]
    assert model["net"].layer10.weight.requires_grad


def test_a_pattern_without_effect_warns_with_the_nearest_name(logged: list[tuple[str, str]]) -> None:
    build(Net(), freeze=["haed", "layer1"])
    [warning] = [line for level, line in logged if level == "WARNING"]
    assert warning == "freeze: the pattern 'haed' matches no parameter. Did you mean 'head'?"
    with pytest.raises(ArgumentError, match=r"the pattern 'ayer1' matches no parameter. Did you mean 'layer1'"):
        build(Net(), freeze="ayer1", strict=True)


def test_a_model_in_a_distributed_wrapper_is_refused_unless_it_is_frozen_already() -> None:
    class Replica(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module
            self.reducer = object()

    with pytest.raises(ArgumentError, match=r"Replica holds the model already.*'layer1.weight'.*before the model is"):
        freeze_parameters(Replica(Net()), "layer1")
    model = Net()
    freeze_parameters(model, "layer1")
    assert freeze_parameters(Replica(model), "layer1") == ["layer1.weight", "layer1.bias"]


def test_a_constructor_with_groups_of_its_own_freezes_too() -> None:
    class Reversed(DefaultOptimWrapperConstructor):
        def add_params(self, params: list[dict[str, Any]], module: nn.Module, **kwargs: Any) -> None:  # type: ignore[override]
            params.extend({"params": [p]} for p in reversed(list(module.parameters())) if p.requires_grad)

    model = Net()
    wrapper = Reversed({"optimizer": dict(SGD)}, {"freeze": "layer1", "decay_rate": 0.5})(model)
    assert len(wrapper.optimizer.param_groups) == 8 and not model.layer1.weight.requires_grad


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Net has no parameter to train: all 10 are frozen"):
        build(Net(), freeze="*")


@pytest.mark.parametrize("patterns", [3, {"head": 1}, ["head", 3]])
def test_patterns_of_another_type_are_refused(patterns: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="freeze must be a pattern of names or a list of them"):
        build(Net(), freeze=patterns)
