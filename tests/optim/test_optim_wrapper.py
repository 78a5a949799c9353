from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.logging import MessageHub
from drivetrain.optim import OptimWrapper


def two_groups(**settings: Any) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": 0.01}, {"params": [nn.Parameter(torch.ones(2))]}]
    return torch.optim.SGD(groups, lr=0.1, **settings)


def one_group(**settings: Any) -> tuple[nn.Parameter, torch.optim.SGD]:
    weight = nn.Parameter(torch.ones(3))
    return weight, torch.optim.SGD([weight], lr=0.1, **settings)


def test_update_params_steps_and_drops_the_gradients() -> None:
    weight, optimizer = one_group()
    OptimWrapper(optimizer).update_params((weight * 2).sum())
    assert torch.equal(weight.detach(), torch.full((3,), 1 - 0.1 * 2))
    assert weight.grad is None


def test_update_params_hands_arguments_to_step_and_zero_grad() -> None:
    weight, optimizer = one_group()
    wrapper = OptimWrapper(optimizer)
    wrapper.update_params(weight.sum(), zero_kwargs={"set_to_none": False})
    assert weight.grad is not None and not weight.grad.any()
    seen: dict[str, Any] = {}
    wrapper.optimizer.step = lambda **kwargs: seen.update(kwargs)  # type: ignore[method-assign]
    wrapper.update_params(weight.sum(), step_kwargs={"closure": None})
    assert seen == {"closure": None}


def test_an_optimizer_with_a_zero_grad_of_its_own_is_asked() -> None:
    class Counted(torch.optim.SGD):
        asked = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.asked += 1
            super().zero_grad(set_to_none)

    weight = nn.Parameter(torch.ones(3))
    counted = Counted([weight], lr=0.1)
    OptimWrapper(counted).update_params(weight.sum())
    assert counted.asked == 1 and weight.grad is None
    weight, optimizer = one_group()
    asked: list[str] = []
    optimizer.zero_grad = lambda: asked.append("instance")  # type: ignore[method-assign, assignment]
    OptimWrapper(optimizer).update_params(weight.sum())
    assert asked == ["instance"]


def test_a_step_without_accumulation_gets_the_loss_itself_and_the_empty_context() -> None:
    weight, optimizer = one_group()
    wrapper = OptimWrapper(optimizer)
    loss = weight.sum()
    assert wrapper.scale_loss(loss) is loss
    assert wrapper.optim_context(nn.Identity()) is wrapper.optim_context(nn.Linear(1, 1))


class _Replica(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)
        self.unsynchronised = 0

    @contextmanager
    def no_sync(self) -> Any:
        self.unsynchronised += 1
        yield


def test_gradients_are_exchanged_at_the_last_loss_of_each_window_only() -> None:
    model = _Replica()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 7)
    exchanged = []
    for _ in range(7):
        before = model.unsynchronised
        with wrapper.optim_context(model):
            wrapper.update_params(model(torch.ones(1, 1)).sum())
        exchanged.append(model.unsynchronised == before)
    assert exchanged == [False, False, True, False, False, True, True]


def test_clipping_by_norm_logs_the_norm_and_bounds_the_step() -> None:
    weight, optimizer = one_group()
    hub = MessageHub.get_instance("clip")
    wrapper = OptimWrapper(optimizer, clip_grad={"max_norm": 1.0})
    wrapper.update_params((weight * 5).sum())
    assert float(hub.get_scalar("train/grad_norm").current()) == pytest.approx(5 * 3**0.5)
    assert (weight.detach() - 1).norm() == pytest.approx(0.1, rel=1e-5)


def test_clipping_by_value_bounds_each_gradient() -> None:
    weight, optimizer = one_group()
    OptimWrapper(optimizer, clip_grad={"type": "value", "clip_value": 0.5}).update_params((weight * 5).sum())
    assert torch.equal(weight.detach(), torch.full((3,), 1 - 0.1 * 0.5))


def test_clipping_leaves_frozen_parameters_and_the_callers_dict_alone() -> None:
    weight, optimizer = one_group()
    clip_grad = {"type": "norm", "max_norm": 1.0}
    wrapper = OptimWrapper(optimizer, clip_grad=clip_grad)
    weight.grad = torch.full((3,), 9.0)
    weight.requires_grad_(False)
    wrapper._clip_grad()
    assert torch.equal(weight.grad, torch.full((3,), 9.0))
    assert clip_grad == {"type": "norm", "max_norm": 1.0}


