"""One process, one device."""

from __future__ import annotations

import os

import torch
from torch import nn

from drivetrain.checkpoint import get_state_dict, load_state_dict, weights_to_cpu
from drivetrain.device import get_device
from drivetrain.errors import ArgumentError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.model import is_model_wrapper, revert_sync_batchnorm
from drivetrain.registry import MODEL_WRAPPERS, STRATEGIES
from drivetrain.typing import ConfigType, DeviceLike, StateDict

from .strategy import Strategy

_PROCESSES = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
"""Launchers, and where each says how many processes it started."""


@STRATEGIES.register_module()
class SingleDeviceStrategy(Strategy):
    """Trains on one device of one process.

    Args:
        device: where; by default the accelerator of this machine, else the CPU.
    """

    def __init__(self, device: DeviceLike | None = None) -> None:
        self._device = torch.device(get_device() if device is None else device)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._device

    def setup(self, launcher: str, dist_cfg: dict[str, object]) -> None:
        """Refuse a launcher that started several processes: this strategy has one. One process needs no joining.

        Raises:
            ArgumentError: `launcher` is unknown, did not start this process, or started others beside it.
        """
        if launcher == "none":
            return
        if launcher not in _PROCESSES:
            raise ArgumentError(
                f"launcher must be 'none' or one of {', '.join(map(repr, _PROCESSES))}, got {launcher!r}."
                f"{did_you_mean(str(launcher), ('none', *_PROCESSES))}"
            )
        variable = _PROCESSES[launcher]
        processes = os.environ.get(variable)
        if processes == "1":
            print_log(f"launcher={launcher!r} started one process ({variable}=1): it trains by itself.", "current")
            return
        started = f"started {processes}" if processes else f"did not start this one ({variable} is not set)"
        raise ArgumentError(
            f"launcher={launcher!r} is for runs of several processes and {started}; {type(self).__name__} trains in "
            "one. Use launcher='none', or a strategy for several processes."
        )

    def prepare_model(self, model: nn.Module, model_wrapper_cfg: ConfigType | None = None) -> nn.Module:
        """Move the model to the device; synchronised batch norm becomes plain, with nobody to synchronise with."""
        model = revert_sync_batchnorm(model).to(self._device)
        if model_wrapper_cfg is None:
            return model
        return MODEL_WRAPPERS.build(dict(model_wrapper_cfg), default_args={"module": model})

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The user's own module behind the wrapper."""
        return getattr(model, "module", model) if is_model_wrapper(model) else model

    def model_state_dict(self, model: nn.Module) -> StateDict:
        """Weights of the unwrapped model, on the CPU."""
        return weights_to_cpu(get_state_dict(self.unwrap(model)))

    def load_model_state_dict(self, model: nn.Module, state_dict: StateDict, *, strict: bool = False) -> None:
        """Load weights; what does not fit is reported, see `drivetrain.checkpoint.load_state_dict`."""
        load_state_dict(self.unwrap(model), state_dict, strict=strict)
