"""From a config to an optimizer wrapper."""

from __future__ import annotations

from typing import Any

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from drivetrain.typing import ConfigType

from ._dict import OptimWrapperDict
from ._wrapper import OptimWrapper


def build_optim_wrapper(model: nn.Module, cfg: ConfigType) -> OptimWrapper:
    """Build the optimizer wrapper of a model; `cfg` is left as it is.

    Args:
        model: whose parameters to train.
        cfg: `optimizer` is the config of the optimizer (`type` and its arguments); `type` names the wrapper
            ('OptimWrapper' if it is missing); `paramwise_cfg` gives some parameters settings of their own;
            `constructor` names what puts these together ('DefaultOptimWrapperConstructor' if it is missing); the rest
            are arguments of the wrapper. For several optimizers, `cfg` has such a config for each under the dotted name
            of the part of the model that it trains, and neither `optimizer` nor `constructor`.

    Returns:
        The wrapper; an `OptimWrapperDict` of several; whatever a constructor of your own returns.

    Raises:
        ArgumentTypeError: `cfg` is not a dict.
        ArgumentError: the model has no part of that name.
    """
    if not hasattr(cfg, "items"):
        raise ArgumentTypeError(
            f"the config of an optimizer wrapper must be a dict such as dict(optimizer=dict(type='SGD', lr=0.1)), "
            f"got {cfg!r}."
        )
    wrapper_cfg: dict[str, Any] = dict(cfg.items())
    if has_configs_by_part(wrapper_cfg):
        return OptimWrapperDict(
            **{name: build_optim_wrapper(_part(model, name), part) for name, part in wrapper_cfg.items()}
        )
    constructor = wrapper_cfg.pop("constructor", "DefaultOptimWrapperConstructor")
    paramwise_cfg = wrapper_cfg.pop("paramwise_cfg", None)
    build: Any = OPTIM_WRAPPER_CONSTRUCTORS.build(
        {"type": constructor, "optim_wrapper_cfg": wrapper_cfg, "paramwise_cfg": paramwise_cfg}
    )
    wrapper: OptimWrapper = build(model)
    return wrapper


def has_configs_by_part(cfg: ConfigType) -> bool:
    """Whether a config holds one for each of several optimizers, by the part of the model that it trains."""
    alone = "optimizer" in cfg or "constructor" in cfg
    return not alone and len(cfg) > 0 and all(_is_whole(part) for part in cfg.values())


def _is_whole(part: Any) -> bool:
    return hasattr(part, "items") and ("optimizer" in part or "constructor" in part)


def _part(model: nn.Module, name: str) -> nn.Module:
    model = getattr(model, "module", model)
    parts = dict(model.named_modules())
    if name not in parts or not name:
        raise ArgumentError(
            f"optim_wrapper has a config for {name!r}, and {type(model).__name__} has no part of that name."
            f"{did_you_mean(name, parts)} Its parts are {', '.join(dict(model.named_children())) or 'none'}."
        )
    return parts[name]
