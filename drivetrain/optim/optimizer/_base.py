"""What every optimizer wrapper offers, whatever it wraps."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from torch import Tensor

from drivetrain.errors import NotFoundError
from drivetrain.typing import StateDict


class BaseOptimWrapper(metaclass=ABCMeta):
    """Base of optimizer wrappers: reads and saves the wrapped optimizer, and leaves the update to its subclasses.

    Args:
        optimizer: anything with `param_groups`, `defaults`, `state_dict` and `load_state_dict`; usually a
            `torch.optim.Optimizer`.

    Attributes:
        optimizer: the wrapped optimizer.
        base_param_settings: None, or one more parameter group, which holds no parameter of the model and follows the
            schedules at the settings of the optimizer. It is what 'base_lr' in the log stands for.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.base_param_settings: dict[str, Any] | None = None

    @abstractmethod
    def update_params(self, *args: Any, **kwargs: Any) -> None:
        """Run backward from a loss and update the parameters when that is due."""

    @abstractmethod
    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients of `loss`, a scalar."""

    @abstractmethod
    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients."""

    @abstractmethod
    def step(self, **kwargs: Any) -> None:
        """Update the parameters from their gradients."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, followed by `base_param_settings` when there are such settings."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups if self.base_param_settings is None else [*groups, self.base_param_settings]

    @property
    def defaults(self) -> dict[str, Any]:
        """The optimizer's default settings."""
        defaults: dict[str, Any] = self.optimizer.defaults
        return defaults

    def state_dict(self) -> StateDict:
        """The optimizer's state, with 'base_param_settings' added when there are such settings."""
        state: StateDict = self.optimizer.state_dict()
        if self.base_param_settings is not None:
            state["base_param_settings"] = dict(self.base_param_settings)
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state; `state_dict` itself is left as it is.

        Raises:
            NotFoundError: there is no optimizer state in it.
        """
        state = dict(state_dict)
        settings = state.pop("base_param_settings", None)
        if "param_groups" not in state:
            raise NotFoundError(
                f"this is not the state of one optimizer: it lacks 'param_groups' and has {sorted(map(str, state))}. "
                "The states of several optimizers are loaded by an OptimWrapperDict."
            )
        self.optimizer.load_state_dict(state)
        if settings is not None:
            self.base_param_settings = dict(settings)

    def get_lr(self) -> dict[str, list[Any]]:
        """Learning rates: `{'lr': [one a group]}`, with 'base_lr' first when there are base settings."""
        rates: dict[str, list[Any]] = {}
        if self.base_param_settings is not None:
            rates["base_lr"] = [self.base_param_settings["lr"]]
        rates["lr"] = [group["lr"] for group in self.optimizer.param_groups]
        return rates

    def get_momentum(self) -> dict[str, list[float]]:
        """Momenta: `{'momentum': [one a group]}`, the first beta of an Adam, 0 where an optimizer has neither."""
        return {"momentum": [_momentum_of(group) for group in self.optimizer.param_groups]}


def _momentum_of(group: dict[str, Any]) -> float:
    if "momentum" in group:
        return group["momentum"]
    return group["betas"][0] if "betas" in group else 0