def test_no_value_is_read_on_the_host_in_a_training_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from drivetrain.optim import CosineAnnealingLR, LinearLR

    model = nn.Linear(4, 2)
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), accumulative_counts=2, clip_grad={"max_norm": 0.1}
    )
    wrapper.initialize_count_status(model, 0, 5)
    schedules = [LinearLR(wrapper, end=3, by_epoch=False), CosineAnnealingLR(wrapper, T_max=9, by_epoch=False)]

    def forbidden(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a device value was read on the host")

    for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, method, forbidden)
    for _ in range(5):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 4)).sum()
        wrapper.update_params(loss)
        for schedule in schedules:
            schedule.step()
        wrapper.get_lr()


def test_several_groups_bring_base_settings_that_lead_the_learning_rates() -> None:
    wrapper = OptimWrapper(two_groups(momentum=0.8))
    assert list(wrapper.get_lr().items()) == [("base_lr", [0.1]), ("lr", [0.01, 0.1])]
    assert wrapper.get_momentum() == {"momentum": [0.8, 0.8]}
    assert wrapper.param_groups[-1] is wrapper.base_param_settings
    assert len(wrapper.param_groups) == 3 and len(wrapper.optimizer.param_groups) == 2


def test_one_group_has_no_base_settings() -> None:
    _, optimizer = one_group()
    wrapper = OptimWrapper(optimizer)
    assert wrapper.get_lr() == {"lr": [0.1]}
    assert wrapper.param_groups is optimizer.param_groups
    assert wrapper.defaults is optimizer.defaults


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [(torch.optim.Adam, 0.9), (torch.optim.RMSprop, 0), (torch.optim.Adagrad, 0)],
)
def test_momentum_is_the_first_beta_or_zero_where_there_is_none(optimizer: Any, momentum: float) -> None:
    wrapper = OptimWrapper(optimizer([nn.Parameter(torch.ones(1))], lr=0.1))
    assert wrapper.get_momentum() == {"momentum": [momentum]}


def test_state_goes_on_bitwise_with_momentum_and_base_settings() -> None:
    first, second = OptimWrapper(two_groups(momentum=0.9)), OptimWrapper(two_groups(momentum=0.9))
    weights = [[p for g in wrapper.optimizer.param_groups for p in g["params"]] for wrapper in (first, second)]

    def step(wrapper: OptimWrapper, parameters: list[nn.Parameter]) -> None:
        wrapper.update_params(sum((p * torch.arange(1.0, 3.0)).pow(2).sum() for p in parameters))  # type: ignore[arg-type]

    for _ in range(3):
        step(first, weights[0])
    first.base_param_settings["lr"] = 0.5  # type: ignore[index]
    state = first.state_dict()
    second.load_state_dict(copy.deepcopy(state))
    with torch.no_grad():
        for ours, theirs in zip(weights[1], weights[0], strict=True):
            ours.copy_(theirs)
    for wrapper, parameters in zip((first, second), weights, strict=True):
        step(wrapper, parameters)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert second.get_lr()["base_lr"] == [0.5]
    assert set(state) == {"state", "param_groups", "base_param_settings", "updates"}


def test_a_saved_state_does_not_follow_later_schedules() -> None:
    wrapper = OptimWrapper(two_groups())
    state = wrapper.state_dict()
    wrapper.base_param_settings["lr"] = 7.0  # type: ignore[index]
    assert state["base_param_settings"]["lr"] == 0.1


def test_the_state_of_several_optimizers_is_refused() -> None:
    with pytest.raises(NotFoundError, match=r"lacks 'param_groups' and has \['dis', 'gen'\].*OptimWrapperDict"):
        OptimWrapper(two_groups()).load_state_dict({"gen": {}, "dis": {}})


def test_repr_names_the_window_and_the_optimizer() -> None:
    text = repr(OptimWrapper(two_groups(), accumulative_counts=4))
    assert text.startswith("Type: OptimWrapper\n_accumulative_counts: 4\noptimizer: \nSGD (")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": 3}, ArgumentTypeError, "must be a torch.optim.Optimizer, got a int: 3"),
        ({"accumulative_counts": 0}, ArgumentError, "must be at least 1, got 0"),
        ({"accumulative_counts": 1.5}, ArgumentTypeError, "must be an int, got 1.5"),
        ({"clip_grad": 3}, ArgumentTypeError, "must be a dict .* got 3"),
        ({"clip_grad": {}}, ArgumentError, "needs 'max_norm'"),
        ({"clip_grad": {"type": "norms", "max_norm": 1}}, ArgumentError, "'norms'. Did you mean 'norm'"),
        ({"clip_grad": {"max_nrm": 1}}, ArgumentError, "no argument 'max_nrm'.*Did you mean 'max_norm'"),
        ({"clip_grad": {"type": "value", "max_norm": 1}}, ArgumentError, "it takes clip_value, foreach"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OptimWrapper(**{"optimizer": two_groups(), **arguments})
