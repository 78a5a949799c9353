"""Schedules: how learning rate, momentum and other settings of an optimizer change over a run."""

from ._base import INF as INF
from ._base import OptimizerType as OptimizerType
from ._base import _ParamScheduler as _ParamScheduler
from ._lr import ConstantLR as ConstantLR
from ._lr import CosineAnnealingLR as CosineAnnealingLR
from ._lr import ExponentialLR as ExponentialLR
from ._lr import LinearLR as LinearLR
from ._lr import LRSchedulerMixin as LRSchedulerMixin
from ._lr import MultiStepLR as MultiStepLR
from ._lr import PolyLR as PolyLR
from ._lr import StepLR as StepLR
from ._momentum import ConstantMomentum as ConstantMomentum
from ._momentum import CosineAnnealingMomentum as CosineAnnealingMomentum
from ._momentum import ExponentialMomentum as ExponentialMomentum
from ._momentum import LinearMomentum as LinearMomentum
from ._momentum import MomentumSchedulerMixin as MomentumSchedulerMixin
from ._momentum import MultiStepMomentum as MultiStepMomentum
from ._momentum import PolyMomentum as PolyMomentum
from ._momentum import StepMomentum as StepMomentum
from ._smooth import CosineAnnealingParamScheduler as CosineAnnealingParamScheduler
from ._smooth import ExponentialParamScheduler as ExponentialParamScheduler
from ._smooth import LinearParamScheduler as LinearParamScheduler
from ._smooth import PolyParamScheduler as PolyParamScheduler
from ._steps import ConstantParamScheduler as ConstantParamScheduler
from ._steps import MultiStepParamScheduler as MultiStepParamScheduler
from ._steps import StepParamScheduler as StepParamScheduler
