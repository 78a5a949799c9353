"""drivetrain: a training engine for PyTorch.

Importing this loads nothing but this file: each name below, and each sub-package, is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from .version import __version__, version_info

_SUBMODULES = (
    "checkpoint", "cli", "config", "dataset", "device", "dist", "errors", "evaluator", "fileio", "hooks", "logging",
    "model", "optim", "parallel", "registry", "runner", "structures", "tensors", "typing", "utils", "version",
    "visualization",
)  # fmt: skip

_NAMES_OF = {
    "registry": """
        Registry build_from_cfg DefaultScope init_default_scope
        DATA_SAMPLERS DATASETS EVALUATOR FUNCTIONS HOOKS INFERENCERS LOG_PROCESSORS LOOPS METRICS MODEL_WRAPPERS MODELS
        OPTIM_WRAPPER_CONSTRUCTORS OPTIM_WRAPPERS OPTIMIZERS PARAM_SCHEDULERS RUNNER_CONSTRUCTORS RUNNERS STRATEGIES
        TASK_UTILS TRANSFORMS VISBACKENDS VISUALIZERS WEIGHT_INITIALIZERS
        build_model_from_cfg build_optimizer_from_cfg build_runner_from_cfg build_scheduler_from_cfg
        count_registered_modules traverse_registry_tree
    """,
    "logging": "HistoryBuffer MMLogger MessageHub print_log",
    "fileio": """
        atomic_write copyfile dict_from_file dump exists get get_local_path get_text isdir isfile join_path
        list_dir_or_file list_from_file load put put_text remove
    """,
    "utils": """
        ManagerMeta ManagerMixin get_object_from_string is_list_of is_method_overridden is_seq_of is_tuple_of
    """,
    "runner": "Runner",
    "model": "BaseDataPreprocessor BaseModel BaseModule ImgDataPreprocessor",
    "optim": "OptimWrapper",
    "dataset": "BaseDataset",
    "evaluator": "BaseMetric Evaluator",
    "hooks": "Hook",
    "structures": "BaseDataElement InstanceData LabelData PixelData",
}
"""The rooms whose names can be had from here; `__init__.pyi` says the same to type checkers, and a test compares."""

_ROOM_OF = {name: room for room, names in _NAMES_OF.items() for name in names.split()}

# Without the sub-packages: a star import must not hide the standard library's `logging` and `typing`.
__all__ = ["__version__", "version_info", *_ROOM_OF]


def __getattr__(name: str) -> Any:
    """Import a name or a sub-package on its first use (PEP 562)."""
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise _unknown(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *__all__})


def _unknown(name: str) -> AttributeError:
    from .errors import did_you_mean

    hint = did_you_mean(name, [*_SUBMODULES, *__all__])
    return AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}", name=name)
