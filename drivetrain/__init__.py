"""drivetrain: a training engine for PyTorch.

Importing this loads nothing but this file: each name below, and each sub-package, is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from .version import __version__, version_info

_SUBMODULES = (
    "analysis", "checkpoint", "cli", "compat", "config", "dataset", "device", "dist", "errors", "evaluator", "fileio",
    "hooks", "hub", "infer", "logging", "model", "optim", "parallel", "registry", "runner", "structures", "tensors",
    "testing", "typing", "utils", "version", "visualization",
)  # fmt: skip

_NAMES_OF = {
    "config": "Config ConfigDict DictAction read_base",
    "registry": """
        build_from_cfg build_model_from_cfg build_optimizer_from_cfg build_runner_from_cfg
        build_scheduler_from_cfg count_registered_modules DATA_SAMPLERS DATASETS DefaultScope EVALUATOR
        FUNCTIONS HOOKS INFERENCERS init_default_scope LOG_PROCESSORS LOOPS METRICS MODEL_WRAPPERS MODELS
        OPTIM_WRAPPER_CONSTRUCTORS OPTIM_WRAPPERS OPTIMIZERS PARAM_SCHEDULERS Registry RUNNER_CONSTRUCTORS
        RUNNERS STRATEGIES TASK_UTILS TRANSFORMS traverse_registry_tree VISBACKENDS VISUALIZERS
        WEIGHT_INITIALIZERS
    """,
    "logging": "HistoryBuffer MessageHub MMLogger print_log",
    "fileio": """
        atomic_write BaseFileHandler BaseStorageBackend copy_if_symlink_fails copyfile copyfile_from_local
        copyfile_to_local copytree copytree_from_local copytree_to_local dict_from_file dump exists FileClient
        generate_presigned_url get get_file_backend get_local_path get_text HardDiskBackend HTTPBackend isdir
        isfile join_path JsonHandler list_dir_or_file list_from_file LmdbBackend load LocalBackend PickleHandler
        put put_text register_backend register_handler remove rmtree YamlHandler
    """,
    "utils": """
        apply_to call_command check_file_exist check_prerequisites check_time concat_list deprecated_api_warning
        deprecated_function digit_version fopen get_git_hash get_installed_path get_object_from_string
        has_method import_modules_from_strings install_package is_abs is_filepath is_installed is_list_of
        is_method_overridden is_seq_of is_str is_tuple_of iter_cast list_cast ManagerMeta ManagerMixin
        mkdir_or_exist ProgressBar requires_executable requires_package scandir slice_list symlink Timer
        TimerError to_1tuple to_2tuple to_3tuple to_4tuple to_ntuple track_iter_progress track_parallel_progress
        track_progress track_progress_rich tuple_cast
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
