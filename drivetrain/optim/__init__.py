"""Optimisation: the wrapper that turns a loss into an update, what builds it, and the schedules of its settings."""

from typing import TYPE_CHECKING, Any

from .optimizer import OPTIM_WRAPPER_CONSTRUCTORS as OPTIM_WRAPPER_CONSTRUCTORS
from .optimizer import OPTIMIZERS as OPTIMIZERS
from .optimizer import TORCH_OPTIMIZERS as TORCH_OPTIMIZERS
from .optimizer import AmpOptimWrapper as AmpOptimWrapper
from .optimizer import ApexOptimWrapper as ApexOptimWrapper
from .optimizer import BaseOptimWrapper as BaseOptimWrapper
from .optimizer import DefaultOptimWrapperConstructor as DefaultOptimWrapperConstructor
from .optimizer import OptimWrapper as OptimWrapper
from .optimizer import OptimWrapperDict as OptimWrapperDict
from .optimizer import build_optim_wrapper as build_optim_wrapper
from .optimizer import freeze_parameters as freeze_parameters
from .optimizer import group_table as group_table
from .optimizer import has_configs_by_part as has_configs_by_part
from .optimizer import late_name as late_name
from .optimizer import register_bitsandbytes_optimizers as register_bitsandbytes_optimizers
from .optimizer import register_dadaptation_optimizers as register_dadaptation_optimizers
from .optimizer import register_lion_optimizers as register_lion_optimizers
from .optimizer import register_sophia_optimizers as register_sophia_optimizers
from .optimizer import register_torch_npu_optimizers as register_torch_npu_optimizers
from .optimizer import register_torch_optimizers as register_torch_optimizers
from .optimizer import register_transformers_optimizers as register_transformers_optimizers
from .scheduler import INF as INF
from .scheduler import ConstantLR as ConstantLR
from .scheduler import ConstantMomentum as ConstantMomentum
from .scheduler import ConstantParamScheduler as ConstantParamScheduler
from .scheduler import CosineAnnealingLR as CosineAnnealingLR
from .scheduler import CosineAnnealingMomentum as CosineAnnealingMomentum
from .scheduler import CosineAnnealingParamScheduler as CosineAnnealingParamScheduler
from .scheduler import CosineRestartLR as CosineRestartLR
from .scheduler import CosineRestartMomentum as CosineRestartMomentum
from .scheduler import CosineRestartParamScheduler as CosineRestartParamScheduler
from .scheduler import ExponentialLR as ExponentialLR
from .scheduler import ExponentialMomentum as ExponentialMomentum
from .scheduler import ExponentialParamScheduler as ExponentialParamScheduler
from .scheduler import LinearLR as LinearLR
from .scheduler import LinearMomentum as LinearMomentum
from .scheduler import LinearParamScheduler as LinearParamScheduler
from .scheduler import LRSchedulerMixin as LRSchedulerMixin
from .scheduler import MomentumSchedulerMixin as MomentumSchedulerMixin
from .scheduler import MultiStepLR as MultiStepLR
from .scheduler import MultiStepMomentum as MultiStepMomentum
from .scheduler import MultiStepParamScheduler as MultiStepParamScheduler
from .scheduler import OneCycleLR as OneCycleLR
from .scheduler import OneCycleMomentum as OneCycleMomentum
from .scheduler import OneCycleParamScheduler as OneCycleParamScheduler
from .scheduler import OptimizerType as OptimizerType
from .scheduler import PolyLR as PolyLR
from .scheduler import PolyMomentum as PolyMomentum
from .scheduler import PolyParamScheduler as PolyParamScheduler
from .scheduler import ReduceOnPlateauLR as ReduceOnPlateauLR
from .scheduler import ReduceOnPlateauMomentum as ReduceOnPlateauMomentum
from .scheduler import ReduceOnPlateauParamScheduler as ReduceOnPlateauParamScheduler
from .scheduler import StepLR as StepLR
from .scheduler import StepMomentum as StepMomentum
from .scheduler import StepParamScheduler as StepParamScheduler
from .scheduler import _ParamScheduler as _ParamScheduler
from .scheduler import build_schedule as build_schedule
from .scheduler import draw_schedules as draw_schedules
from .scheduler import schedule_values as schedule_values

if TYPE_CHECKING:
    from .optimizer import ZeroRedundancyOptimizer as ZeroRedundancyOptimizer

    apex_amp: Any
    BITSANDBYTES_OPTIMIZERS: list[str]
    DADAPTATION_OPTIMIZERS: list[str]
    LION_OPTIMIZERS: list[str]
    NPU_OPTIMIZERS: list[str]
    SOPHIA_OPTIMIZERS: list[str]
    TRANSFORMERS_OPTIMIZERS: list[str]
else:

    def __getattr__(name: str) -> Any:
        """Names of what takes long to import, imported when the name is first read."""
        return late_name(__name__, name)
