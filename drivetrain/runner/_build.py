"""How each part of a run is made from what the user gave: an object is used as it is, a config is built."""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any

from torch import nn
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError, did_you_mean
from drivetrain.evaluator import Evaluator
from drivetrain.logging import MessageHub
from drivetrain.model import ImgDataPreprocessor
from drivetrain.optim import (
    BaseOptimWrapper,
    OptimWrapperDict,
    build_optim_wrapper,
    build_schedule,
    has_configs_by_part,
)
from drivetrain.registry import EVALUATOR, LOOPS, MODELS, OPTIM_WRAPPERS, VISUALIZERS, DefaultScope
from drivetrain.typing import ConfigType
from drivetrain.visualization import Visualizer

from .loops import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop

_TRAIN_KEYS = {
    "EpochBasedTrainLoop": ("max_epochs", "val_begin", "val_interval", "dynamic_intervals"),
    "IterBasedTrainLoop": ("max_iters", "val_begin", "val_interval", "dynamic_intervals"),
}


def is_config(value: Any) -> bool:
    """Whether `value` is a config and not an object already built."""
    return hasattr(value, "keys") and not isinstance(value, (nn.Module, BaseOptimWrapper))


def with_preprocessor(model: nn.Module | ConfigType, data_preprocessor: Any) -> Any:
    """The model or its config; `data_preprocessor` goes into a config that names none."""
    if data_preprocessor is None:
        return model
    if isinstance(model, nn.Module):
        warnings.warn(
            "data_preprocessor is ignored, because the model is already built: pass it to the model itself.",
            stacklevel=4,
        )
        return model
    return {"data_preprocessor": data_preprocessor, **model}


def build_model(model: nn.Module | ConfigType) -> nn.Module:
    """The model.

    Raises:
        ArgumentTypeError: the config builds something that is no module.
    """
    if isinstance(model, nn.Module):
        return model
    built = MODELS.build(copy.deepcopy(model))
    if not isinstance(built, nn.Module):
        raise ArgumentTypeError(f"the model's config built a {type(built).__name__}, which is no nn.Module.")
    return built


def takes_packed(runner: Any) -> bool:
    """Whether the model's preprocessor is ours for images or a subclass, and so a packed batch is moved by one copy."""
    preprocessor = getattr(runner.strategy.unwrap(runner.model), "data_preprocessor", None)
    return issubclass(type(preprocessor), ImgDataPreprocessor)


def build_optimizers(model: nn.Module, optim_wrapper: Any) -> BaseOptimWrapper:
    """The optimizer wrapper: built from a config, or around a plain optimizer.

    A config with an `optimizer` or a `constructor` is built by that constructor, or by the default one; a dict of
    ready-made wrappers, or of configs by the parts of the model that they train, becomes an `OptimWrapperDict`.
    """
    if isinstance(optim_wrapper, BaseOptimWrapper):
        return optim_wrapper
    if isinstance(optim_wrapper, Optimizer):
        return OPTIM_WRAPPERS.build({"type": "OptimWrapper", "optimizer": optim_wrapper})
    cfg = copy.copy(dict(optim_wrapper))
    optimizer = cfg.get("optimizer")
    if isinstance(optimizer, Optimizer):
        cfg.setdefault("type", "OptimWrapper")
        return OPTIM_WRAPPERS.build(cfg)
    if optimizer is not None or "constructor" in cfg or has_configs_by_part(cfg):
        return build_optim_wrapper(model, cfg)
    wrappers = {name: value for name, value in cfg.items() if name != "type"}
    if not wrappers or not all(isinstance(value, BaseOptimWrapper) for value in wrappers.values()):
        raise ArgumentError(
            f"optim_wrapper has no 'optimizer' (keys: {', '.join(map(repr, cfg)) or 'none'})."
            f"{_near_key(cfg, 'optimizer')} Give optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), a "
            "'constructor' that builds several, or a dict of OptimWrapper objects or configs."
        )
    return OptimWrapperDict(**wrappers)


def log_to(wrapper: Any, hub: MessageHub) -> None:
    """Let a wrapper, or each of several, log to `hub`: made before the runner, it knows only the hub of then."""
    for part in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
        if hasattr(part, "message_hub"):
            part.message_hub = hub


def _near_key(cfg: ConfigType, key: str) -> str:
    hit = did_you_mean(key, cfg)
    return f" {key!r} is meant by {hit[len(' Did you mean ') : -1]}?" if hit else ""


