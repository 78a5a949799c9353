"""How gradients are clipped, parsed once from the `clip_grad` argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean

_CLIP_FUNCTIONS: dict[str, Callable[..., Any]] = {"norm": clip_grad_norm_, "value": clip_grad_value_}


def parse_clip_grad(clip_grad: dict[str, Any]) -> tuple[Callable[..., Any], str, dict[str, Any]]:
    """The function of torch, the name its result is logged under, and its arguments.

    Args:
        clip_grad: `type` is 'norm' (the default) or 'value'; the rest goes to `torch.nn.utils.clip_grad_norm_` or
            `clip_grad_value_`.

    Raises:
        ArgumentTypeError: it is not a dict.
        ArgumentError: it is empty, its type is unknown, or an argument is unknown or missing.
    """
    if not hasattr(clip_grad, "items"):
        raise ArgumentTypeError(f"clip_grad must be a dict such as dict(max_norm=1.0), got {clip_grad!r}.")
    kwargs = dict(clip_grad.items())
    kind = kwargs.pop("type", "norm")
    if kind not in _CLIP_FUNCTIONS:
        hint = did_you_mean(kind, _CLIP_FUNCTIONS)
        raise ArgumentError(f"clip_grad type must be 'norm' or 'value', got {kind!r}.{hint}")
    function = _CLIP_FUNCTIONS[kind]
    _check_arguments(kind, function, kwargs)
    return function, f"grad_{kind}", kwargs


def _check_arguments(kind: str, function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("parameters")
    for key in kwargs:
        if key not in parameters:
            raise ArgumentError(
                f"clip_grad of type {kind!r} has no argument {key!r}; it takes {', '.join(parameters)}."
                f"{did_you_mean(key, parameters)}"
            )
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [name for name in needed if name not in kwargs]
    if missing:
        example = f"dict({missing[0]}=1.0)"
        raise ArgumentError(f"clip_grad of type {kind!r} needs {missing[0]!r}, such as {example}; got {kwargs}.")
