"""Registries: find a class by a name from a config, and build it.

Importing this room loads neither torch nor any other room; a root registry imports the room that fills it
when a name is first looked up that it does not have.
"""

from ._build import build_from_cfg as build_from_cfg
from ._build import replace_failures as replace_failures
from ._build import told_with_line as told_with_line
from ._optional import OPTIONAL_OPTIMIZERS as OPTIONAL_OPTIMIZERS
from ._optional import OptionalPackage as OptionalPackage
from ._optional import packages_of as packages_of
from ._registry import Registry as Registry
from ._registry import root_registries as root_registries
from ._roots import DATA_SAMPLERS as DATA_SAMPLERS
from ._roots import DATASETS as DATASETS
from ._roots import EVALUATOR as EVALUATOR
from ._roots import FUNCTIONS as FUNCTIONS
from ._roots import HOOKS as HOOKS
from ._roots import INFERENCERS as INFERENCERS
from ._roots import LOG_PROCESSORS as LOG_PROCESSORS
from ._roots import LOOPS as LOOPS
from ._roots import METRICS as METRICS
from ._roots import MODEL_WRAPPERS as MODEL_WRAPPERS
from ._roots import MODELS as MODELS
from ._roots import OPTIM_WRAPPER_CONSTRUCTORS as OPTIM_WRAPPER_CONSTRUCTORS
from ._roots import OPTIM_WRAPPERS as OPTIM_WRAPPERS
from ._roots import OPTIMIZERS as OPTIMIZERS
from ._roots import PARAM_SCHEDULERS as PARAM_SCHEDULERS
from ._roots import RUNNER_CONSTRUCTORS as RUNNER_CONSTRUCTORS
from ._roots import RUNNERS as RUNNERS
from ._roots import STRATEGIES as STRATEGIES
from ._roots import TASK_UTILS as TASK_UTILS
from ._roots import TRANSFORMS as TRANSFORMS
from ._roots import VISBACKENDS as VISBACKENDS
from ._roots import VISUALIZERS as VISUALIZERS
from ._roots import WEIGHT_INITIALIZERS as WEIGHT_INITIALIZERS
from ._scope import DefaultScope as DefaultScope
from ._scope import init_default_scope as init_default_scope
from ._special import build_model_from_cfg as build_model_from_cfg
from ._special import build_optimizer_from_cfg as build_optimizer_from_cfg
from ._special import build_runner_from_cfg as build_runner_from_cfg
from ._special import build_scheduler_from_cfg as build_scheduler_from_cfg
from ._special import set_sequential_container as set_sequential_container
from ._tree import count_registered_modules as count_registered_modules
from ._tree import traverse_registry_tree as traverse_registry_tree
