"""The root registries, and the rooms of this package that fill them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._registry import Registry
from ._scope import PACKAGE, ROOT_SCOPE
from ._special import (
    build_model_from_cfg,
    build_optimizer_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)


def _root(name: str, room: str | None = None, build_func: Callable[..., Any] | None = None) -> Registry:
    # The room is a string: nothing is imported until a name is looked up that is not there.
    return Registry(name, build_func, scope=ROOT_SCOPE, locations=[f"{PACKAGE}.{room}"] if room else [])


RUNNERS = _root("runner", "runner", build_runner_from_cfg)
RUNNER_CONSTRUCTORS = _root("runner constructor")
LOOPS = _root("loop", "runner")
HOOKS = _root("hook", "hooks")
STRATEGIES = _root("strategy", "parallel")
DATASETS = _root("dataset", "dataset")
DATA_SAMPLERS = _root("data sampler", "dataset")
TRANSFORMS = _root("transform")
MODELS = _root("model", "model", build_model_from_cfg)
MODEL_WRAPPERS = _root("model_wrapper", "model")
WEIGHT_INITIALIZERS = _root("weight initializer", "model")
OPTIMIZERS = _root("optimizer", "optim", build_optimizer_from_cfg)
OPTIM_WRAPPERS = _root("optim_wrapper", "optim")
OPTIM_WRAPPER_CONSTRUCTORS = _root("optimizer wrapper constructor", "optim")
PARAM_SCHEDULERS = _root("parameter scheduler", "optim", build_scheduler_from_cfg)
METRICS = _root("metric", "evaluator")
EVALUATOR = _root("evaluator", "evaluator")
TASK_UTILS = _root("task util")
VISUALIZERS = _root("visualizer", "visualization")
VISBACKENDS = _root("vis_backend", "visualization")
LOG_PROCESSORS = _root("log_processor", "runner")
INFERENCERS = _root("inferencer")
FUNCTIONS = _root("function", "dataset")


def named_roots() -> dict[str, Registry]:
    """The root registries of this package by the names under which the room exports them."""
    return {name: value for name, value in globals().items() if name.isupper() and type(value) is Registry}
