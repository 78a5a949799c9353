"""Mixed precision by NVIDIA's apex, for configs that ask for it. torch's own is `AmpOptimWrapper`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import MissingPackageError, NotReadyError
from drivetrain.registry import OPTIM_WRAPPERS
from drivetrain.typing import StateDict

from ._wrapper import OptimWrapper


@OPTIM_WRAPPERS.register_module()
class ApexOptimWrapper(OptimWrapper):
    """Trains through `apex.amp`, which must be installed with its `amp` (older releases; NVIDIA has retired it).

    Model and optimizer are handed to `amp.initialize` when the first step begins; a state that was loaded before that
    is taken over then.

    Args:
        opt_level: 'O0' (float32), 'O1' (patched functions), 'O2' (float16 with float32 batch norm and master weights)
            or 'O3' (float16).
        loss_scale: 'dynamic', or a number.
        enabled: False leaves everything in float32.
        cast_model_type: dtype of the model's weights and inputs.
        patch_torch_functions: cast at each call of torch's functions.
        keep_batchnorm_fp32: keep batch norm in float32.
        master_weights: update float32 copies.
        cast_model_outputs: dtype of the model's outputs.
        num_losses: number of losses of a step.
        verbosity: 0 keeps apex silent.
        min_loss_scale: lower limit of the dynamic scale.
        max_loss_scale: upper limit of the dynamic scale.
        kwargs: for `OptimWrapper`.

    Raises:
        MissingPackageError: there is no `apex.amp`.
    """

    def __init__(
        self,
        opt_level: str = "O1",
        loss_scale: float | str | None = "dynamic",
        enabled: bool | None = True,
        cast_model_type: torch.dtype | None = None,
        patch_torch_functions: bool | None = None,
        keep_batchnorm_fp32: bool | str | None = None,
        master_weights: bool | None = None,
        cast_model_outputs: torch.dtype | None = None,
        num_losses: int = 1,
        verbosity: int = 1,
        min_loss_scale: float | None = None,
        max_loss_scale: float | None = 2.0**24,
        **kwargs: Any,
    ) -> None:
        self._amp = _require_amp()
        super().__init__(**kwargs)
        self.opt_level = opt_level
        self.loss_scale = loss_scale
        self.enabled = enabled
        self.cast_model_type = cast_model_type
        self.patch_torch_functions = patch_torch_functions
        self.keep_batchnorm_fp32 = keep_batchnorm_fp32
        self.master_weights = master_weights
        self.cast_model_outputs = cast_model_outputs
        self.num_losses = num_losses
        self.verbosity = verbosity
        self.min_loss_scale = min_loss_scale
        self.max_loss_scale = max_loss_scale
        self._initialised = False
        self._waiting_state: StateDict | None = None

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Scale `loss` (a scalar), compute gradients and count it.

        Raises:
            NotReadyError: no step has begun: `amp.initialize` needs the model that `optim_context` gets.
        """
        if not self._initialised:
            raise NotReadyError(
                "ApexOptimWrapper gets the model in optim_context: run forward and update_params inside "
                "`with optim_wrapper.optim_context(model):`, as BaseModel.train_step does."
            )
        with self._amp.scale_loss(loss, self.optimizer) as scaled:
            super().backward(scaled, **kwargs)

    def state_dict(self) -> StateDict:
        """The optimizer's state, with 'apex_amp' added, the state of the loss scale, once a step has begun."""
        state = super().state_dict()
        if self._initialised:
            state["apex_amp"] = self._amp.state_dict()
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state, or keep it until the first step begins."""
        if not self._initialised:
            self._waiting_state = dict(state_dict)
            return
        state = dict(state_dict)
        scale = state.pop("apex_amp", None)
        if scale is not None:
            self._amp.load_state_dict(scale)
        super().load_state_dict(state)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of `OptimWrapper`; the first time, model and optimizer are handed to apex."""
        with super().optim_context(model):
            if not self._initialised:
                self._initialise(getattr(model, "module", model))
            yield

    def _initialise(self, model: nn.Module) -> None:
        names = (
            "opt_level", "loss_scale", "enabled", "cast_model_type", "patch_torch_functions", "keep_batchnorm_fp32",
            "master_weights", "cast_model_outputs", "num_losses", "verbosity", "min_loss_scale", "max_loss_scale",
        )  # fmt: skip
        _, self.optimizer = self._amp.initialize(model, self.optimizer, **{name: getattr(self, name) for name in names})
        self._initialised = True
        if self._waiting_state is not None:
            self.load_state_dict(self._waiting_state)
            self._waiting_state = None


def find_amp() -> Any:
    """`apex.amp`, or None when it is not installed or has been retired from the installed release."""
    try:
        return importlib.import_module("apex.amp")
    except ImportError:
        return None


def _require_amp() -> Any:
    amp = find_amp()
    if amp is None:
        raise MissingPackageError(
            "ApexOptimWrapper needs apex with its amp module, which is not installed (PyPI's 'apex' is another "
            "package): build a release that has it from https://github.com/NVIDIA/apex. torch has the same built in: "
            "type='AmpOptimWrapper'."
        )
    return amp
