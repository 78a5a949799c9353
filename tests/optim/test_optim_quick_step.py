"""The step without its label: the same update, and everybody who watches it still sees it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from drivetrain.optim import OptimWrapper
from drivetrain.optim.optimizer import _quick_step


def wrapped(kind: Any = torch.optim.SGD, **settings: Any) -> tuple[nn.Parameter, OptimWrapper]:
    weight = nn.Parameter(torch.linspace(-1, 1, 5))
    return weight, OptimWrapper(kind([weight], lr=0.1, **settings))


def update(weight: nn.Parameter, wrapper: OptimWrapper) -> None:
    wrapper.update_params(weight.pow(3).sum())


def test_the_wrapper_of_this_torch_is_known() -> None:
    _, wrapper = wrapped()
    assert _quick_step._inside(type(wrapper.optimizer).step) is not None


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.LBFGS])
def test_weights_are_those_of_the_ordinary_step(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> torch.Tensor:
        weight, wrapper = wrapped(kind)
        for _ in range(5):
            if kind is torch.optim.LBFGS:
                wrapper.step(closure=lambda weight=weight: weight.pow(2).sum())
            else:
                update(weight, wrapper)
        return weight.detach()

    quick = trained()
    monkeypatch.setattr(_quick_step, "_inside", lambda step: None)
    assert torch.equal(quick, trained())


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_hooks_of_the_optimizer_and_of_all_optimizers_are_called(register: str) -> None:
    weight, wrapper = wrapped()
    seen: list[str] = []
    own = getattr(wrapper.optimizer, register)(lambda *args: seen.append("own"))
    everybodys = getattr(torch_optimizer, register.replace("register_", "register_optimizer_"))(
        lambda *args: seen.append("all")
    )
    update(weight, wrapper)
    assert sorted(seen) == ["all", "own"]
    own.remove()
    everybodys.remove()
    update(weight, wrapper)
    assert len(seen) == 2


def test_a_step_on_the_object_or_in_a_subclass_is_called() -> None:
    class Counted(torch.optim.SGD):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            self.steps += 1
            return super().step(closure)

    weight, wrapper = wrapped(Counted)
    update(weight, wrapper)
    assert wrapper.optimizer.steps == 1
    seen: list[int] = []
    wrapper.optimizer.step = lambda: seen.append(1)  # type: ignore[method-assign, assignment]
    update(weight, wrapper)
    assert (wrapper.optimizer.steps, seen) == (1, [1])


def test_a_profile_has_the_label() -> None:
    weight, wrapper = wrapped()
    with torch.profiler.profile() as profile:
        update(weight, wrapper)
    keys = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad"} <= keys


def test_a_wrapper_that_does_more_is_left_as_it_is() -> None:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        print("more")

    wrapper.hooked = True  # type: ignore[attr-defined]
    wrapper.__wrapped__ = lambda *args: None  # type: ignore[attr-defined]
    assert _quick_step._inside(wrapper) is None
