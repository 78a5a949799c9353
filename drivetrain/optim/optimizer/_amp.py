"""Mixed precision: autocast around the step, and a loss scale where float16 needs one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.registry import OPTIM_WRAPPERS
from drivetrain.typing import StateDict

from ._guard import is_recorded
from ._wrapper import NOTHING, OptimWrapper


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Runs the forward pass under autocast; with float16, scales the loss so that small gradients survive.

    bfloat16 has the range of float32 and gets no scaler. float32 and float64 switch autocast off. The device is that of
    the optimizer's parameters; the CPU works.

    An update whose gradients overflow is left out and counted, as 'train/skipped_steps' in the log; `updated` is False
    for it, so that schedules and averaged weights wait. That takes one flag from the device at each update: torch's
    scaler reads it before the update, here it is read after that of a fused optimizer, which decides on the device. In
    a step that is recorded in a CUDA graph nothing is read, and an update that was left out counts like any other.

    Args:
        loss_scale: 'dynamic'; a number, for a scale that never changes; or a dict of arguments for
            `torch.amp.GradScaler`. Used with float16 only.
        dtype: one of `valid_dtypes` by name or as a `torch.dtype`; None is autocast's own choice for the device
            (float16 on CUDA, bfloat16 on the CPU).
        use_fsdp: scale for sharded parameters (`ShardedGradScaler`).
        kwargs: for `OptimWrapper`.

    Attributes:
        cast_dtype: the `torch.dtype` of autocast.
        loss_scaler: the scaler, or None without float16.

    Raises:
        ArgumentError: `dtype` or `loss_scale` has a wrong value.
        ArgumentTypeError: `dtype` or `loss_scale` has a wrong type.
    """

    _reached: bool = False
    valid_dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")

    def __init__(
        self,
        loss_scale: str | float | dict[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._device_type = _device_type(self.optimizer)
        self.cast_dtype = self._parse_dtype(dtype)
        self._autocasts = self.cast_dtype in (torch.float16, torch.bfloat16)
        scaler_args, self._scale_update_param = _parse_loss_scale(loss_scale)
        self.loss_scaler: GradScaler | None = None
        if self.cast_dtype == torch.float16:
            self.loss_scaler = _build_scaler(self._device_type, use_fsdp, scaler_args)
            self.optimizer.register_step_post_hook(self._note_update)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Scale `loss` (a scalar) where there is a scaler, compute gradients, and count it."""
        super().backward(loss if self.loss_scaler is None else self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip and update; with a scaler, unscale first and leave out an update whose gradients are not finite."""
        if self.loss_scaler is None:
            super().step(**kwargs)
            return
        if self._counts is not None:
            self._counts.divide(self._parameters_with_gradient())
        if self.clip_grad_kwargs is not None:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self._reached = False
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._scale_update_param)
        self._note_outcome(self._reached)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Autocast, inside the context of `OptimWrapper`."""
        outer = super().optim_context(model)
        if not self._autocasts:
            return outer
        autocast = torch.autocast(self._device_type, dtype=self.cast_dtype)
        return autocast if outer is NOTHING else _both(outer, autocast)

    def state_dict(self) -> StateDict:
        """The optimizer's state, with 'loss_scaler' added when there is a scaler."""
        state = super().state_dict()
        if self.loss_scaler is not None:
            state["loss_scaler"] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state; a scale that is not in it, or not needed here, is passed over."""
        state = dict(state_dict)
        scale = state.pop("loss_scaler", None)
        if scale and self.loss_scaler is not None:
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state)

    def _note_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # torch's scaler tells nobody that it skipped: the optimizer's own step was reached or not. A fused one is
        # always reached, with the flag as an attribute.
        found = getattr(optimizer, "found_inf", None)
        self._reached = found is None or is_recorded() or not bool(found)

    def _parse_dtype(self, dtype: str | torch.dtype | None) -> torch.dtype:
        if dtype is None:
            return torch.get_autocast_dtype(self._device_type)
        name = str(dtype).removeprefix("torch.")
        if type(dtype) not in (str, torch.dtype):
            raise ArgumentTypeError(f"dtype must be a str or a torch.dtype, got {dtype!r}.")
        if name not in self.valid_dtypes:
            raise ArgumentError(
                f"dtype must be one of {', '.join(self.valid_dtypes)}, got {name!r}."
                f"{did_you_mean(name, self.valid_dtypes)}"
            )
        parsed: torch.dtype = getattr(torch, name)
        return parsed


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


def _device_type(optimizer: Optimizer) -> str:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return next(parameters).device.type


def _parse_loss_scale(loss_scale: Any) -> tuple[dict[str, Any], float | None]:
    """Arguments of the scaler, and the scale to set after each update (None where the scaler finds its own)."""
    if loss_scale == "dynamic":
        return {}, None
    if type(loss_scale) in (int, float):
        return {"init_scale": float(loss_scale)}, float(loss_scale)
    if hasattr(loss_scale, "items"):
        return dict(loss_scale.items()), None
    kind = ArgumentError if type(loss_scale) is str else ArgumentTypeError
    raise kind(f"loss_scale must be 'dynamic', a number or a dict of arguments for GradScaler, got {loss_scale!r}.")


def _build_scaler(device_type: str, use_fsdp: bool, arguments: dict[str, Any]) -> GradScaler:
    factory: Any = GradScaler
    if use_fsdp:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler as factory
    try:
        scaler: GradScaler = factory(**{"device": device_type, **arguments})
    except TypeError as error:
        raise ArgumentTypeError(f"loss_scale={arguments!r} does not fit {factory.__name__}: {error}.") from error
    return scaler
