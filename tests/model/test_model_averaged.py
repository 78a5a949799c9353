"""Averaged models: the arithmetic, the layout of their state, and what an update costs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.errors import ArgumentError, NotFoundError
from drivetrain.model import BaseAveragedModel, ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage


class One(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.p = nn.Parameter(value.clone())


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.bn = nn.BatchNorm1d(2)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def fill(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(value)


def run(average: BaseAveragedModel, model: nn.Module, values: list[float]) -> list[float]:
    seen = []
    for value in values:
        fill(model, value)
        average.update_parameters(model)
        seen.append(next(average.module.parameters()).flatten()[0].item())
    return seen


series = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=12)


@given(series, st.floats(0.001, 0.4), st.integers(1, 4))
def test_ema_is_the_recurrence(values: list[float], momentum: float, interval: int) -> None:
    model = One(torch.zeros(3))
    seen = run(ExponentialMovingAverage(model, momentum=momentum, interval=interval), model, values)
    expected = values[0]
    for step, (value, got) in enumerate(zip(values, seen, strict=True)):
        if step and step % interval == 0:
            expected = (1 - momentum) * expected + momentum * value
        assert got == pytest.approx(expected, abs=1e-4)


@given(series, st.integers(1, 3))
def test_swa_is_the_mean_of_what_it_took(values: list[float], interval: int) -> None:
    model = One(torch.zeros(3))
    seen = run(StochasticWeightAverage(model, interval=interval), model, values)
    taken = values[::interval]
    assert seen[-1] == pytest.approx(sum(taken) / len(taken), abs=1e-4)


def test_annealing_starts_fast_and_ends_at_the_momentum() -> None:
    model = One(torch.zeros(1))
    seen = run(MomentumAnnealingEMA(model, momentum=0.25, gamma=1), model, [0.0, 1.0, 1.0, 1.0, 1.0])
    rest = [1.0]
    for weight in (1 / 2, 1 / 3, 1 / 4, 1 / 4):
        rest.append(rest[-1] * (1 - weight))
    assert seen == pytest.approx([1 - r for r in rest])


def test_ema_is_bitwise_a_lerp() -> None:
    first, second = torch.randn(2, 100)
    average = ExponentialMovingAverage(One(first), momentum=0.0002)
    average.update_parameters(One(first))
    average.update_parameters(One(second))
    assert torch.equal(average.module.p, torch.lerp(first, second, 0.0002))


def test_the_state_has_the_keys_of_the_contract() -> None:
    average = ExponentialMovingAverage(Norm())
    keys = [
        "fc.weight",
        "fc.bias",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ]
    assert list(average.state_dict()) == ["steps", *(f"module.{key}" for key in keys)]
    assert list(average.avg_parameters) == keys[:4]


@pytest.mark.parametrize("cls", [ExponentialMovingAverage, StochasticWeightAverage, MomentumAnnealingEMA])
def test_a_restored_average_goes_on_bitwise(cls: type[BaseAveragedModel]) -> None:
    def steps(average: BaseAveragedModel, model: Norm, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            with torch.no_grad():
                for param in model.parameters():
                    param.normal_(generator=generator)
            average.update_parameters(model)

    model = Norm()
    whole = cls(model)
    steps(whole, model, 1)
    resumed = cls(Norm())
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    steps(whole, model, 2)
    steps(resumed, model, 2)
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours) and int(resumed.steps) == 6


def test_buffers_are_copied_every_time_or_averaged_on_request() -> None:
    model = Norm()
    copied = ExponentialMovingAverage(model, momentum=0.5 - 1e-9, interval=10)
    run(copied, model, [1.0, 2.0])
    assert copied.module.bn.running_mean.tolist() == [2.0, 2.0] and copied.module.scratch.item() == 2.0
    averaged = ExponentialMovingAverage(model, momentum=0.25, update_buffers=True)
    run(averaged, model, [1.0, 2.0])
    assert averaged.module.bn.running_mean.tolist() == [1.25, 1.25]
    assert averaged.module.bn.num_batches_tracked.item() == 1


def test_a_tied_weight_is_averaged_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(1, 1, bias=False)
            self.b = nn.Linear(1, 1, bias=False)
            self.b.weight = self.a.weight

    model = Tied()
    average = ExponentialMovingAverage(model, momentum=0.25, update_buffers=True)
    assert run(average, model, [1.0, 2.0]) == [1.0, 1.25]


def test_the_average_follows_replaced_tensors_and_another_model() -> None:
    model = One(torch.zeros(1))
    average = ExponentialMovingAverage(model, momentum=0.25)
    run(average, model, [1.0])
    model.p = nn.Parameter(torch.full((1,), 2.0))
    average.update_parameters(model)
    assert average.module.p.item() == 1.25
    other = One(torch.full((1,), 5.25))
    average.update_parameters(other)
    assert average.module.p.item() == 2.25


def test_the_average_follows_weights_that_were_assigned_and_buffers_that_are_replaced() -> None:
    model = Norm()
    average = ExponentialMovingAverage(model, momentum=0.25, update_buffers=True)
    run(average, model, [1.0])
    model.load_state_dict({name: torch.full_like(value, 5) for name, value in model.state_dict().items()}, assign=True)
    average.update_parameters(model)
    assert all((tensor == 2).all() for tensor in average.module.parameters())
    for value, expected in ((6.0, 3.0), (7.0, 4.0)):
        model.bn.running_mean = torch.full((2,), value)
        average.update_parameters(model)
        assert average.module.bn.running_mean.tolist() == [expected, expected]


def test_moving_the_model_or_the_average_in_place_loses_nothing() -> None:
    model = One(torch.ones(2))
    average = ExponentialMovingAverage(model, momentum=0.5)
    average.update_parameters(model)
    model.double()
    average.module.double()
    fill(model, 3.0)
    average._forget_source()
    average.update_parameters(model)
    model.p.data = torch.full((2,), 6.0, dtype=torch.float64)
    average.update_parameters(model)
    assert average.module.p.tolist() == [4.0, 4.0]


def test_an_avg_func_of_ones_own_is_called_for_each_pair() -> None:
    calls: list[Any] = []

    class Mine(ExponentialMovingAverage):
        def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
            calls.append((tuple(averaged_param.shape), steps))
            averaged_param.copy_(source_param)

    model = One(torch.zeros(2))
    assert run(Mine(model), model, [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert calls == [((2,), 1), ((2,), 2)]


def test_an_update_is_one_call_for_many_tensors_and_skips_cost_nothing() -> None:
    class Count(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func.overloadpacket))
            return func(*args, **(kwargs or {}))

    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    average = ExponentialMovingAverage(model, interval=2)
    for expected in (["aten._foreach_copy_"], [], ["aten._foreach_lerp_"]):
        with Count() as count:
            average.update_parameters(model)
        assert [name for name in count.names if "foreach" in name] == expected
        assert len(count.names) <= 3


def test_buffers_are_copied_in_one_kernel_for_each_dtype() -> None:
    model = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(10)))
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    dtypes = []
    for copied, originals in (group.tensors() for group in average._copied):
        dtypes.append({tensor.dtype for tensor in [*copied, *originals]})
    assert sorted(map(str, dtypes)) == ["{torch.float32}", "{torch.int64}"]


def test_steps_stay_on_the_cpu_when_the_average_moves() -> None:
    average = ExponentialMovingAverage(One(torch.zeros(1)), device=torch.device("meta"))
    assert average.module.p.device.type == "meta" and average.steps.device.type == "cpu"
    assert average.to("meta").steps.device.type == "cpu"


def test_the_average_takes_no_gradient_and_does_not_own_the_model() -> None:
    model = Norm()
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    assert not any(param.requires_grad for param in average.parameters())
    assert [name for name, _ in average.named_children()] == ["module"]
    assert copy.deepcopy(average)._source is None
    assert torch.equal(average(torch.ones(1, 2)), model(torch.ones(1, 2)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda m: ExponentialMovingAverage(m, momentum=0.0), "between 0 and 1, got 0.0"),
        (lambda m: ExponentialMovingAverage(m, momentum=1.0), "between 0 and 1, got 1.0"),
        (lambda m: ExponentialMovingAverage(m, interval=0), "must be positive, got 0"),
        (lambda m: MomentumAnnealingEMA(m, gamma=0), "gamma must be positive"),
    ],
)
def test_wrong_settings_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        make(One(torch.zeros(1)))


def test_a_model_with_other_parameters_is_refused() -> None:
    with pytest.raises(NotFoundError, match=r"averages \['p'\], which Norm does not have"):
        ExponentialMovingAverage(One(torch.zeros(1))).update_parameters(Norm())


def test_a_momentum_that_looks_like_a_decay_warns(capsys: pytest.CaptureFixture[str]) -> None:
    ExponentialMovingAverage(One(torch.zeros(1)), momentum=0.999)
    assert "did you mean 0.001?" in "".join(capsys.readouterr())
