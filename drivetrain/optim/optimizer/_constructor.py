"""Builds the optimizer wrapper of a model, with settings of their own for some parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.logging import print_log
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, told_with_line

from ._freeze import complain, freeze_parameters
from ._fused import with_fused_kernel
from ._group_table import log_groups
from ._layer_decay import LayerDecay
from ._paramwise import (
    Place,
    by_precedence,
    check_keys,
    check_values,
    custom_settings,
    general_settings,
    is_dcn,
    unmatched_keys,
)
from ._wrapper import OptimWrapper


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Builds one optimizer for all parameters of a model, and its wrapper.

    Without `paramwise_cfg` the optimizer gets one group. With it, every parameter that is to be trained is a group, in
    the order of the modules. Which rules fit a parameter is settled from the top of this list to its end:

    1. `freeze`: patterns of parameters that are not trained (see `freeze_parameters`); they get `requires_grad=False`
       and are left out of the optimizer. On its own it leaves one group.
    2. `custom_keys`: settings by a part of the parameter's name; of several that match, the longest wins, and of
       equally long ones the first by the alphabet. `lr_mult` and `decay_mult` multiply the optimizer's `lr` and
       `weight_decay`; any other key is a setting of the group. No rule of 3 or 4 is asked then.
    3. Learning rate. `dcn_offset_lr_mult`: for the offset layers of deformable convolutions (`DeformConv2d`,
       `ModulatedDeformConv2d`), else `bias_lr_mult`: for biases, but not those of norm layers nor of offset layers.
    4. Weight decay. The first of these that is given and fits: `norm_decay_mult` (norm layers), `bias_decay_mult`
       (biases, but of offset layers), `dwconv_decay_mult` (depthwise `Conv2d`), `flat_decay_mult` (one dimension, but
       of offset layers).
    5. `layer_decay`: a rate in (0, 1], or `dict(rate=, depth=)`. It multiplies the learning rate that 2 and 3 have
       settled by `rate` to the power of the layers above the parameter; only an `lr` that a custom key sets outright
       stays. `depth` is 'auto', 'vit', 'resnet', or a function from a parameter's name to its depth (0 at the input;
       None leaves a parameter alone).

    Two more keys are no rules:

    - `bypass_duplicate`: leave out a parameter that was met before under another name, instead of an error.
    - `strict`: raise when a custom key or a pattern of `freeze` is in no parameter's name, instead of a warning.

    An optimizer of torch that has a fused kernel uses it where all parameters are on one accelerator, unless its config
    says `fused` or `foreach`. The groups are logged at debug level (`group_table`).

    Args:
        optim_wrapper_cfg: config of the wrapper, with the optimizer's config under `optimizer`.
        paramwise_cfg: the rules, or None.

    Attributes:
        optimizer_cfg: config of the optimizer.
        base_lr: its `lr`, or None.
        base_wd: its `weight_decay`, or None.

    Raises:
        ArgumentTypeError: a config is not a dict, or a number in it is not one.
        ArgumentError: `optimizer` is missing, a rule is unknown, or one multiplies a setting that is not given.
    """

    _written: Any = None  # the optimizer's config as the file has it, for the line in errors

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        if not hasattr(optim_wrapper_cfg, "items"):
            raise ArgumentTypeError(f"optim_wrapper_cfg must be a dict, got {optim_wrapper_cfg!r}.")
        self.optim_wrapper_cfg: dict[str, Any] = {"type": "OptimWrapper", **dict(optim_wrapper_cfg.items())}
        self._written = self.optim_wrapper_cfg.get("optimizer")
        self.optimizer_cfg = _take_optimizer(self.optim_wrapper_cfg)
        self.paramwise_cfg: Any = {} if paramwise_cfg is None else paramwise_cfg
        self.base_lr = self.optimizer_cfg.get("lr", None)
        self.base_wd = self.optimizer_cfg.get("weight_decay", None)
        self._validate_cfg()

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append one group for each parameter of `module` and of the modules in it.

        Args:
            params: the groups so far; the new ones are appended.
            module: where to look.
            prefix: dotted name of `module` in the model.
            is_dcn_module: whether `module` is inside a deformable convolution.
        """
        for name, parameter in module.named_parameters(recurse=False):
            group: dict[str, Any] = {"params": [parameter]}
            if self.paramwise_cfg.get("bypass_duplicate", False) and self._is_in(group, params):
                print_log(f"{prefix}.{name} is {name} of another module too: it is left out here.", logger="current")
            elif parameter.requires_grad:
                place = Place(module, prefix, name, bool(is_dcn_module))
                params.append({**group, **self._settings(place, parameter.ndim)})
        inside_dcn = is_dcn(module)
        for child_name, child in module.named_children():
            child_prefix = f"{prefix}.{child_name}" if prefix else child_name
            self.add_params(params, child, prefix=child_prefix, is_dcn_module=inside_dcn)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper.

        Args:
            model: whose parameters to train; a model wrapper is looked through (`module`).

        Raises:
            ArgumentError: the model has no parameter to train, or `strict` is set and a custom key matches nothing.
        """
        wrapped, model = model, getattr(model, "module", model)
        self._freeze(wrapped)
        _check_trainable(model)
        params = self._params(model)
        with told_with_line(self._written):
            settings = with_fused_kernel({**self.optimizer_cfg, "params": params}, model)
            optimizer = OPTIMIZERS.build(settings)
        wrapper: OptimWrapper = OPTIM_WRAPPERS.build(self.optim_wrapper_cfg, default_args={"optimizer": optimizer})
        log_groups(optimizer, model, bool(self.paramwise_cfg))
        return wrapper

    @property
    def _has_own_rules(self) -> bool:
        """Whether a subclass settles the groups itself: what it reads from `paramwise_cfg` is its own affair."""
        return type(self).add_params is not DefaultOptimWrapperConstructor.add_params

    def _freeze(self, model: nn.Module) -> None:
        if "freeze" in self.paramwise_cfg:
            freeze_parameters(model, self.paramwise_cfg["freeze"], strict=self.paramwise_cfg.get("strict", False))

    def _params(self, model: nn.Module) -> Any:
        """What the optimizer gets: the parameters, or a group for each."""
        if not self.paramwise_cfg:
            return model.parameters()
        if not self._has_own_rules and set(self.paramwise_cfg) <= {"freeze", "strict"}:
            return [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = []
        self.add_params(groups, model)
        if not self._has_own_rules:
            self._decay_by_layer(groups, model)
            self._complain(model)
        return groups

    def _validate_cfg(self) -> None:
        """Check the rules; a subclass has rules of its own, whose names are not judged here."""
        for name, value in (("lr", self.base_lr), ("weight_decay", self.base_wd)):
            if type(value) is str:
                raise ArgumentTypeError(
                    f"the optimizer's {name} must be a number, got the text {value!r}. "
                    "YAML reads 1e-3 as text: write 1.0e-3."
                )
        check_values(self.paramwise_cfg, self.base_lr, self.base_wd)
        if type(self) is DefaultOptimWrapperConstructor:
            check_keys(self.paramwise_cfg, self.base_lr)

    def _is_in(self, param_group: dict[str, Any], param_group_list: list[dict[str, Any]]) -> bool:
        """Whether a parameter of `param_group` is in one of the groups of the list."""
        present = {id(parameter) for group in param_group_list for parameter in group["params"]}
        return any(id(parameter) in present for parameter in param_group["params"])

    def _settings(self, place: Place, ndim: int) -> dict[str, Any]:
        rule = self._custom_rule(f"{place.prefix}.{place.name}")
        if rule is not None:
            return custom_settings(rule, self.base_lr, self.base_wd)
        return general_settings(place, ndim, self.paramwise_cfg, self.base_lr, self.base_wd)

    def _custom_rule(self, name: str) -> Any:
        """The custom key's rule that wins for a parameter, or None; of the root's own the name begins with a dot."""
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        return next((custom_keys[key] for key in by_precedence(custom_keys) if key in name), None)

    def _decay_by_layer(self, groups: list[dict[str, Any]], model: nn.Module) -> None:
        if "layer_decay" not in self.paramwise_cfg:
            return
        factors = LayerDecay.parse(self.paramwise_cfg["layer_decay"]).factors(model)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for group in groups:
            name = names[id(group["params"][0])]
            rule = self._custom_rule(name if "." in name else f".{name}") or {}
            if name in factors and "lr" not in rule:
                rate: Any = group.get("lr", self.base_lr)
                group["lr"] = rate * factors[name]

    def _complain(self, model: nn.Module) -> None:
        """Complain about custom keys without effect."""
        for complaint in unmatched_keys(model, self.paramwise_cfg.get("custom_keys", {})):
            complain(f"paramwise_cfg.{complaint}", self.paramwise_cfg.get("strict", False))


def _take_optimizer(optim_wrapper_cfg: dict[str, Any]) -> dict[str, Any]:
    if "optimizer" not in optim_wrapper_cfg:
        raise ArgumentError(
            f"the config of an optimizer wrapper needs 'optimizer', such as optimizer=dict(type='SGD', lr=0.1); "
            f"it has {list(optim_wrapper_cfg)}."
        )
    optimizer = optim_wrapper_cfg.pop("optimizer")
    if not hasattr(optimizer, "items"):
        raise ArgumentTypeError(
            f"'optimizer' must be a config such as dict(type='SGD', lr=0.1), got a {type(optimizer).__name__}. "
            "Put an optimizer that is built already into OptimWrapper(optimizer) yourself."
        )
    return dict(optimizer.items())


def _check_trainable(model: nn.Module) -> None:
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        found = f"all {len(parameters)} are frozen (requires_grad=False)" if parameters else "it has none at all"
        raise ArgumentError(f"{type(model).__name__} has no parameter to train: {found}.")
