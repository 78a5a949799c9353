from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.optim import AmpOptimWrapper, OptimWrapper


def amp(**settings: Any) -> tuple[nn.Linear, AmpOptimWrapper]:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    return model, AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **settings)


def step(model: nn.Module, wrapper: OptimWrapper, factor: float = 1.0) -> torch.Tensor:
    with wrapper.optim_context(model):
        output: torch.Tensor = model(torch.ones(2, 4))
        loss = output.float().pow(2).mean() * factor
    wrapper.update_params(loss)
    return output


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [
        (None, torch.bfloat16),
        ("bfloat16", torch.bfloat16),
        (torch.float16, torch.float16),
        ("float32", torch.float32),
        (torch.float64, torch.float32),
    ],
)
def test_the_forward_pass_computes_in_the_dtype_asked_for(dtype: Any, computed: torch.dtype) -> None:
    model, wrapper = amp(dtype=dtype)
    assert step(model, wrapper).dtype == computed
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_only_float16_has_a_scaler_and_saves_its_scale(dtype: Any) -> None:
    _, wrapper = amp(dtype=dtype)
    assert wrapper.loss_scaler is None
    assert "loss_scaler" not in wrapper.state_dict()
    _, half = amp(dtype="float16")
    assert half.loss_scaler is not None
    assert "loss_scaler" in half.state_dict()


def test_float32_trains_bitwise_like_the_plain_wrapper() -> None:
    model, wrapper = amp(dtype="float32", clip_grad={"max_norm": 0.1})
    torch.manual_seed(0)
    plain_model = nn.Linear(4, 4)
    plain = OptimWrapper(torch.optim.SGD(plain_model.parameters(), lr=0.1), clip_grad={"max_norm": 0.1})
    for _ in range(5):
        step(model, wrapper)
        step(plain_model, plain)
    assert torch.equal(model.weight, plain_model.weight)


def test_an_update_with_gradients_that_overflow_is_skipped_and_said_so() -> None:
    model, wrapper = amp(dtype="float16")
    step(model, wrapper)
    assert wrapper.step_skipped is False
    before = model.weight.clone()
    step(model, wrapper, float("inf"))
    assert wrapper.step_skipped is True
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler is not None and wrapper.loss_scaler.get_scale() == 2.0**15
    step(model, wrapper)
    assert wrapper.step_skipped is False
    assert not torch.equal(model.weight, before)


def test_clipping_sees_unscaled_gradients() -> None:
    model, wrapper = amp(dtype="float16", clip_grad={"max_norm": 0.01})
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    step(model, wrapper)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_number_is_a_scale_that_never_changes() -> None:
    model, wrapper = amp(dtype="float16", loss_scale=128)
    step(model, wrapper, float("inf"))
    assert wrapper.loss_scaler is not None and wrapper.loss_scaler.get_scale() == 128.0


def test_the_scale_survives_a_state_round_trip_and_may_be_absent() -> None:
    _, wrapper = amp(dtype="float16", loss_scale={"init_scale": 64.0})
    state = wrapper.state_dict()
    _, other = amp(dtype="float16")
    other.load_state_dict(state)
    assert other.loss_scaler is not None and other.loss_scaler.get_scale() == 64.0
    assert "loss_scaler" in state
    _, unscaled = amp(dtype="bfloat16")
    unscaled.load_state_dict(state)
    other.load_state_dict(unscaled.state_dict())
    assert other.loss_scaler.get_scale() == 64.0


def test_autocast_and_the_missing_exchange_go_together_inside_a_window() -> None:
    class Replica(nn.Linear):
        entered = 0

        def no_sync(self) -> Any:
            type(self).entered += 1
            return torch.enable_grad()

    model = Replica(4, 4)
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
    assert step(model, wrapper).dtype == torch.bfloat16
    assert step(model, wrapper).dtype == torch.bfloat16
    assert Replica.entered == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dtype": "bf16"}, ArgumentError, "got 'bf16'. Did you mean 'bfloat16'"),
        ({"dtype": torch.int8}, ArgumentError, "got 'int8'"),
        ({"dtype": 16}, ArgumentTypeError, "must be a str or a torch.dtype, got 16"),
        ({"loss_scale": "static"}, ArgumentError, "'dynamic', a number or a dict .* got 'static'"),
        ({"loss_scale": None}, ArgumentTypeError, "got None"),
        ({"loss_scale": {"init": 2.0}, "dtype": "float16"}, ArgumentTypeError, "GradScaler: .*'init'"),
    ],
)
def test_wrong_precision_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        amp(**arguments)
