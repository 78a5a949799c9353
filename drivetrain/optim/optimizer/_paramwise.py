"""The rules of `paramwise_cfg`: what they may say, and what they say about one parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.tensors import is_norm

from ._freeze import check_patterns, complain, name_parts
from ._layer_decay import LayerDecay

MULTIPLIERS = (
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "dwconv_decay_mult",
    "flat_decay_mult",
    "dcn_offset_lr_mult",
)
KEYS = ("custom_keys", *MULTIPLIERS, "layer_decay", "freeze", "bypass_duplicate", "strict")
_NEED_DECAY = ("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult")
_NEED_LR = ("bias_lr_mult", "dcn_offset_lr_mult")
_DCN_CLASSES = frozenset({"DeformConv2d", "ModulatedDeformConv2d"})


class Place(NamedTuple):
    """Where a parameter stands.

    Attributes:
        module: the module that owns it.
        prefix: the module's dotted name in the model.
        name: the parameter's name in the module.
        in_dcn: whether the module is inside a deformable convolution, hence computes its offsets.
    """

    module: nn.Module
    prefix: str
    name: str
    in_dcn: bool


def is_dcn(module: nn.Module) -> bool:
    """Whether `module` is a deformable convolution, judged by the names of its classes: mmcv need not be installed."""
    return any(cls.__name__ in _DCN_CLASSES for cls in type(module).__mro__)


def by_precedence(custom_keys: Iterable[str]) -> list[str]:
    """The keys in the order in which they are tried: longest first, equal lengths by the alphabet."""
    return sorted(sorted(custom_keys), key=len, reverse=True)


def custom_settings(rule: Mapping[str, Any], base_lr: Any, base_wd: Any) -> dict[str, Any]:
    """Group settings from one entry of `custom_keys`: the learning rate, the weight decay, and what else it holds."""
    settings: dict[str, Any] = {}
    if base_lr is not None:
        settings["lr"] = base_lr * rule.get("lr_mult", 1.0)
    if base_wd is not None:
        settings["weight_decay"] = base_wd * rule.get("decay_mult", 1.0)
    return {**settings, **rule}


def general_settings(place: Place, ndim: int, cfg: Mapping[str, Any], base_lr: Any, base_wd: Any) -> dict[str, Any]:
    """Group settings from the multipliers of `cfg`, for a parameter of `ndim` dimensions that no custom key names."""
    settings: dict[str, Any] = {}
    is_bias = place.name == "bias" and not place.in_dcn
    if is_bias and "bias_lr_mult" in cfg and not is_norm(place.module):
        settings["lr"] = base_lr * cfg["bias_lr_mult"]
    is_offset = place.in_dcn and "conv_offset" in place.prefix and issubclass(type(place.module), nn.Conv2d)
    if is_offset and "dcn_offset_lr_mult" in cfg:
        settings["lr"] = base_lr * cfg["dcn_offset_lr_mult"]
    decay_rule = _decay_rule(place, is_bias, ndim, cfg) if base_wd is not None else None
    if decay_rule is not None:
        settings["weight_decay"] = base_wd * cfg[decay_rule]
    return settings


def _decay_rule(place: Place, is_bias: bool, ndim: int, cfg: Mapping[str, Any]) -> str | None:
    """The first rule, in the contract's order, that is given and fits."""
    fitting = {
        "norm_decay_mult": is_norm(place.module),
        "bias_decay_mult": is_bias,
        "dwconv_decay_mult": _is_depthwise(place.module),
        "flat_decay_mult": ndim == 1 and not place.in_dcn,
    }
    return next((rule for rule, fits in fitting.items() if fits and rule in cfg), None)


def _is_depthwise(module: nn.Module) -> bool:
    return issubclass(type(module), nn.Conv2d) and module.in_channels == module.groups


def check_values(cfg: Any, base_lr: Any, base_wd: Any) -> None:
    """Check the types of `paramwise_cfg` and that the optimizer gives what the rules multiply.

    Raises:
        ArgumentTypeError: it, its `custom_keys` or a rule is not a dict, or a multiplier is not a number.
        ArgumentError: a multiplier has nothing to multiply.
    """
    if not hasattr(cfg, "items"):
        raise ArgumentTypeError(f"paramwise_cfg must be a dict or None, got {type(cfg).__name__}: {cfg!r}.")
    custom_keys = cfg.get("custom_keys", {})
    if not hasattr(custom_keys, "items"):
        raise ArgumentTypeError(f"paramwise_cfg.custom_keys must be a dict of rules by name, got {custom_keys!r}.")
    for key, rule in custom_keys.items():
        if not hasattr(rule, "items"):
            raise ArgumentTypeError(
                f"paramwise_cfg.custom_keys[{key!r}] must be a dict such as dict(lr_mult=0.1), got {rule!r}."
            )
        _check_factor(f"custom_keys[{key!r}].lr_mult", rule.get("lr_mult"), "lr", base_lr)
        _check_factor(f"custom_keys[{key!r}].decay_mult", rule.get("decay_mult"), "weight_decay", base_wd)
    for name in _NEED_LR:
        _check_factor(name, cfg.get(name), "lr", base_lr)
    for name in _NEED_DECAY:
        _check_factor(name, cfg.get(name), "weight_decay", base_wd)


def _check_factor(name: str, factor: Any, setting: str, base: Any) -> None:
    if factor is None:
        return
    if type(factor) not in (int, float):
        raise ArgumentTypeError(f"paramwise_cfg.{name} must be a number, got {factor!r}.")
    if base is None:
        raise ArgumentError(
            f"paramwise_cfg.{name}={factor} multiplies the optimizer's {setting}, and the optimizer's config gives "
            f"none. Write {setting}=... into it."
        )


def check_keys(cfg: Mapping[str, Any], base_lr: Any) -> None:
    """Check that every rule is known, and those of the default constructor alone.

    Raises:
        ArgumentTypeError: `layer_decay` or `freeze` is of a wrong type.
        ArgumentError: a rule is unknown, or `layer_decay` has a wrong value.
    """
    for key in cfg:
        if key == "_delete":  # meant for the config reader; files of the packages have it, and train all the same
            complain("paramwise_cfg: '_delete' is no rule and has no effect; is '_delete_' meant?", strict=False)
        elif key not in KEYS:
            raise ArgumentError(
                f"paramwise_cfg has no rule {key!r}; there are {', '.join(KEYS)}.{did_you_mean(key, KEYS)} "
                "Settings for parameters by name go into custom_keys."
            )
    if "layer_decay" in cfg:
        _check_factor("layer_decay", LayerDecay.parse(cfg["layer_decay"]).rate, "lr", base_lr)
    check_patterns(cfg.get("freeze", ()))


def unmatched_keys(model: nn.Module, custom_keys: Iterable[str]) -> list[str]:
    """A sentence for each custom key that is in no parameter's name, with the nearest names."""
    names = [name if "." in name else f".{name}" for name, _ in model.named_parameters(remove_duplicate=False)]
    lost = [key for key in custom_keys if not any(key in name for name in names)]
    parts = name_parts(names) if lost else []
    return [f"custom_keys[{key!r}] is in no parameter's name.{did_you_mean(key, parts)}" for key in lost]
