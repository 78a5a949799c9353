from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.optim import OPTIMIZERS, DefaultOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS

SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.5}


class DeformConv2d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.bias = nn.Parameter(torch.zeros(2))
        self.conv_offset = nn.Conv2d(2, 2, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 1, groups=4)
        self.head = nn.ModuleDict({"fc": nn.Linear(4, 2), "norm": nn.LayerNorm(2)})
        self.dcn = DeformConv2d()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def groups(paramwise_cfg: dict[str, Any] | None, optimizer: dict[str, Any] = SGD) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter."""
    model = Net()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    wrapper = DefaultOptimWrapperConstructor({"optimizer": optimizer}, paramwise_cfg)(model)
    built = wrapper.optimizer.param_groups
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in built for p in g["params"]}


def changed(paramwise_cfg: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: values for name, values in groups(paramwise_cfg).items() if values != (0.01, 0.5)}


def test_every_optimizer_of_the_installed_torch_is_registered() -> None:
    for name in ("SGD", "AdamW", "LBFGS", "Optimizer"):
        assert OPTIMIZERS.get(name) is getattr(torch.optim, name)
    assert OPTIMIZERS.get("TorchAdafactor") is torch.optim.Adafactor
    assert "Adafactor" not in OPTIMIZERS.module_dict


def test_without_rules_there_is_one_group_of_all_parameters() -> None:
    model = Net()
    cfg = {"type": "OptimWrapper", "optimizer": dict(SGD), "accumulative_counts": 2}
    wrapper = build_optim_wrapper(model, cfg)
    assert type(wrapper) is OptimWrapper and type(wrapper.optimizer) is torch.optim.SGD
    assert [id(p) for p in wrapper.optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    assert wrapper.base_param_settings is None


def test_building_leaves_the_config_as_it_is() -> None:
    cfg = {
        "optimizer": dict(SGD),
        "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 2.0}}},
        "constructor": "DefaultOptimWrapperConstructor",
        "clip_grad": {"type": "norm", "max_norm": 1.0},
    }
    before = copy.deepcopy(cfg)
    build_optim_wrapper(Net(), cfg)
    assert cfg == before


def test_with_rules_each_trained_parameter_is_a_group_in_module_order() -> None:
    found = groups({"bias_lr_mult": 1.0})
    expected = [name for name, parameter in Net().named_parameters() if parameter.requires_grad]
    assert sorted(found) == sorted(expected)
    assert next(iter(found)) == "scale"
    assert not any(name.startswith("frozen") for name in found)


def test_bias_rules_spare_norm_rates_and_offset_layers() -> None:
    assert changed({"bias_lr_mult": 2.0, "bias_decay_mult": 0.5}) == {
        "conv.bias": (0.02, 0.25),
        "norm.bias": (0.01, 0.25),
        "depthwise.bias": (0.02, 0.25),
        "head.fc.bias": (0.02, 0.25),
        "head.norm.bias": (0.01, 0.25),
        "dcn.bias": (0.02, 0.25),
    }


def test_decay_rules_apply_in_order_norm_bias_depthwise_flat() -> None:
    rules = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.2, "dwconv_decay_mult": 0.4, "flat_decay_mult": 0.6}
    assert {name: decay for name, (_, decay) in changed(rules).items()} == {
        "scale": 0.3,
        "conv.bias": 0.1,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "depthwise.weight": 0.2,
        "depthwise.bias": 0.1,
        "head.fc.bias": 0.1,
        "head.norm.weight": 0.0,
        "head.norm.bias": 0.0,
        "dcn.bias": 0.1,
    }


def test_offset_layers_of_deformable_convolutions_have_a_rule_by_class_name() -> None:
    rates = {name: lr for name, (lr, _) in changed({"dcn_offset_lr_mult": 0.1, "bias_lr_mult": 2.0}).items()}
    assert rates["dcn.conv_offset.weight"] == rates["dcn.conv_offset.bias"] == pytest.approx(0.001)
    assert rates["dcn.bias"] == 0.02


def test_the_longest_matching_custom_key_wins_and_hides_other_rules() -> None:
    keys = {"head": {"lr_mult": 0.1, "decay_mult": 0.0}, "head.fc": {"lr_mult": 3.0}}
    found = groups({"custom_keys": keys, "norm_decay_mult": 0.3, "bias_lr_mult": 7.0})
    assert found["head.fc.weight"] == found["head.fc.bias"] == (0.03, 0.5)
    assert found["head.norm.weight"] == (pytest.approx(0.001), 0.0)
    assert found["norm.weight"] == (0.01, 0.15)
    assert found["conv.bias"] == (pytest.approx(0.07), 0.5)


def test_any_other_key_of_a_custom_rule_is_a_setting_of_the_group() -> None:
    cfg = {"optimizer": dict(SGD), "paramwise_cfg": {"custom_keys": {"conv.weight": {"momentum": 0.3}}}}
    momenta = build_optim_wrapper(Net(), cfg).get_momentum()["momentum"]
    assert momenta.count(0.3) == 1


def test_a_model_wrapper_is_looked_through() -> None:
    class Replica(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    cfg = {"optimizer": dict(SGD), "paramwise_cfg": {"custom_keys": {".conv.": {"lr_mult": 2.0}}}}
    assert build_optim_wrapper(Replica(Net()), cfg).get_lr()["lr"].count(0.02) == 0
    assert build_optim_wrapper(Replica(nn.Sequential(Net())), cfg).get_lr()["lr"].count(0.02) == 2


def test_a_parameter_with_two_names_needs_bypass_duplicate() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    rules = {"bias_lr_mult": 2.0}
    with pytest.raises(ValueError, match="more than one parameter group"):
        build_optim_wrapper(model, {"optimizer": dict(SGD), "paramwise_cfg": rules})
    wrapper = build_optim_wrapper(model, {"optimizer": dict(SGD), "paramwise_cfg": {**rules, "bypass_duplicate": True}})
    assert len(wrapper.optimizer.param_groups) == 1


def test_a_rule_that_matches_nothing_warns_with_the_nearest_name(logged: list[tuple[str, str]]) -> None:
    groups({"custom_keys": {"haed": {"lr_mult": 0.1}}})
    warnings = [line for level, line in logged if level == "WARNING"]
    assert len(warnings) == 1 and "custom_keys['haed']" in warnings[0] and "Did you mean 'head'" in warnings[0]
    with pytest.raises(ArgumentError, match=r"custom_keys\['haed'\] is in no parameter's name. Did you mean 'head'"):
        groups({"custom_keys": {"haed": {"lr_mult": 0.1}}, "strict": True})


def test_a_misspelt_mark_among_the_rules_is_told_and_trains_all_the_same(logged: list[tuple[str, str]]) -> None:
    # Six configs that mmpretrain ships have it.
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.1}}
    DefaultOptimWrapperConstructor(cfg, {"_delete": True, "norm_decay_mult": 0.0})(nn.Linear(2, 2))
    assert any("is '_delete_' meant?" in message for _, message in logged)


def test_what_the_rules_did_is_logged_once(logged: list[tuple[str, str]]) -> None:
    groups({"custom_keys": {"head.fc": {"lr_mult": 10.0}}})
    report = [line for level, line in logged if level == "INFO"]
    assert report == [
        "paramwise_cfg: 15 parameters in 15 groups with 2 different settings, 2 frozen (level DEBUG lists them)."
    ]
    [table] = [line for level, line in logged if level == "DEBUG"]
    assert "head.fc.*" in table and "frozen: 2 tensors, 6 numbers: frozen.*" in table


def test_a_subclass_may_override_add_params_and_have_rules_of_its_own(logged: list[tuple[str, str]]) -> None:
    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
    class LayerDecay(DefaultOptimWrapperConstructor):
        def add_params(self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
            decay = self.paramwise_cfg["decay_rate"]
            for depth, (_, parameter) in enumerate(module.named_parameters()):
                params.append({"params": [parameter], "lr": self.base_lr * decay**depth})

    cfg = {"constructor": "LayerDecay", "optimizer": dict(SGD), "paramwise_cfg": {"decay_rate": 0.5}}
    assert build_optim_wrapper(nn.Linear(2, 2), cfg).get_lr() == {"base_lr": [0.01], "lr": [0.01, 0.005]}


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        (3, ArgumentTypeError, "must be a dict .* got 3"),
        ({"type": "OptimWrapper"}, ArgumentError, "needs 'optimizer'.*it has \\['type'\\]"),
        ({"optimizer": 3}, ArgumentTypeError, "must be a config .* got a int"),
        ({"optimizer": {"type": "SGDD", "lr": 0.1}}, NotFoundError, "SGDD.*Did you mean 'SGD'"),
        ({"optimizer": {"type": "SGD", "lrr": 0.1}}, ArgumentTypeError, "'lrr'.*Did you mean 'lr'"),
        ({"optimizer": {"type": "SGD", "lr": "1e-3"}}, ArgumentTypeError, "the text '1e-3'.*1.0e-3"),
        ({"optimizer": SGD, "clip_grad": {"max_nrom": 1}}, ArgumentError, "'max_nrom'.*Did you mean 'max_norm'"),
        ({"optimizer": SGD, "accumulative_counts": 0}, ArgumentError, "at least 1, got 0"),
        ({"optimizer": SGD, "accumulative_count": 2}, ArgumentTypeError, "Did you mean 'accumulative_counts'"),
    ],
)
def test_wrong_configs_are_refused_with_the_fix(cfg: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_optim_wrapper(Net(), cfg)


@pytest.mark.parametrize(
    ("rules", "optimizer", "error", "message"),
    [
        (3, SGD, ArgumentTypeError, "paramwise_cfg must be a dict or None, got int: 3"),
        ({"bias_lr_mul": 2.0}, SGD, ArgumentError, "no rule 'bias_lr_mul'.*Did you mean 'bias_lr_mult'"),
        ({"custom_keys": ["head"]}, SGD, ArgumentTypeError, "custom_keys must be a dict"),
        ({"custom_keys": {"head": 3}}, SGD, ArgumentTypeError, "custom_keys\\['head'\\] must be a dict"),
        ({"bias_lr_mult": "2"}, SGD, ArgumentTypeError, "bias_lr_mult must be a number, got '2'"),
        ({"norm_decay_mult": 0.0}, {"type": "SGD", "lr": 0.1}, ArgumentError, "optimizer's weight_decay.*gives none"),
        ({"bias_lr_mult": 2.0}, {"type": "SGD"}, ArgumentError, "multiplies the optimizer's lr.*gives none"),
        (
            {"custom_keys": {"head": {"decay_mult": 0.0}}},
            {"type": "SGD", "lr": 0.1},
            ArgumentError,
            "custom_keys\\['head'\\].decay_mult=0.0 multiplies",
        ),
    ],
)
def test_wrong_rules_are_refused_with_the_fix(
    rules: Any, optimizer: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DefaultOptimWrapperConstructor({"optimizer": optimizer}, rules)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Linear has no parameter to train: all 2 are frozen"):
        build_optim_wrapper(nn.Linear(2, 2).requires_grad_(False), {"optimizer": dict(SGD)})
    with pytest.raises(ArgumentError, match="ReLU has no parameter to train: it has none at all"):
        build_optim_wrapper(nn.ReLU(), {"optimizer": dict(SGD)})
