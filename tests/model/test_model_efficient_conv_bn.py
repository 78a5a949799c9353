"""Convolution and batch norm in one: values and gradients of the pair, and nothing else about the model changes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

from drivetrain.errors import ArgumentError, MissingAttributeError
from drivetrain.model import (
    efficient_conv_bn_eval_control,
    efficient_conv_bn_eval_forward,
    efficient_conv_bn_eval_graph_transform,
    turn_on_efficient_conv_bn_eval,
    turn_on_efficient_conv_bn_eval_for_single_model,
)


def settle(bn: Any) -> Any:
    """Give a batch norm statistics and weights that are not its initial ones."""
    with torch.no_grad():
        bn.running_mean.normal_()
        bn.running_var.uniform_(0.5, 2)
        if bn.affine:
            bn.weight.normal_()
            bn.bias.normal_()
    return bn


def compare(conv: Any, bn: Any, x: torch.Tensor) -> None:
    """Value and every gradient against the plain pair."""
    parameters = [*conv.parameters(), *bn.parameters(), x]
    results = []
    for run in (lambda: bn(conv(x)), lambda: efficient_conv_bn_eval_forward(bn, conv, x)):
        y = run()
        results.append(
            (y, torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum(), parameters))
        )
    (plain, plain_gradients), (folded, folded_gradients) = results
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-5)
    for folded_gradient, gradient in zip(folded_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(folded_gradient, gradient, rtol=1e-4, atol=1e-4)


@given(
    dims=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    affine=st.booleans(),
    transposed=st.booleans(),
    stride=st.integers(1, 2),
)
def test_one_convolution_has_value_and_gradients_of_both(
    dims: int, groups: int, bias: bool, affine: bool, transposed: bool, stride: int
) -> None:
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dims}d")
    more = {"output_padding": stride - 1} if transposed else {"padding": 1}
    conv = kind(4, 6, 3, stride=stride, groups=groups, bias=bias, **more)
    bn = settle(getattr(nn, f"BatchNorm{dims}d")(6, affine=affine)).eval()
    compare(conv, bn, torch.randn(2, 4, *[5] * dims, requires_grad=True))


def test_a_padding_mode_of_its_own_is_kept() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    compare(conv, settle(nn.BatchNorm2d(4)).eval(), torch.randn(2, 3, 5, 5, requires_grad=True))


@pytest.mark.parametrize("bn", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False).eval()])
def test_statistics_of_the_batch_are_taken_as_ever(bn: Any) -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5)
    expected = copy.deepcopy(bn)(conv(x))
    assert torch.equal(efficient_conv_bn_eval_control(bn, conv, x), expected)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), settle(nn.BatchNorm2d(3))
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), settle(nn.BatchNorm2d(3))

    def forward(self, x: Any) -> Any:
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))


class Loop(nn.Module):
    """What torch.fx cannot trace, around blocks that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            if x.sum() > -1e9:
                x = block(x)
        return x


class Counting:
    """Counts how often torch's batch norm is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        original = torch.nn.functional.batch_norm

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(torch.nn.functional, "batch_norm", counted)


@pytest.mark.parametrize("kind", [Block, Loop])
def test_a_model_computes_the_same_with_no_batch_norm_left_in_eval_mode(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = kind().eval()
    names, x = list(model.state_dict()), torch.randn(2, 3, 6, 6)
    expected = model(x)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    counting = Counting(monkeypatch)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert counting.calls == 0
    assert list(model.state_dict()) == names and list(dict(model.named_modules())) == list(dict(kind().named_modules()))


def test_training_mode_is_bit_equal_and_modes_may_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Block()
    model = copy.deepcopy(plain)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(model(x), plain(x)) and torch.equal(model.bn1.running_mean, plain.bn1.running_mean)
    for net in (model, plain):
        net.bn2.eval()
    expected = plain(x)
    counting = Counting(monkeypatch)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert counting.calls == 1


def test_a_copy_uses_its_own_weights() -> None:
    model = Block().eval()
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    x = torch.randn(2, 3, 6, 6)
    before = model(x)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(x), before) and not torch.equal(model(x), before)
    torch.testing.assert_close(pickle.loads(pickle.dumps(twin))(x), before, rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """One norm after two convolutions, a convolution used twice, one whose output goes elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.shared, self.own, self.last = (settle(nn.BatchNorm2d(3)) for _ in range(3))

    def forward(self, x: Any) -> Any:
        x = self.shared(self.a(x)) + self.shared(self.b(x))
        x = self.own(self.c(x)) + self.c(x)
        y = self.d(x)
        return self.last(y) + y


def test_only_pairs_that_belong_together_are_folded() -> None:
    model = Shared().eval()
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    assert torch.equal(model(x), expected)


class Standardised(nn.Conv2d):
    def forward(self, x: Any) -> Any:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def test_a_convolution_with_arithmetic_of_its_own_is_left_alone() -> None:
    model = nn.Sequential(Standardised(3, 4, 1), settle(nn.BatchNorm2d(4))).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    assert torch.equal(model(x), expected)


def test_a_batch_norm_called_on_something_else_normalises_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), settle(nn.BatchNorm2d(3))).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = model[1](x)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    model[0](x)
    assert torch.equal(model[1](x), expected)


def test_a_traced_model_can_be_transformed() -> None:
    model = Block().eval()
    x = torch.randn(2, 3, 6, 6)
    expected = model(x)
    traced = fx.symbolic_trace(model)
    efficient_conv_bn_eval_graph_transform(traced)
    calls = [node for node in traced.graph.nodes if node.target is efficient_conv_bn_eval_control]
    assert len(calls) == 2
    torch.testing.assert_close(traced(x), expected, rtol=1e-4, atol=1e-5)


def test_parts_are_named_by_path_or_pattern() -> None:
    model = nn.ModuleDict({"neck": Block(), "stages": nn.ModuleList([Block(), Block()])})
    turn_on_efficient_conv_bn_eval(model, "stages.*")
    turn_on_efficient_conv_bn_eval(model, ["stages.0"])
    folded = [name for name, module in model.named_modules() if "_folded_norm" in vars(module)]
    assert folded == ["stages.0.conv1", "stages.0.conv2", "stages.1.conv1", "stages.1.conv2"]
    with pytest.raises(MissingAttributeError, match=r"no module 'stage\.0'.*Did you mean 'stages\.0'"):
        turn_on_efficient_conv_bn_eval(model, "stage.0")
    with pytest.raises(ArgumentError, match="no batch norm was found"):
        turn_on_efficient_conv_bn_eval(model, ["neck.conv1"])
    with pytest.raises(TypeError, match="list of names"):
        turn_on_efficient_conv_bn_eval(model, True)  # type: ignore[arg-type]


def test_it_compiles_without_a_break() -> None:
    model = Block().eval()
    x = torch.randn(2, 3, 6, 6)
    expected = model(x)
    turn_on_efficient_conv_bn_eval_for_single_model(model)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), expected, rtol=1e-4, atol=1e-5)
