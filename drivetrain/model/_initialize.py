"""From an `init_cfg` to initialised weights."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, BuildError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.registry import WEIGHT_INITIALIZERS


def initialize(module: nn.Module, init_cfg: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Initialise `module` as `init_cfg` says.

    Args:
        module: any module.
        init_cfg: a config, or several that are applied in order. `type` names an initialiser (Constant, Xavier, Normal,
            TruncNormal, Uniform, Kaiming, Caffe2Xavier, Pretrained), `layer` the layers it is for; the other keys are
            its arguments. `override` (a config or a list) treats children apart: `name` is the attribute, the rest an
            initialiser of its own, or nothing to use the outer one on that child.

    Raises:
        ArgumentTypeError: `init_cfg` or `override` is neither a dict nor a list.
        ArgumentError: an override lacks `name`, or has arguments without a `type`.
        BuildError: an override names a child that is not there.

    >>> initialize(nn.Linear(2, 2), dict(type="Constant", layer="Linear", val=1.0, bias=2.0))
    """
    for cfg in _as_list(init_cfg, "init_cfg"):
        outer = copy.deepcopy(cfg)
        override = outer.pop("override", None)
        _warn_without_target(module, outer, override)
        _apply(module, outer, whole=False)
        if override is not None:
            for child_cfg in _as_list(override, "override"):
                _override(module, child_cfg, outer)


def _apply(module: nn.Module, cfg: dict[str, Any], whole: bool) -> None:
    initializer = WEIGHT_INITIALIZERS.build(cfg)
    # A flag on the object, not an argument: the constructors of initialisers written elsewhere do not take it.
    initializer.wholemodule = whole
    initializer(module)


def _override(module: nn.Module, child_cfg: dict[str, Any], outer: dict[str, Any]) -> None:
    cfg = dict(child_cfg)
    name = cfg.pop("name", None)
    if name is None:
        raise ArgumentError(
            f"each `override` must say with `name` which child of {type(module).__name__} it is for, got {child_cfg!r}."
        )
    if not cfg:
        cfg = dict(outer)
    elif "type" not in cfg:
        raise ArgumentError(
            f"the `override` for {name!r} has arguments but no `type`: {child_cfg!r}. Name the initialiser, or give "
            "only `name` to use the outer one."
        )
    child = getattr(module, name, None)
    if child is None:
        options = [child_name for child_name, _ in module.named_children()]
        raise BuildError(
            f"`override` names {name!r}, and {type(module).__name__} has no such attribute."
            f"{did_you_mean(name, options)} Its children: {', '.join(options) or 'none'}."
        )
    _apply(child, cfg, whole=True)


def _warn_without_target(module: nn.Module, cfg: dict[str, Any], override: Any) -> None:
    if override is None and "layer" not in cfg and cfg.get("type") in _NEED_LAYER:
        print_log(
            f"the init_cfg {cfg!r} of {type(module).__name__} has neither `layer` nor `override`, so it initialises "
            "nothing. Add layer='Conv2d', or whatever it is for.",
            logger="current",
            level=30,
        )


def _as_list(cfg: Any, what: str) -> list[dict[str, Any]]:
    configs = cfg if type(cfg) in (list, tuple) else [cfg]
    for item in configs:
        if not hasattr(item, "items"):
            raise ArgumentTypeError(f"{what} must be a dict or a list of dicts, got {cfg!r} ({type(cfg).__name__}).")
    return list(configs)


_NEED_LAYER = frozenset({"Constant", "Xavier", "Normal", "TruncNormal", "Uniform", "Kaiming", "Caffe2Xavier"})
