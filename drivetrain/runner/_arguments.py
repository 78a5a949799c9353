"""Checks of the runner's arguments, before anything is built."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingAttributeError, NotAFolderError, did_you_mean
from drivetrain.hooks import default_hooks as builtin_hooks
from drivetrain.utils import is_alias_active

_STREAMS = ("sample", "worker")
_RANDOMNESS_KEYS = ("seed", "diff_rank_seed", "deterministic", "streams")


def check_triple(stage: str, parts: Mapping[str, Any]) -> None:
    """Refuse half of what a stage needs: loader, cfg and optimizer or evaluator come together or not at all.

    Raises:
        ArgumentError: some are given and some are None.
    """
    missing = [name for name, value in parts.items() if value is None]
    if missing and len(missing) < len(parts):
        given = [name for name in parts if name not in missing]
        raise ArgumentError(
            f"{' and '.join(missing)} missing: {stage} needs {', '.join(parts)} together, and only "
            f"{' and '.join(given)} was given. Give all of them, or none to leave {stage} out."
        )


def check_param_scheduler(param_scheduler: Any, optim_wrapper: Any) -> None:
    """Refuse schedules with nothing to schedule, and anything that is no schedule or config of one."""
    if param_scheduler is None:
        return
    if optim_wrapper is None:
        raise ArgumentError("param_scheduler was given without optim_wrapper: there is no optimizer to schedule.")
    items = param_scheduler if type(param_scheduler) in (list, tuple) else [param_scheduler]
    for item in items:
        if type(item) not in (list, tuple) and not _is_part(item, "step"):
            raise ArgumentTypeError(
                "param_scheduler must be a scheduler, a config such as dict(type='MultiStepLR', milestones=[8, 11]), "
                f"or a list of these, got {item!r}."
            )
        if isinstance(item, LRScheduler):
            kind = type(item).__name__
            raise ArgumentTypeError(
                f"param_scheduler holds torch's {kind}, which does not say whether it counts epochs or iterations. Use "
                f"drivetrain.optim.{kind} or its config, dict(type={kind!r}, by_epoch=True, ...)."
            )


def check_randomness(randomness: Any) -> dict[str, Any]:
    """The arguments of `randomness` with defaults filled in.

    Raises:
        ArgumentTypeError: it is no dict.
        ArgumentError: an unknown key, or `streams` is neither 'sample' nor 'worker'.
    """
    if not _is_config(randomness):
        hint = f" Write randomness=dict(seed={randomness})." if type(randomness) is int else ""
        raise ArgumentTypeError(f"randomness must be a dict such as dict(seed=0), got {randomness!r}.{hint}")
    for key in randomness:
        if key not in _RANDOMNESS_KEYS:
            raise ArgumentError(
                f"randomness has no key {key!r}.{did_you_mean(key, _RANDOMNESS_KEYS)} "
                f"Known: {', '.join(_RANDOMNESS_KEYS)}."
            )
    streams = "worker" if is_alias_active() else "sample"
    merged = {"seed": None, "diff_rank_seed": False, "deterministic": False, "streams": streams, **randomness}
    if merged["streams"] not in _STREAMS:
        raise ArgumentError(
            "randomness['streams'] must be 'sample' (each sample has its own stream) or 'worker' (MMEngine's "
            f"seeding), got {merged['streams']!r}.{did_you_mean(str(merged['streams']), _STREAMS)}"
        )
    return merged


def tell_of_streams(randomness: Mapping[str, Any], logger: logging.Logger) -> None:
    """Say in the log that the alias chose the random streams, when the user did not."""
    if is_alias_active() and "streams" not in randomness:
        logger.info(
            "Random streams: 'worker', seeded as MMEngine seeds its workers, because this run goes by the name of "
            "mmengine. Write randomness=dict(streams='sample') to make the random numbers of a sample independent of "
            "the number of workers, as drivetrain does by default; randomness=dict(streams='worker') ends this note."
        )


def check_model(model: Any) -> None:
    """Refuse anything that is neither a module nor a config."""
    if not isinstance(model, nn.Module) and not _is_config(model):
        hint = " Create it: model=Net(), not model=Net." if isinstance(model, type) else ""
        raise ArgumentTypeError(
            f"model must be an nn.Module or a config with a 'type', got {model!r} of type {type(model).__name__}.{hint}"
        )


def check_part(name: str, value: Any, method: str, example: str) -> None:
    """Refuse a value that is neither None, nor a config, nor an object with `method`."""
    if value is not None and not _is_part(value, method):
        hint = f" Create it first: {value.__name__}(...)." if isinstance(value, type) else ""
        raise ArgumentTypeError(
            f"{name} must be an object with {method}, or a config such as {example}, got {value!r}.{hint}"
        )


def check_work_dir(work_dir: Any) -> None:
    """Refuse what cannot be the folder of a run.

    Raises:
        ArgumentTypeError: it is no path.
        NotAFolderError: a file stands there.
    """
    if not hasattr(work_dir, "__fspath__") and type(work_dir) is not str:
        raise ArgumentTypeError(
            f"work_dir must be the path of a folder for logs and checkpoints, got {work_dir!r}. "
            "Write work_dir='work_dirs/my_run'; the folder is made if need be."
        )
    if os.path.isfile(work_dir):
        raise NotAFolderError(f"work_dir={os.fspath(work_dir)!r} is a file. Name a folder; it is made if need be.")


def check_hooks(default_hooks: Any, custom_hooks: Any) -> None:
    """Refuse hooks in another container than the two arguments take: a dict by key, and a list."""
    if default_hooks is not None and not _is_config(default_hooks):
        raise ArgumentTypeError(
            "default_hooks must be a dict that changes default hooks by their key, such as "
            f"dict(logger=dict(type='LoggerHook', interval=50)), got {default_hooks!r}. "
            "Further hooks go into custom_hooks."
        )
    if custom_hooks is not None and type(custom_hooks) not in (list, tuple):
        raise ArgumentTypeError(
            f"custom_hooks must be a list of hooks or of their configs, got {custom_hooks!r}. "
            "Write custom_hooks=[...] around it."
        )


def warn_of_new_keys(default_hooks: Mapping[str, Any], logger: logging.Logger) -> None:
    """Say so when a key that adds a hook looks like a misspelt one that was meant to change a default hook."""
    known = (*builtin_hooks(), "progress")
    for key in default_hooks:
        near = [] if key in known else difflib.get_close_matches(str(key), known, n=1, cutoff=0.85)
        if near:
            logger.warning(
                f"default_hooks adds a hook under the new key {key!r}. To change the default one, write {near[0]!r}."
            )


def check_model_is_there(cfg: Mapping[str, Any]) -> None:
    """Refuse the config of a run without the two arguments that have no default.

    Raises:
        ArgumentError: `model` or `work_dir` is missing.
    """
    for name, example in (("model", "dict(type=...)"), ("work_dir", "'work_dirs/my_run'")):
        if name not in cfg:
            raise ArgumentError(f"the config of a run lacks {name!r}.{did_you_mean(name, cfg)} Give {name}={example}.")


def name_of_run(experiment_name: str | None, cfg: Any, timestamp: str) -> str:
    """The name given, or that of the config file, with the time of the start; the time alone without either."""
    config_file = getattr(cfg, "filename", None)
    name = experiment_name or (os.path.splitext(os.path.basename(config_file))[0] if config_file else None)
    return f"{name}_{timestamp}" if name else timestamp


def check_step(model: nn.Module, step: str) -> None:
    """Refuse a model without the method that a stage calls.

    Raises:
        MissingAttributeError: `model` has no such method.
    """
    if not callable(getattr(model, step, None)):
        raise MissingAttributeError(
            f"{type(model).__name__} has no {step}, which this stage calls. Derive it from drivetrain.model.BaseModel "
            f"and implement forward(..., mode), or define {step} yourself."
        )


def _is_config(value: Any) -> bool:
    return hasattr(value, "keys") and hasattr(value, "__getitem__") and not isinstance(value, nn.Module)


def _is_part(value: Any, method: str) -> bool:
    return not isinstance(value, type) and (_is_config(value) or hasattr(value, method))


def check_parts(given: Mapping[str, Any]) -> None:
    """Check the arguments of the runner that belong together, and that each is an object or a config."""
    check_work_dir(given["work_dir"])
    check_hooks(given["default_hooks"], given["custom_hooks"])
    check_model(given["model"])
    check_triple("training", {name: given[name] for name in ("train_dataloader", "train_cfg", "optim_wrapper")})
    for mode, stage in (("val", "validation"), ("test", "testing")):
        names = (f"{mode}_dataloader", f"{mode}_cfg", f"{mode}_evaluator")
        check_triple(stage, {name: given[name] for name in names})
    check_param_scheduler(given["param_scheduler"], given["optim_wrapper"])
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        check_part(name, given[name], "__iter__", "dict(dataset=..., batch_size=32)")
    for name in ("train_cfg", "val_cfg", "test_cfg"):
        check_part(name, given[name], "run", "dict(by_epoch=True, max_epochs=12)" if name == "train_cfg" else "dict()")
    check_part("optim_wrapper", given["optim_wrapper"], "step", "dict(optimizer=dict(type='SGD', lr=0.1))")
    check_part("visualizer", given["visualizer"], "add_scalars", "dict(type='Visualizer')")
