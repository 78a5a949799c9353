"""Optimizers, the wrapper around them, and what builds both from a config."""

from typing import TYPE_CHECKING, Any

from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS as OPTIM_WRAPPER_CONSTRUCTORS
from drivetrain.registry import OPTIMIZERS as OPTIMIZERS

from ._amp import AmpOptimWrapper as AmpOptimWrapper
from ._apex import ApexOptimWrapper as ApexOptimWrapper
from ._base import BaseOptimWrapper as BaseOptimWrapper
from ._build import build_optim_wrapper as build_optim_wrapper
from ._build import has_configs_by_part as has_configs_by_part
from ._constructor import DefaultOptimWrapperConstructor as DefaultOptimWrapperConstructor
from ._dict import OptimWrapperDict as OptimWrapperDict
from ._freeze import freeze_parameters as freeze_parameters
from ._group_table import group_table as group_table
from ._late import late_name as late_name
from ._late import register_bitsandbytes_optimizers as register_bitsandbytes_optimizers
from ._late import register_dadaptation_optimizers as register_dadaptation_optimizers
from ._late import register_lion_optimizers as register_lion_optimizers
from ._late import register_sophia_optimizers as register_sophia_optimizers
from ._late import register_torch_npu_optimizers as register_torch_npu_optimizers
from ._late import register_transformers_optimizers as register_transformers_optimizers
from ._torch import TORCH_OPTIMIZERS as TORCH_OPTIMIZERS
from ._torch import register_torch_optimizers as register_torch_optimizers
from ._wrapper import OptimWrapper as OptimWrapper

if TYPE_CHECKING:
    from ._zero import ZeroRedundancyOptimizer as ZeroRedundancyOptimizer

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
