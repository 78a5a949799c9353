"""What the runner's argument `graph` asks for, and what a run must be like for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError, did_you_mean
from drivetrain.model import BaseModel
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.registry import OPTIMIZERS

_KEYS = ("warmup", "ignore")
_FUSED = (SGD, Adam, AdamW)
"""torch's optimizers that update all parameters in one kernel on CUDA."""
_CAPTURABLE = "Adam, AdamW, RMSprop, NAdam, RAdam, Adamax, ASGD, Rprop, Adadelta (capturable=True), SGD (fused=True)"


@dataclass(frozen=True)
class GraphPlan:
    """How whole training steps are captured.

    Args:
        warmup: steps of one kind that run eagerly before the next of that kind is captured.
        ignore: names of entries of the batch, or of fields of data elements, that neither the preprocessor nor
            `forward` computes with, such as 'img_path': they may differ from step to step.
    """

    warmup: int = 3
    ignore: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, given: Any) -> GraphPlan | None:
        """The plan for the argument `graph`; None for False.

        Raises:
            ArgumentTypeError: neither a bool nor a dict.
            ArgumentError: there is no CUDA device, a key is unknown or a value out of range.
        """
        if type(given) is not bool and not hasattr(given, "items"):
            raise ArgumentTypeError(f"graph must be True, False or a dict of {', '.join(_KEYS)}, got {given!r}.")
        if given is False:
            return None
        plan = cls() if given is True else cls._from_dict(given)
        if not torch.cuda.is_available():
            raise ArgumentError(
                f"graph={given!r} captures steps in a CUDA graph, and there is no CUDA device here. Write graph=False, "
                "or graph=torch.cuda.is_available()."
            )
        return plan

    @classmethod
    def _from_dict(cls, given: Mapping[str, Any]) -> GraphPlan:
        for key in given:
            if key not in _KEYS:
                raise ArgumentError(
                    f"graph has the unknown key {key!r}.{did_you_mean(key, _KEYS)} It takes {', '.join(_KEYS)}."
                )
        warmup, ignore = given.get("warmup", cls.warmup), given.get("ignore", ())
        if type(warmup) is not int or warmup < 1:
            raise ArgumentError(f"graph: warmup must be a whole number of steps of at least 1, got {warmup!r}.")
        if type(ignore) not in (list, tuple, set, frozenset) or not all(type(name) is str for name in ignore):
            raise ArgumentTypeError(f"graph: ignore must be a list of names of entries, got {ignore!r}.")
        return cls(warmup, frozenset(ignore))


def prepare_optimizer(optim_wrapper: Any) -> Any:
    """A config whose optimizer keeps its counters on the device and updates in one kernel; an object as it is.

    Args:
        optim_wrapper: what the runner was given.

    Raises:
        ArgumentError: the optimizer cannot be captured, or is configured so that it cannot.
        NotSupportedError: there are several optimizers.
    """
    if isinstance(optim_wrapper, (Optimizer, OptimWrapper)):
        check_optimizer(optim_wrapper)
        return optim_wrapper
    given: Any = optim_wrapper.get("optimizer") if hasattr(optim_wrapper, "get") else None
    if isinstance(given, Optimizer):
        check_optimizer(given)
    elif hasattr(given, "items") and "type" in given:
        return {**optim_wrapper, "optimizer": _capturable_config(dict(given.items()))}
    return optim_wrapper


def _capturable_config(config: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's config with what a capture needs and the user left open."""
    cls: Any = OPTIMIZERS.get(config["type"]) if type(config["type"]) is str else config["type"]
    if cls is None:
        return config  # an unknown name: building it says so, with the nearest
    known = inspect.signature(cls).parameters
    if "capturable" in known:
        config.setdefault("capturable", True)
    if cls in _FUSED and not config.get("foreach") and not config.get("differentiable"):
        config.setdefault("fused", True)
    if not _is_capturable({**dict.fromkeys(known), **config}):
        raise _not_capturable(cls.__name__, str(config))
    return config


def check_optimizer(optim_wrapper: Any) -> None:
    """Refuse an optimizer that cannot be captured.

    Raises:
        ArgumentError: its counters are on the host, or its learning rate has to be.
        NotSupportedError: there are several optimizers.
    """
    if isinstance(optim_wrapper, OptimWrapperDict):
        raise NotSupportedError(
            f"graph=True captures the step of one optimizer, and there are several: {list(optim_wrapper.keys())}. "
            "Leave graph out; compile=True works with several."
        )
    optimizer = getattr(optim_wrapper, "optimizer", optim_wrapper)
    for group in optimizer.param_groups:
        if not _is_capturable(group):
            raise _not_capturable(type(optimizer).__name__, f"{type(optimizer).__name__} object")


def _is_capturable(settings: Mapping[str, Any]) -> bool:
    """Whether settings of a parameter group say so: all of torch's with counters have `capturable`, SGD has none."""
    return bool(settings["capturable"] if "capturable" in settings else settings.get("fused"))


def _not_capturable(name: str, given: str) -> ArgumentError:
    fix = "fused=True (without foreach)" if name == "SGD" else "capturable=True"
    known = name in _CAPTURABLE
    advice = f"Build it with {fix}" if known else f"Use one of {_CAPTURABLE}"
    return ArgumentError(
        f"graph=True needs an optimizer whose step can be captured, and this one cannot: {given}. {advice}, or leave "
        "graph out."
    )


def check_run(runner: Any) -> None:
    """Refuse a run whose step is more than a graph can hold.

    Raises:
        ArgumentError: it trains on no CUDA device, or the optimizer cannot be captured.
        NotSupportedError: several processes or optimizers, a wrapped model, a step of the model's own.
    """
    model, wrapper = runner.model, runner.optim_wrapper
    if runner.strategy.device.type != "cuda":
        raise ArgumentError(f"graph=True needs a CUDA device, and this run trains on {runner.strategy.device}.")
    if runner.world_size > 1 or runner.strategy.unwrap(model) is not model:
        raise NotSupportedError("graph=True captures the step of one process; leave graph out with a wrapped model.")
    if getattr(type(model), "train_step", None) is not BaseModel.train_step:
        raise NotSupportedError(
            f"graph=True repeats what one step gave the device to do, and {type(model).__name__} has a train_step of "
            "its own, which may decide anew each time. Leave graph out; compile=True works with it."
        )
    check_optimizer(wrapper)
    if getattr(wrapper, "normalise_by", None) is not None:
        raise NotSupportedError(
            f"graph=True repeats one step, and normalise_by={wrapper.normalise_by!r} adds counts up over several. "
            "Leave one of them out."
        )
    if getattr(type(wrapper), "update_params", None) is not OptimWrapper.update_params:
        raise NotSupportedError(
            f"graph=True repeats update_params of OptimWrapper, and {type(wrapper).__name__} has its own. Leave graph "
            "out."
        )
