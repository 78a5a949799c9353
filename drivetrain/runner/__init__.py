"""The runner, its loops, and what they need."""

from drivetrain.checkpoint import CheckpointLoader as CheckpointLoader
from drivetrain.checkpoint import _load_checkpoint as _load_checkpoint
from drivetrain.checkpoint import _load_checkpoint_to_model as _load_checkpoint_to_model
from drivetrain.checkpoint import _load_checkpoint_with_prefix as _load_checkpoint_with_prefix
from drivetrain.checkpoint import find_latest_checkpoint as find_latest_checkpoint
from drivetrain.checkpoint import get_deprecated_model_names as get_deprecated_model_names
from drivetrain.checkpoint import get_external_models as get_external_models
from drivetrain.checkpoint import get_mmcls_models as get_mmcls_models
from drivetrain.checkpoint import get_state_dict as get_state_dict
from drivetrain.checkpoint import get_torchvision_models as get_torchvision_models
from drivetrain.checkpoint import load_checkpoint as load_checkpoint
from drivetrain.checkpoint import load_state_dict as load_state_dict
from drivetrain.checkpoint import save_checkpoint as save_checkpoint
from drivetrain.checkpoint import weights_to_cpu as weights_to_cpu

from ._environment import set_random_seed as set_random_seed
from .activation_checkpointing import turn_on_activation_checkpointing as turn_on_activation_checkpointing
from .activation_checkpointing import wrap_forward as wrap_forward
from .amp import autocast as autocast
from .log_processor import LogProcessor as LogProcessor
from .loops import BaseLoop as BaseLoop
from .loops import EpochBasedTrainLoop as EpochBasedTrainLoop
from .loops import IterBasedTrainLoop as IterBasedTrainLoop
from .loops import TestLoop as TestLoop
from .loops import ValLoop as ValLoop
from .loops import _InfiniteDataloaderIterator as _InfiniteDataloaderIterator
from .loops import calc_dynamic_intervals as calc_dynamic_intervals
from .priority import Priority as Priority
from .priority import get_priority as get_priority
from .runner import OptimWrapperType as OptimWrapperType
from .runner import ParamSchedulerType as ParamSchedulerType
from .runner import Runner as Runner
