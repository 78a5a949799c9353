"""Modules around a model that spread its step over processes."""

from ._distributed import MMDistributedDataParallel as MMDistributedDataParallel
from ._registered import is_model_wrapper as is_model_wrapper
from ._separate import MMSeparateDistributedDataParallel as MMSeparateDistributedDataParallel
