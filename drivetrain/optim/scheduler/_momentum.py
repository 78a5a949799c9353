"""The curves for momentum."""

from __future__ import annotations

from typing import Any

from drivetrain.errors import ArgumentError
from drivetrain.registry import PARAM_SCHEDULERS

from ._base import OptimizerType, _groups_of, _ParamScheduler, signature_for_setting
from ._cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from ._one_cycle import OneCycleParamScheduler
from ._plateau import ReduceOnPlateauParamScheduler
from ._smooth import ExponentialParamScheduler, LinearParamScheduler, PolyParamScheduler
from ._steps import ConstantParamScheduler, MultiStepParamScheduler, StepParamScheduler


class MomentumSchedulerMixin(_ParamScheduler):
    """Put before a curve, it makes a schedule of momentum: `class MyMomentum(MomentumSchedulerMixin, MyCurve)`.

    Where an optimizer has betas instead (Adam), the first beta follows, and the groups get a 'momentum' beside it.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        args: the curve's arguments after `param_name`.
        kwargs: the curve's arguments by name.

    Attributes:
        use_betas: whether the first beta is steered.

    Raises:
        ArgumentError: the optimizer has neither momentum nor betas.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = signature_for_setting(cls, MomentumSchedulerMixin)  # type: ignore[attr-defined]

    def __init__(self, optimizer: OptimizerType, *args: Any, **kwargs: Any) -> None:
        groups = _groups_of(optimizer)
        settings = optimizer.defaults
        if "momentum" not in settings and "betas" not in settings:
            raise ArgumentError(
                f"{type(self).__name__} needs an optimizer with 'momentum' or 'betas'; this one has "
                f"{', '.join(settings)}."
            )
        self.use_betas = "momentum" not in settings
        if self.use_betas:
            for group in groups:
                group["momentum"] = group["betas"][0]
        super().__init__(optimizer, "momentum", *args, **kwargs)

    def _assign(self, groups: list[dict[str, Any]], values: list[Any]) -> None:
        super()._assign(groups, values)
        if not self.use_betas:
            return
        if len(groups[0]["betas"]) == 2:  # as nearly all have it: a third of the time
            for group, value in zip(groups, values, strict=False):
                group["betas"] = (value, group["betas"][1])
            return
        for group, value in zip(groups, values, strict=False):
            group["betas"] = (value, *group["betas"][1:])


@PARAM_SCHEDULERS.register_module()
class ConstantMomentum(MomentumSchedulerMixin, ConstantParamScheduler):
    """Multiplies momentum by a factor for some steps; see `ConstantParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingMomentum(MomentumSchedulerMixin, CosineAnnealingParamScheduler):
    """Lowers momentum along a cosine; see `CosineAnnealingParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ExponentialMomentum(MomentumSchedulerMixin, ExponentialParamScheduler):
    """Multiplies momentum by a factor at each step; see `ExponentialParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class LinearMomentum(MomentumSchedulerMixin, LinearParamScheduler):
    """Moves momentum in even steps; see `LinearParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class MultiStepMomentum(MomentumSchedulerMixin, MultiStepParamScheduler):
    """Multiplies momentum by a factor at given steps; see `MultiStepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class StepMomentum(MomentumSchedulerMixin, StepParamScheduler):
    """Multiplies momentum by a factor every so many steps; see `StepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class PolyMomentum(MomentumSchedulerMixin, PolyParamScheduler):
    """Lowers momentum as a power of the steps left; see `PolyParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, OneCycleParamScheduler):
    """Lowers momentum to `eta_max` and raises it again, once, with `div_factor` below 1; see `OneCycleParamScheduler`.

    The counterpart of a rate that rises and falls: with `eta_max=0.85`, `div_factor=0.85 / 0.95` and
    `final_div_factor=1` momentum goes from 0.95 to 0.85 and back.
    """


@PARAM_SCHEDULERS.register_module()
class CosineRestartMomentum(MomentumSchedulerMixin, CosineRestartParamScheduler):
    """Lowers momentum along a cosine, again and again; see `CosineRestartParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauMomentum(MomentumSchedulerMixin, ReduceOnPlateauParamScheduler):
    """Lowers momentum when a metric stops improving; see `ReduceOnPlateauParamScheduler`."""