def build_schedulers(schedulers: Any, runner: Any) -> Any:
    """The schedules of one optimizer as a list, of several as a dict of lists by the optimizer's name.

    Raises:
        NotReadyError: the optimizer is not built yet.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, BaseOptimWrapper):
        raise NotReadyError("build optim_wrapper before param_scheduler: schedules need the optimizer they change.")
    if not isinstance(wrapper, OptimWrapperDict):
        return _build_chain(schedulers, wrapper, runner)
    named = (
        schedulers if is_config(schedulers) and "type" not in schedulers else dict.fromkeys(wrapper.keys(), schedulers)
    )
    for name in named:
        if name not in wrapper:
            raise ArgumentError(f"param_scheduler names no optimizer {name!r}.{did_you_mean(name, wrapper.keys())}")
    return {name: _build_chain(chain, wrapper[name], runner) for name, chain in named.items()}


def _build_chain(schedulers: Any, wrapper: BaseOptimWrapper, runner: Any) -> list[Any]:
    items = list(schedulers) if type(schedulers) in (list, tuple) else [schedulers]
    return [_build_scheduler(item, wrapper, runner) for item in items]


def _build_scheduler(scheduler: Any, wrapper: BaseOptimWrapper, runner: Any) -> Any:
    if not is_config(scheduler):
        return scheduler
    schedule = build_schedule(
        scheduler, wrapper, lambda: runner.max_epochs, lambda: runner.max_iters, lambda: len(runner.train_dataloader)
    )
    if getattr(schedule, "need_val_args", False) and runner.val_loop is None:
        raise ArgumentError(
            f"param_scheduler has a {type(schedule).__name__}, which waits for the metrics of a validation, and this "
            "run has none: give val_dataloader, val_cfg and val_evaluator."
        )
    return schedule


def build_evaluator(evaluator: Any) -> Any:
    """An `Evaluator` for metrics, their configs or a list of these; an object that evaluates is used as it is."""
    if isinstance(evaluator, Evaluator):
        return evaluator
    if is_config(evaluator) and evaluator.get("metrics") is not None:
        return EVALUATOR.build({"type": "Evaluator", **evaluator})
    is_other = hasattr(evaluator, "evaluate") and not hasattr(evaluator, "compute_metrics")
    return evaluator if is_other else Evaluator(evaluator)


def build_train_loop(loop: BaseLoop | ConfigType, runner: Any, dataloader: Any) -> BaseLoop:
    """The train loop; without a `type`, `by_epoch` or the length that is given decides which.

    Raises:
        ArgumentError: an unknown key, or neither or both of `max_epochs` and `max_iters`.
    """
    if isinstance(loop, BaseLoop):
        return loop
    cfg = dict(loop)
    defaults = {"runner": runner, "dataloader": dataloader}
    if "type" in cfg:
        return _checked_loop(LOOPS.build(cfg, default_args=defaults))
    by_epoch = cfg.pop("by_epoch", None)
    if by_epoch is None:
        by_epoch = _infer_by_epoch(cfg)
    cls = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    _check_train_keys(cfg, cls.__name__)
    return cls(**defaults, **cfg)


def _infer_by_epoch(cfg: dict[str, Any]) -> bool:
    if ("max_epochs" in cfg) == ("max_iters" in cfg):
        raise ArgumentError(
            "train_cfg must say how long to train: dict(by_epoch=True, max_epochs=12) or "
            f"dict(by_epoch=False, max_iters=80000); it has the keys {sorted(cfg)}."
            f"{did_you_mean(next(iter(cfg), ''), ['max_epochs', 'max_iters'])}"
        )
    return "max_epochs" in cfg


def _check_train_keys(cfg: dict[str, Any], loop: str) -> None:
    known = _TRAIN_KEYS[loop]
    for key in cfg:
        if key not in known:
            raise ArgumentError(
                f"train_cfg has the unknown key {key!r}.{did_you_mean(key, known)} {loop} takes {', '.join(known)}."
            )
    if known[0] not in cfg:
        raise ArgumentError(f"train_cfg lacks {known[0]!r}, which {loop} needs.")


def build_evaluation_loop(
    loop: BaseLoop | ConfigType, runner: Any, dataloader: Any, evaluator: Any, mode: str
) -> BaseLoop:
    """The validation or test loop; `mode` is 'val' or 'test'."""
    if isinstance(loop, BaseLoop):
        return loop
    cls = ValLoop if mode == "val" else TestLoop
    defaults = {"runner": runner, "dataloader": dataloader, "evaluator": evaluator}
    return _checked_loop(LOOPS.build({"type": cls, **loop}, default_args=defaults))


def _checked_loop(loop: Any) -> BaseLoop:
    if not isinstance(loop, BaseLoop):
        raise ArgumentTypeError(f"the loop's config built a {type(loop).__name__}, which is no BaseLoop.")
    return loop


def scale_lr(optim_wrapper: Any, auto_scale_lr: ConfigType | None, runner: Any) -> None:
    """Multiply each group's learning rate by (world size * batch size) / `base_batch_size`, if enabled.

    The linear rule of Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 2.1.

    Raises:
        ArgumentError: it is enabled without `base_batch_size`.
        NotReadyError: schedules were built before, from the unscaled rates.
    """
    if not auto_scale_lr or not auto_scale_lr.get("enable", False):
        return
    if "base_batch_size" not in auto_scale_lr:
        raise ArgumentError("auto_scale_lr needs base_batch_size: the batch size for which the learning rate was set.")
    if runner.schedulers_built:
        raise NotReadyError("scale learning rates before the schedules are built: they start from the scaled rates.")
    batch_size = runner.world_size * runner.train_dataloader.batch_size
    ratio = batch_size / auto_scale_lr["base_batch_size"]
    runner.logger.info(
        f"Learning rates are scaled by {ratio:g}: batch size {batch_size}, set for {auto_scale_lr['base_batch_size']}."
    )
    wrappers = optim_wrapper.values() if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]
    for wrapper in wrappers:
        for group in wrapper.optimizer.param_groups:
            group["lr"] *= ratio


def build_visualizer(visualizer: Visualizer | ConfigType | None, name: str, save_dir: str) -> Visualizer:
    """The visualizer; by default one with local files under `save_dir`."""
    if isinstance(visualizer, Visualizer):
        return visualizer
    given = visualizer or {"vis_backends": [{"type": "LocalVisBackend"}]}
    return VISUALIZERS.build({"type": "Visualizer", "name": name, "save_dir": save_dir, **given})


def build_scope(name: str, scope: str | None) -> DefaultScope | None:
    """The scope of a run's names, or None: configs that name classes instead of texts have no use for one."""
    return None if scope is None else DefaultScope.get_instance(name, scope_name=scope)


def write_config(cfg: Any, text: str, path: str) -> None:
    """Write a config in the format of `path`: a `Config` as it dumps itself, anything else as its Python `text`."""
    if hasattr(cfg, "dump") and os.path.splitext(path)[1] != ".py":
        cfg.dump(path)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
