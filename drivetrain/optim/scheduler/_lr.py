"""The curves for the learning rate."""

from __future__ import annotations

from typing import Any

from drivetrain.registry import PARAM_SCHEDULERS

from ._base import OptimizerType, _ParamScheduler, signature_for_setting
from ._cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from ._one_cycle import OneCycleParamScheduler
from ._plateau import ReduceOnPlateauParamScheduler
from ._smooth import ExponentialParamScheduler, LinearParamScheduler, PolyParamScheduler
from ._steps import ConstantParamScheduler, MultiStepParamScheduler, StepParamScheduler


class LRSchedulerMixin(_ParamScheduler):
    """Put before a curve, it makes a schedule of the learning rate: `class MyLR(LRSchedulerMixin, MyCurve)`.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        args: the curve's arguments after `param_name`.
        kwargs: the curve's arguments by name.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = signature_for_setting(cls, LRSchedulerMixin)  # type: ignore[attr-defined]

    def __init__(self, optimizer: OptimizerType, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, "lr", *args, **kwargs)


@PARAM_SCHEDULERS.register_module()
class ConstantLR(LRSchedulerMixin, ConstantParamScheduler):
    """Multiplies the learning rate by a factor for some steps; see `ConstantParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingLR(LRSchedulerMixin, CosineAnnealingParamScheduler):
    """Lowers the learning rate along a cosine; see `CosineAnnealingParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ExponentialLR(LRSchedulerMixin, ExponentialParamScheduler):
    """Multiplies the learning rate by a factor at each step; see `ExponentialParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class LinearLR(LRSchedulerMixin, LinearParamScheduler):
    """Warms the learning rate up (or down) in even steps; see `LinearParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class MultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """Multiplies the learning rate by a factor at given steps; see `MultiStepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class StepLR(LRSchedulerMixin, StepParamScheduler):
    """Multiplies the learning rate by a factor every so many steps; see `StepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class PolyLR(LRSchedulerMixin, PolyParamScheduler):
    """Lowers the learning rate as a power of the steps left; see `PolyParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(LRSchedulerMixin, OneCycleParamScheduler):
    """Raises the learning rate to a peak and lowers it again, once; see `OneCycleParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class CosineRestartLR(LRSchedulerMixin, CosineRestartParamScheduler):
    """Lowers the learning rate along a cosine, again and again; see `CosineRestartParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauLR(LRSchedulerMixin, ReduceOnPlateauParamScheduler):
    """Lowers the learning rate when a metric stops improving; see `ReduceOnPlateauParamScheduler`."""
