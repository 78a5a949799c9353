"""From a config to an optimizer wrapper."""

from __future__ import annotations

from typing import Any

from torch import nn

from drivetrain.errors import ArgumentTypeError
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from drivetrain.typing import ConfigType

from ._wrapper import OptimWrapper


def build_optim_wrapper(model: nn.Module, cfg: ConfigType) -> OptimWrapper:
    """Build the optimizer wrapper of a model; `cfg` is left as it is.

    Args:
        model: whose parameters to train.
        cfg: `optimizer` is the config of the optimizer (`type` and its arguments); `type` names the wrapper
            ('OptimWrapper' if it is missing); `paramwise_cfg` gives some parameters settings of their own;
            `constructor` names what puts these together ('DefaultOptimWrapperConstructor' if it is missing); the rest
            are arguments of the wrapper.

    Returns:
        The wrapper; a constructor of your own may return an `OptimWrapperDict`.

    Raises:
        ArgumentTypeError: `cfg` is not a dict.
    """
    if not hasattr(cfg, "items"):
        raise ArgumentTypeError(
            f"the config of an optimizer wrapper must be a dict such as dict(optimizer=dict(type='SGD', lr=0.1)), "
            f"got {cfg!r}."
        )
    wrapper_cfg: dict[str, Any] = dict(cfg.items())
    constructor = wrapper_cfg.pop("constructor", "DefaultOptimWrapperConstructor")
    paramwise_cfg = wrapper_cfg.pop("paramwise_cfg", None)
    build: Any = OPTIM_WRAPPER_CONSTRUCTORS.build(
        {"type": constructor, "optim_wrapper_cfg": wrapper_cfg, "paramwise_cfg": paramwise_cfg}
    )
    wrapper: OptimWrapper = build(model)
    return wrapper
