"""The runner's argument `precision`: one number format for training, validation and testing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.optim import AmpOptimWrapper, BaseOptimWrapper, OptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS

from .amp import autocast

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LONG_NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in _DTYPES.items()}
_PLAIN = (None, torch.float32, torch.float64)
"""The `cast_dtype` of wrappers without autocast."""
_NOTHING: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True)
class Precision:
    """In what format matrix products and convolutions compute; weights, gradients and updates stay float32.

    Args:
        name: 'fp32', 'bf16' or 'fp16'; None leaves it to `AmpOptimWrapper` and to `fp16` of the loops.

    Raises:
        ArgumentTypeError: `name` is no string.
        ArgumentError: it is another string.
    """

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and type(self.name) is not str:
            raise ArgumentTypeError(f"precision must be 'fp32', 'bf16', 'fp16' or None, got {self.name!r}.")
        if self.name is not None and self.name not in _DTYPES:
            short = _LONG_NAMES.get(self.name)
            hint = f" Write {short!r}." if short else did_you_mean(self.name, _DTYPES)
            raise ArgumentError(f"precision must be 'fp32', 'bf16', 'fp16' or None, got {self.name!r}.{hint}")

    @classmethod
    def of(cls, name: str | None, **loops: Any) -> Precision:
        """The precision called `name`, which the loops or their configs, by argument of the runner, do not gainsay."""
        precision = cls(name)
        for argument, loop in loops.items():
            precision._check_loop(argument, loop)
        return precision

    @property
    def dtype(self) -> torch.dtype | None:
        """The format as a dtype, or None where it is not given."""
        return None if self.name is None else _DTYPES[self.name]

    @property
    def casts(self) -> bool:
        """Whether it asks for autocast."""
        return self.name in ("bf16", "fp16")

    def describe(self) -> str:
        """The format in words, for the log."""
        scaled = " with a loss scale" if self.name == "fp16" else ""
        return {
            None: "fp32, unless optim_wrapper, val_cfg or test_cfg say otherwise",
            "fp32": "fp32 for train, val and test",
        }.get(self.name, f"{self.name} by autocast for train, val and test{scaled}; weights in float32")

    def _check_loop(self, name: str, loop: Any) -> None:
        """Refuse a loop, or its config, whose `fp16` says something else."""
        said = loop.get("fp16") if hasattr(loop, "keys") else getattr(loop, "fp16", False) or None
        if self.name is None or said is None or bool(said) is (self.name == "fp16"):
            return
        raise ArgumentError(
            f"precision={self.name!r} and {name}=dict(fp16={said!r}) contradict each other. Leave fp16 out: precision "
            "holds for validation and testing too."
        )

    def prepare_optimizer(self, optim_wrapper: Any) -> Any:
        """The optimizer wrapper, or its config with autocast in it; what does not fit is refused.

        Raises:
            ArgumentError: it computes in another format, or in a way that cannot be changed.
        """
        if self.name is None or optim_wrapper is None:
            return optim_wrapper
        if isinstance(optim_wrapper, BaseOptimWrapper):
            return self.checked(optim_wrapper)
        if isinstance(optim_wrapper, Optimizer):
            return self._with_autocast({"optimizer": optim_wrapper})
        config = dict(optim_wrapper.items())
        if "optimizer" in config:
            return self._with_autocast(config)
        # A constructor of the user's builds several from configs beside each other; ready wrappers are checked.
        return {name: self._prepare_member(value) for name, value in config.items()}

    def checked(self, optim_wrapper: Any) -> Any:
        """`optim_wrapper`, if each of its members computes in this format.

        Raises:
            ArgumentError: one does not.
        """
        if self.name is None:
            return optim_wrapper
        members = optim_wrapper.values() if hasattr(optim_wrapper, "values") else [optim_wrapper]
        for member in members:
            dtype = getattr(member, "cast_dtype", None)
            if dtype != self.dtype and (self.casts or dtype not in _PLAIN):
                raise ArgumentError(
                    f"precision={self.name!r}, and the optimizer wrapper is {_said(type(member).__name__, dtype)}. "
                    f"{self._fix}"
                )
        return optim_wrapper

    def evaluation(self, fp16: bool, device_type: str) -> AbstractContextManager[Any]:
        """The context of a validation or test step.

        Args:
            fp16: what the loop itself says; it counts where no precision is given, and is autocast's own format.
            device_type: where the model computes.
        """
        if self.casts:
            return torch.autocast(device_type, dtype=self.dtype)
        return autocast(enabled=True) if fp16 and self.name is None else _NOTHING

    def _prepare_member(self, value: Any) -> Any:
        if isinstance(value, BaseOptimWrapper):
            return self.checked(value)
        is_config = hasattr(value, "items") and "optimizer" in value
        return self._with_autocast(dict(value.items())) if is_config else value

    def _with_autocast(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config that computes in this format."""
        given = config.get("type", "OptimWrapper")
        kind: Any = OPTIM_WRAPPERS.get(given) if type(given) is str else given
        if kind is None:
            return config  # an unknown name: building it says so, with the nearest
        if isinstance(kind, type) and issubclass(kind, AmpOptimWrapper):
            return self._with_dtype(config, kind)
        if not self.casts:
            return config
        if kind is not OptimWrapper:
            raise ArgumentError(f"precision={self.name!r}, and optim_wrapper is a {kind.__name__}. {self._fix}")
        return {**config, "type": AmpOptimWrapper, "dtype": self.dtype}

    def _with_dtype(self, config: dict[str, Any], kind: type) -> dict[str, Any]:
        given = config.get("dtype")
        if given is None and self.casts:
            return {**config, "dtype": self.dtype}
        if str(given).removeprefix("torch.") != str(self.dtype).removeprefix("torch."):
            raise ArgumentError(
                f"precision={self.name!r}, and optim_wrapper is {_said(kind.__name__, given)}. {self._fix}"
            )
        return config

    @property
    def _fix(self) -> str:
        if not self.casts:
            return "Use type='OptimWrapper', or leave precision out."
        return (
            "Give the wrapper as a config, dict(optimizer=...), which precision makes fit; or build "
            f"AmpOptimWrapper(dtype={str(self.dtype).removeprefix('torch.')!r}, ...) or a class derived from it; or "
            "leave precision out."
        )


def _said(kind: str, dtype: Any) -> str:
    return kind if dtype is None else f"{kind} with dtype={str(dtype).removeprefix('torch.')!r}"
