"""Initialisers: the numbers of torch.nn.init, the order of draws, configs and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, BuildError, NotFoundError
from drivetrain.logging import MMLogger
from drivetrain.model import (
    BaseInit,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from drivetrain.registry import WEIGHT_INITIALIZERS


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Linear(5, 6), nn.BatchNorm2d(2)), nn.Linear(2, 3))


def weights(module: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in module.parameters()]


KAIMING = {"a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda m: constant_init(m, 3.5, 0.5), lambda w: nn.init.constant_(w, 3.5)),
        (lambda m: xavier_init(m, 2.0, 0.5), lambda w: nn.init.xavier_normal_(w, 2.0)),
        (lambda m: xavier_init(m, 2.0, 0.5, "uniform"), lambda w: nn.init.xavier_uniform_(w, 2.0)),
        (lambda m: normal_init(m, 1.0, 0.2, 0.5), lambda w: nn.init.normal_(w, 1.0, 0.2)),
        (lambda m: uniform_init(m, -1.0, 2.0, 0.5), lambda w: nn.init.uniform_(w, -1.0, 2.0)),
        (
            lambda m: kaiming_init(m, bias=0.5),
            lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_out", nonlinearity="relu"),
        ),
        (
            lambda m: kaiming_init(m, 1, "fan_in", "leaky_relu", 0.5, "uniform"),
            lambda w: nn.init.kaiming_uniform_(w, **KAIMING),
        ),
        (lambda m: caffe2_xavier_init(m, 0.5), lambda w: nn.init.kaiming_uniform_(w, **KAIMING)),
    ],
)
def test_functions_draw_what_torch_draws(ours: Callable[..., None], theirs: Callable[..., Tensor]) -> None:
    layer, expected = nn.Conv2d(3, 4, 3), torch.empty(4, 3, 3, 3)
    torch.manual_seed(1)
    ours(layer)
    torch.manual_seed(1)
    theirs(expected)
    assert torch.equal(layer.weight, expected)
    assert torch.equal(layer.bias, torch.full((4,), 0.5))


@given(mean=st.floats(-1, 1), std=st.floats(0.05, 3), seed=st.integers(0, 99))
def test_trunc_normal_inverts_the_distribution_function_of_one_uniform_draw(mean: float, std: float, seed: int) -> None:
    a, b = -1.5, 1.25
    torch.manual_seed(seed)
    drawn = trunc_normal_(torch.empty(50), mean, std, a, b)
    torch.manual_seed(seed)
    low, high = (math.erf((bound - mean) / std / math.sqrt(2)) for bound in (a, b))
    expected = torch.empty(50).uniform_(low, high).double().erfinv() * std * math.sqrt(2) + mean
    torch.testing.assert_close(drawn.double(), expected.clamp(a, b), rtol=1e-3, atol=1e-4)
    assert drawn.min() >= a and drawn.max() <= b


def test_trunc_normal_has_the_moments_of_the_cut_distribution() -> None:
    drawn = trunc_normal_(torch.empty(200_000), 0.0, 1.0, -2.0, 2.0)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 0.8796) < 0.01


def test_trunc_normal_init_uses_values_as_bounds() -> None:
    layer = nn.Linear(50, 50)
    trunc_normal_init(layer, std=5.0, a=-0.1, b=0.1, bias=2)
    assert layer.weight.abs().max() <= 0.1 and layer.bias.unique().tolist() == [2.0]


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Linear(2, 2, bias=False)])
def test_functions_leave_alone_what_is_not_there(module: nn.Module) -> None:
    constant_init(module, 1.0, 1.0)
    assert all(param.eq(1).all() for param in module.parameters())


@given(st.floats(0.001, 0.999))
def test_bias_init_with_prob_is_the_logit(prob: float) -> None:
    assert torch.sigmoid(torch.tensor(bias_init_with_prob(prob), dtype=torch.double)).item() == pytest.approx(prob)


def test_a_probability_outside_of_0_and_1_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"strictly between 0 and 1, got 1\.5"):
        bias_init_with_prob(1.5)


def test_layers_match_by_own_name_and_by_direct_base() -> None:
    for layer, hit in [("Linear", "1.0.weight"), ("_ConvNd", "0.weight"), ("_BatchNorm", "1.1.weight")]:
        module = net()
        initialize(module, {"type": "Constant", "layer": layer, "val": 9.0})
        touched = {name for name, param in module.named_parameters() if param.eq(9).all()}
        assert hit in touched
        assert touched <= {"0.weight", "1.0.weight", "1.1.weight", "2.weight"}


def test_draws_come_in_the_order_of_module_apply() -> None:
    class Nested(nn.Linear):
        """Draws after the layer inside it."""

        def __init__(self) -> None:
            super().__init__(2, 2)
            self.inner = nn.Linear(2, 2)

    module, same = (nn.Sequential(net(), Nested()) for _ in range(2))
    torch.manual_seed(5)
    initialize(module, {"type": "Normal", "layer": ["Linear", "Conv2d"], "std": 2.0})
    torch.manual_seed(5)
    same.apply(lambda m: normal_init(m, 0, 2.0) if type(m) in (nn.Linear, nn.Conv2d, Nested) else None)
    assert all(map(torch.equal, weights(module), weights(same)))


def test_a_list_of_configs_is_applied_in_order() -> None:
    module = net()
    initialize(module, [{"type": "Constant", "layer": "Linear", "val": v} for v in (1.0, 2.0)])
    assert module[2].weight.unique().tolist() == [2.0]


def test_override_takes_a_whole_child_and_does_not_change_the_config() -> None:
    module = net()
    cfg = {"type": "Constant", "layer": "Linear", "val": 1.0, "override": {"type": "Constant", "name": "1", "val": 3.0}}
    before = repr(cfg)
    initialize(module, cfg)
    assert module[1][0].weight.unique().tolist() == [3.0] and module[1][1].weight.unique().tolist() == [3.0]
    assert module[2].weight.unique().tolist() == [1.0]
    assert repr(cfg) == before


def test_override_with_only_a_name_uses_the_outer_initialiser() -> None:
    module = net()
    initialize(module, {"type": "Constant", "val": 4.0, "bias": 1.0, "override": [{"name": "0"}, {"name": "2"}]})
    assert module[0].weight.unique().tolist() == module[2].weight.unique().tolist() == [4.0]
    assert not module[1][0].weight.eq(4).any()


@pytest.mark.parametrize(
    ("cfg", "error", "says"),
    [
        ({"type": "Konstant", "val": 1}, NotFoundError, "Did you mean 'Constant'"),
        ({"val": 1}, NotFoundError, "no key 'type'"),
        ("Constant", ArgumentTypeError, "dict or a list of dicts"),
        ([3], ArgumentTypeError, "dict or a list of dicts"),
        ({"type": "Constant", "layer": "Linear", "val": 1, "bais": 2}, TypeError, "bais"),
        ({"type": "Constant", "layer": nn.Linear, "val": 1}, ArgumentTypeError, "not nn.Conv2d"),
        (
            {"type": "Constant", "layer": "Linear", "val": 1, "bias": "2"},
            ArgumentTypeError,
            "bias must be a number, got '2'",
        ),
        (
            {"type": "Constant", "layer": "Linear", "val": 1, "bias_prob": 1},
            ArgumentTypeError,
            "bias_prob must be a float",
        ),
        ({"type": "Xavier", "layer": "Linear", "distribution": "unifrom"}, ArgumentError, "Did you mean 'uniform'"),
        (
            {"type": "Constant", "val": 1, "override": {"type": "Constant", "val": 1}},
            ArgumentError,
            "must say with `name`",
        ),
        ({"type": "Constant", "val": 1, "override": {"name": "0", "val": 1}}, ArgumentError, "no `type`"),
        ({"type": "Constant", "val": 1, "override": 3}, ArgumentTypeError, "override must be a dict"),
        ({"type": "Constant", "val": 1, "override": {"name": "hed"}}, BuildError, "Did you mean 'head'"),
    ],
)
def test_wrong_configs_say_what_to_write(cfg: Any, error: type[Exception], says: str) -> None:
    module = nn.ModuleDict({"0": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    with pytest.raises(error, match=says):
        initialize(module, cfg)


@pytest.fixture
def log(tmp_path: Any) -> Callable[[], str]:
    path = tmp_path / "run.log"
    MMLogger.get_instance("model-tests", log_file=str(path))
    return lambda: path.read_text()


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        ({"type": "Constant", "layer": "Conv3d", "val": 1}, "Layers there: BatchNorm2d, Conv2d, Linear, Sequential"),
        ({"type": "Constant", "val": 1}, "neither `layer` nor `override`"),
    ],
)
def test_a_config_that_initialises_nothing_warns(cfg: Any, says: str, log: Callable[[], str]) -> None:
    initialize(net(), cfg)
    assert says in log() and "WARNING" in log()


def test_an_initialiser_of_ones_own_needs_no_knowledge_of_ours() -> None:
    @WEIGHT_INITIALIZERS.register_module(name="TestOnes", force=True)
    class Ones(BaseInit):
        def __call__(self, module: nn.Module) -> None:
            for layer in module.modules():
                if type(layer).__name__ in self.layer:
                    nn.init.ones_(layer.weight)

    try:
        module = net()
        initialize(module, {"type": "TestOnes", "layer": "Linear"})
        assert module[2].weight.unique().tolist() == [1.0]
    finally:
        WEIGHT_INITIALIZERS.module_dict.pop("TestOnes")


def test_init_info_names_the_class_and_its_numbers() -> None:
    assert ConstantInit(val=1)._get_init_info() == "ConstantInit: val=1, bias=0"
    assert "fan_in" in Caffe2XavierInit()._get_init_info()
    assert KaimingInit(layer="Linear", bias_prob=0.5).bias == 0.0
