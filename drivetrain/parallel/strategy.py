"""The seam between the runner and the devices a step runs on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.typing import ConfigType, StateDict


class Strategy(ABC):
    """Owns everything that depends on how many devices a step runs on, and on which.

    The runner asks its strategy to place and wrap the model, to give and take state dicts in their plain, unwrapped
    form, and to combine values over processes. A subclass for another way of training overrides what differs; the rest
    is the single-process behaviour.
    """

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of this process."""

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return 0

    @property
    def world_size(self) -> int:
        """Number of processes of the run."""
        return 1

    def setup(self, launcher: str, dist_cfg: dict[str, Any]) -> None:
        """Join the other processes, before anything is built. On one process there is nothing to do."""

    @abstractmethod
    def prepare_model(self, model: nn.Module, model_wrapper_cfg: ConfigType | None = None) -> nn.Module:
        """Place `model` on the device, convert layers, wrap it; returns what the loops call.

        Args:
            model: the user's module.
            model_wrapper_cfg: config of a wrapper from MODEL_WRAPPERS, or None for the strategy's own choice.
        """

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The user's own module behind the wrapper."""
        return model

    @abstractmethod
    def model_state_dict(self, model: nn.Module) -> StateDict:
        """Weights of the unwrapped model, on the CPU, full (not sharded)."""

    @abstractmethod
    def load_model_state_dict(self, model: nn.Module, state_dict: StateDict, *, strict: bool = False) -> None:
        """Load full weights into the unwrapped model; mismatches are reported."""

    def optim_state_dict(self, optim_wrapper: Any) -> StateDict:
        """State of the optimizer, full."""
        return optim_wrapper.state_dict()

    def load_optim_state_dict(self, optim_wrapper: Any, state_dict: StateDict) -> None:
        """Take over the state of the optimizer."""
        optim_wrapper.load_state_dict(state_dict)

    def mean_over_ranks(self, values: Tensor) -> Tensor:
        """Mean of a packed tensor of scalars over all processes, without a host read."""
        return values
