"""Initialisers as objects: what `init_cfg` builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from drivetrain.checkpoint import load_checkpoint, load_checkpoint_with_prefix, load_state_dict
from drivetrain.errors import ArgumentTypeError
from drivetrain.logging import print_log
from drivetrain.registry import WEIGHT_INITIALIZERS

from ._init_functions import (
    bias_init_with_prob,
    caffe2_xavier_init,
    check_distribution,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from ._init_info import update_init_info


class BaseInit:
    """Applies one initialisation to the layers that `layer` names.

    A layer matches by the name of its class or of a direct base of it: `layer='_ConvNd'` finds every convolution.

    Args:
        bias: value of the biases.
        bias_prob: a probability; if given, biases become its logit and `bias` is ignored.
        layer: name or names of layer classes. Without it nothing matches, unless the initialiser came from an
            `override`, which takes a whole sub-module.

    Raises:
        ArgumentTypeError: an argument has a wrong type.
    """

    def __init__(
        self, *, bias: float = 0, bias_prob: float | None = None, layer: str | list[str] | None = None
    ) -> None:
        self.wholemodule = False
        if not isinstance(bias, (int, float)):
            raise ArgumentTypeError(f"bias must be a number, got {bias!r} of type {type(bias).__name__}.")
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise ArgumentTypeError(f"bias_prob must be a float between 0 and 1, got {bias_prob!r}.")
        self.layer = _layer_names(layer)
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)

    def _apply(self, module: nn.Module, fill: Callable[[nn.Module], None]) -> None:
        """Call `fill` for every layer inside `module` that matches, children first, and note it."""
        matched = [layer for layer in _children_first(module) if self.wholemodule or self._matches(type(layer))]
        for layer in matched:
            fill(layer)
        if self.layer and not matched:
            self._warn_no_match(module)
        note_init(module, self._get_init_info())

    def _matches(self, kind: type) -> bool:
        return any(name in self.layer for name in (kind.__name__, *(base.__name__ for base in kind.__bases__)))

    def _warn_no_match(self, module: nn.Module) -> None:
        there = sorted({type(layer).__name__ for layer in module.modules() if layer is not module})
        print_log(
            f"{type(self).__name__}: no layer of {type(module).__name__} is a {' or '.join(map(repr, self.layer))}, so "
            f"nothing was initialised. Layers there: {', '.join(there) or 'none'}.",
            logger="current",
            level=30,
        )

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Weights become `val`.

    Args:
        val: value of the weights.
        **kwargs: see `BaseInit`.
    """

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: constant_init(layer, self.val, self.bias))

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: val={self.val}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """Glorot's initialisation, see `xavier_init`.

    Args:
        gain: factor on the standard deviation.
        distribution: 'normal' or 'uniform'.
        **kwargs: see `BaseInit`.
    """

    def __init__(self, gain: float = 1, distribution: str = "normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.distribution = check_distribution(distribution)

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: xavier_init(layer, self.gain, self.bias, self.distribution))

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: gain={self.gain}, distribution={self.distribution}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Weights from a normal distribution.

    Args:
        mean: its mean.
        std: its standard deviation.
        **kwargs: see `BaseInit`.
    """

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: normal_init(layer, self.mean, self.std, self.bias))

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: mean={self.mean}, std={self.std}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """Weights from a normal distribution cut to [a, b].

    Args:
        mean: mean of the uncut distribution.
        std: standard deviation of the uncut distribution.
        a: lower bound, as a value.
        b: upper bound, as a value.
        **kwargs: see `BaseInit`.
    """

    def __init__(self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std
        self.a = a
        self.b = b

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: trunc_normal_init(layer, self.mean, self.std, self.a, self.b, self.bias))

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: a={self.a}, b={self.b}, mean={self.mean}, std={self.std}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Weights uniform in [a, b).

    Args:
        a: lower bound.
        b: upper bound.
        **kwargs: see `BaseInit`.
    """

    def __init__(self, a: float = 0, b: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.b = b

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: uniform_init(layer, self.a, self.b, self.bias))

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: a={self.a}, b={self.b}, bias={self.bias}"


@WEIGHT_INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """He's initialisation, see `kaiming_init`.

    Args:
        a: negative slope of the rectifier that follows.
        mode: 'fan_in' or 'fan_out'.
        nonlinearity: name of the function that follows.
        distribution: 'normal' or 'uniform'.
        **kwargs: see `BaseInit`.
    """

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = check_distribution(distribution)

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""

        def fill(layer: nn.Module) -> None:
            kaiming_init(layer, self.a, self.mode, self.nonlinearity, self.bias, self.distribution)

        self._apply(module, fill)

    def _get_init_info(self) -> str:
        return (
            f"{type(self).__name__}: a={self.a}, mode={self.mode}, nonlinearity={self.nonlinearity}, "
            f"distribution ={self.distribution}, bias={self.bias}"
        )


@WEIGHT_INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(KaimingInit):
    """Caffe2's XavierFill, see `caffe2_xavier_init`.

    Args:
        **kwargs: see `BaseInit`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", **kwargs)

    def __call__(self, module: nn.Module) -> None:
        """Initialise the matching layers of `module`."""
        self._apply(module, lambda layer: caffe2_xavier_init(layer, self.bias))


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit:
    """Loads weights from a checkpoint, after all children have been initialised.

    Args:
        checkpoint: path or address of the file.
        prefix: load only the keys that begin with `prefix.`, with that part taken off: the `backbone` of a detector.
        map_location: where tensors are put while loading.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str | None = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into `module`; what does not fit is reported by the loader."""
        what = f"{self.prefix} in model" if self.prefix is not None else "model"
        print_log(f"load {what} from: {self.checkpoint}", logger="current")
        if self.prefix is None:
            load_checkpoint(module, self.checkpoint, map_location=self.map_location, strict=False, logger="current")
        else:
            weights = load_checkpoint_with_prefix(self.prefix, self.checkpoint, map_location=self.map_location)
            load_state_dict(module, weights, strict=False, logger="current")
        note_init(module, self._get_init_info())

    def _get_init_info(self) -> str:
        return f"{type(self).__name__}: load from {self.checkpoint}"


def note_init(module: nn.Module, init_info: str) -> None:
    """Note `init_info` for the parameters of `module` that changed, if somebody is taking notes."""
    if hasattr(module, "_params_init_info"):
        update_init_info(module, init_info)


def _children_first(module: nn.Module) -> list[nn.Module]:
    """All modules in the order of `nn.Module.apply`, which decides who draws which random numbers."""
    found: list[nn.Module] = []
    module.apply(found.append)
    return found


def _layer_names(layer: str | list[str] | None) -> list[str]:
    if layer is None:
        return []
    names = [layer] if type(layer) is str else layer
    if not hasattr(names, "__iter__") or not all(type(name) is str for name in names):
        raise ArgumentTypeError(
            f"layer must be the name of a layer class or a list of names, got {layer!r}. Write 'Conv2d', not nn.Conv2d."
        )
    return list(names)
