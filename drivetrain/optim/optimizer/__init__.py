"""Optimizers, the wrapper around them, and what builds both from a config."""

from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS as OPTIM_WRAPPER_CONSTRUCTORS
from drivetrain.registry import OPTIMIZERS as OPTIMIZERS

from ._amp import AmpOptimWrapper as AmpOptimWrapper
from ._base import BaseOptimWrapper as BaseOptimWrapper
from ._build import build_optim_wrapper as build_optim_wrapper
from ._constructor import DefaultOptimWrapperConstructor as DefaultOptimWrapperConstructor
from ._dict import OptimWrapperDict as OptimWrapperDict
from ._torch import TORCH_OPTIMIZERS as TORCH_OPTIMIZERS
from ._torch import register_torch_optimizers as register_torch_optimizers
from ._wrapper import OptimWrapper as OptimWrapper
