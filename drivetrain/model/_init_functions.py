"""Initialise one module's `weight` and `bias` in place.

Every function leaves alone what a module does not have: a module without `weight`, or a layer built with `bias=False`,
passes through untouched. The order of random draws is part of the contract: one draw for the weight, none for the bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, did_you_mean
from drivetrain.logging import print_log

_XAVIER: dict[str, Callable[..., Tensor]] = {"uniform": nn.init.xavier_uniform_, "normal": nn.init.xavier_normal_}
_KAIMING: dict[str, Callable[..., Tensor]] = {"uniform": nn.init.kaiming_uniform_, "normal": nn.init.kaiming_normal_}


def check_distribution(distribution: str) -> str:
    """`distribution` itself, if it is one that the fan-based initialisers know.

    Raises:
        ArgumentError: it is neither 'uniform' nor 'normal'.
    """
    if distribution not in _XAVIER:
        raise ArgumentError(
            f"distribution must be 'uniform' or 'normal', got {distribution!r}.{did_you_mean(distribution, _XAVIER)}"
        )
    return distribution


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Set the weight to `val` and the bias to `bias`."""
    _fill(module, bias, nn.init.constant_, val)


def xavier_init(module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal") -> None:
    """Glorot's initialisation: variance `gain**2 * 2 / (fan_in + fan_out)` (Glorot and Bengio, AISTATS 2010).

    Args:
        module: the module to initialise.
        gain: factor on the standard deviation.
        bias: value of the bias.
        distribution: 'normal' or 'uniform'.

    Raises:
        ArgumentError: unknown distribution.
    """
    _fill(module, bias, _XAVIER[check_distribution(distribution)], gain=gain)


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Draw the weight from a normal distribution; the bias becomes `bias`."""
    _fill(module, bias, nn.init.normal_, mean, std)


def trunc_normal_init(
    module: nn.Module, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, bias: float = 0
) -> None:
    """Draw the weight from a normal distribution cut to [a, b] (values, not standard deviations)."""
    _fill(module, bias, trunc_normal_, mean, std, a, b)


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Draw the weight uniformly from [a, b); the bias becomes `bias`."""
    _fill(module, bias, nn.init.uniform_, a, b)


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """He's initialisation (He et al., ICCV 2015).

    Args:
        module: the module to initialise.
        a: negative slope of the rectifier that follows; used with 'leaky_relu'.
        mode: 'fan_in' keeps the variance of activations, 'fan_out' that of gradients.
        nonlinearity: name of the function that follows, as `torch.nn.init.calculate_gain` takes it.
        bias: value of the bias.
        distribution: 'normal' or 'uniform'.

    Raises:
        ArgumentError: unknown distribution.
    """
    fill = _KAIMING[check_distribution(distribution)]
    _fill(module, bias, fill, a=a, mode=mode, nonlinearity=nonlinearity)


def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """What Caffe2 calls XavierFill: uniform with variance `1 / fan_in`."""
    kaiming_init(module, a=1, mode="fan_in", nonlinearity="leaky_relu", bias=bias, distribution="uniform")


def bias_init_with_prob(prior_prob: float) -> float:
    """The bias with which a sigmoid starts at probability `prior_prob`: its logit (Lin et al., ICCV 2017, section 4.1).

    Raises:
        ArgumentError: the probability is not inside (0, 1).
    """
    if not 0 < prior_prob < 1:
        raise ArgumentError(f"a prior probability must lie strictly between 0 and 1, got {prior_prob!r}.")
    return float(-math.log((1 - prior_prob) / prior_prob))


@torch.no_grad()
def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Fill `tensor` in place from a normal distribution cut to [a, b], by inversion of its distribution function.

    Spelt out because `torch.nn.init.trunc_normal_` has changed its way of drawing between releases, and weights must
    not depend on the release for a given seed.

    Args:
        tensor: any floating tensor.
        mean: mean of the uncut distribution.
        std: standard deviation of the uncut distribution.
        a: lower bound, as a value.
        b: upper bound, as a value.

    Returns:
        The same tensor.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        print_log(
            f"trunc_normal_: the mean {mean} lies more than two standard deviations ({std}) outside of [{a}, {b}], so "
            "nearly all values will sit on one bound. Bounds are values, not multiples of the standard deviation.",
            logger="current",
            level=30,
        )
    low, high = (_normal_cdf((bound - mean) / std) for bound in (a, b))
    tensor.uniform_(2 * low - 1, 2 * high - 1).erfinv_()
    return tensor.mul_(std * math.sqrt(2.0)).add_(mean).clamp_(min=a, max=b)


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _fill(module: nn.Module, bias: float, fill: Callable[..., Any], *args: float, **kwargs: Any) -> None:
    weight = getattr(module, "weight", None)
    if weight is not None:
        fill(weight, *args, **kwargs)
    own_bias = getattr(module, "bias", None)
    if own_bias is not None:
        nn.init.constant_(own_bias, bias)
