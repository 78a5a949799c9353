"""The check of a whole config, part by part."""

from __future__ import annotations

import importlib
from typing import Any

from drivetrain.config import Config, ConfigDict
from drivetrain.errors import DrivetrainError, did_you_mean
from drivetrain.registry import (
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    MODEL_WRAPPERS,
    MODELS,
    RUNNERS,
    STRATEGIES,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    DefaultScope,
)
from drivetrain.runner import Runner, get_priority

from ._data import check_evaluator, check_loader
from ._fault import ARGUMENT, NOT_IMPORTED, PARTS, Fault, Place, Report
from ._files import check_checkpoints
from ._keys import check_keys
from ._lookup import look_up
from ._optim import check_optim_wrapper
from ._part import Role, check_loosely, check_part, scope_of
from ._schedules import check_schedules
from ._trial import quietly, try_to_build

_HOOK = Role(HOOKS, extra=("priority",))
_VISUALIZER = Role(VISUALIZERS, given=("name", "save_dir"), default="Visualizer")
_VISBACKEND = Role(VISBACKENDS, given=("save_dir",))
_LOG_PROCESSOR = Role(LOG_PROCESSORS, default="LogProcessor")
_STRATEGY = Role(STRATEGIES, default="SingleDeviceStrategy")
_WRAPPER = Role(MODEL_WRAPPERS, given=("module",))
_INITIALIZER = Role(WEIGHT_INITIALIZERS, extra=("override", "map_location"))
_LOOP_GIVEN = ("runner", "dataloader", "evaluator")


def check_config(cfg: Config) -> list[Fault]:
    """All faults and notes of a config, by file and line.

    Nothing is read but the config and the code that it names; the model is built without weights. Modules of
    `custom_imports` are imported, and stay so.

    Args:
        cfg: a config that was read with `import_custom_modules=False`, or otherwise.
    """
    report, root = Report(), Place("", cfg._cfg_dict, None)
    with quietly():
        _import_modules(root.at("custom_imports"), report)
        if _scope_is_there(root.at("default_scope"), report):
            with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
                _check_all(root, report)
    return sorted(report.faults, key=_order)


def _order(fault: Fault) -> tuple[bool, str, int]:
    file, line = fault.origin or ("", 0)
    return fault.note, file, line


def _check_all(root: Place, report: Report) -> None:
    check_keys(root, _runner_class(root, report), report)
    model = _check_model(root, report)
    for mode in ("train", "val", "test"):
        check_loader(root.at(f"{mode}_dataloader"), report)
        if mode != "train":
            check_evaluator(root.at(f"{mode}_evaluator"), report)
        _check_loop(root, mode, report)
    wrapper = check_optim_wrapper(root.at("optim_wrapper"), model, report)
    check_schedules(root.at("param_scheduler"), wrapper, _length(root), report)
    for hook in [*root.at("default_hooks").items(), *root.at("custom_hooks").items()]:
        _check_and_make(hook, _HOOK, report)
        _check_priority(hook, report)
        check_loosely(hook, report)
    _check_visualizer(root.at("visualizer"), report)
    _check_and_make(root.at("log_processor"), _LOG_PROCESSOR, report)
    for key, role in (("strategy", _STRATEGY), ("model_wrapper_cfg", _WRAPPER)):
        check_part(root.at(key), role, report)


def _runner_class(root: Place, report: Report) -> Any:
    if not root.has("runner_type"):
        return Runner
    found = look_up(dict.get(root.value, "runner_type"), RUNNERS)
    if found.target is None:
        report.fault(root.at("runner_type"), found.text, found.cause)
    return found.target or Runner


def _import_modules(place: Place, report: Report) -> None:
    """Import what `custom_imports` names; each that cannot be is a fault of its own."""
    if not place.has("imports"):
        return
    names: Any = dict.get(place.value, "imports")
    allowed = bool(dict.get(place.value, "allow_failed_imports", False))
    for name in [names] if type(names) is str else names:
        try:
            importlib.import_module(name)
        except Exception as error:
            text = f"custom_imports names {name!r}, which cannot be imported: {type(error).__name__}: {error}"
            hint = " Run from the folder that has it, or add that to PYTHONPATH."
            report.fault(place.at("imports"), f"{text}.{hint}", NOT_IMPORTED, note=allowed)


def _scope_is_there(place: Place, report: Report) -> bool:
    """Whether the package of the default scope can be imported: without it no name would be found."""
    scope = place.value
    if scope is None:
        return True
    known = {node for root in (MODELS, HOOKS) for node in (root.scope, *root.children)}
    if type(scope) is not str:
        report.fault(place, f"default_scope must be a name such as 'mmdet', got {scope!r}.", ARGUMENT)
        return False
    if scope in known or scope == "drivetrain":
        return True
    try:
        importlib.import_module(f"{scope}.registry")
    except Exception as error:
        missing = type(error) is ModuleNotFoundError and scope.startswith(str(error.name))
        what = f"there is no package {scope!r} here" if missing else f"importing {scope}.registry fails: {error}"
        hint = did_you_mean(scope, known) or " Install the package, or drop default_scope."
        report.fault(place, f"default_scope is {scope!r}, and {what}.{hint}", NOT_IMPORTED)
        return False
    return True


def _check_model(root: Place, report: Report) -> Any:
    """Check the model by building it; returns it, or None."""
    place = root.at("model")
    if type(place.value) is not ConfigDict:
        return None
    if "type" not in place.value:
        check_part(place, Role(MODELS), report)
        return None
    preprocessor = root.at("data_preprocessor")
    default = {} if preprocessor.value is None else {"data_preprocessor": preprocessor.value}
    whole = Place("model", ConfigDict({**default, **dict(dict.items(place.value))}), place.origin)
    object.__setattr__(whole.value, "_origins", place.value._origins)
    model = try_to_build(whole, MODELS.build, report)
    if model is None:
        check_loosely(place, report, scope_of(place))
    _check_initializers(place, report)
    check_checkpoints(place, report)
    return model


def _check_initializers(place: Place, report: Report) -> None:
    """Check every `init_cfg`: it is used when training starts, not when the model is built."""
    for item in place.items():
        if item.path.endswith(".init_cfg"):
            for cfg in [item] if type(item.value) is ConfigDict else item.items():
                if "type" in (cfg.value or {}):
                    check_part(cfg, _INITIALIZER, report, scope_of(place))
        else:
            _check_initializers(item, report)


def _check_loop(root: Place, mode: str, report: Report) -> None:
    place = root.at(f"{mode}_cfg")
    if type(place.value) is not ConfigDict:
        return
    defaults = {"val": "ValLoop", "test": "TestLoop"}
    extra: tuple[str, ...] = ()
    if mode == "train" and "type" not in place.value:
        by_epoch = _counts_epochs(place)
        if by_epoch is None:
            near = did_you_mean(next(iter(place.value), ""), ["max_epochs", "max_iters"])
            text = f"train_cfg must say how long to train: max_epochs=12 or max_iters=80000.{near}"
            report.fault(place, text, PARTS)
            return
        defaults["train"] = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
        extra = ("by_epoch",)
    check_part(place, Role(LOOPS, _LOOP_GIVEN, extra, defaults.get(mode)), report)


def _counts_epochs(place: Place) -> bool | None:
    """Whether a train loop counts epochs; None where the config does not say."""
    if type(place.value) is not ConfigDict:
        return None
    by_epoch, kind = (dict.get(place.value, key) for key in ("by_epoch", "type"))
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    if by_epoch is None and kind is not None:
        return {"EpochBasedTrainLoop": True, "IterBasedTrainLoop": False}.get(name)
    if by_epoch is not None:
        return bool(by_epoch)
    given = ("max_epochs" in place.value, "max_iters" in place.value)
    return given[0] if given[0] != given[1] else None


def _length(root: Place) -> tuple[bool | None, int | None]:
    """What the train loop counts, and how many of these it makes."""
    place = root.at("train_cfg")
    counts_epochs = _counts_epochs(place)
    if counts_epochs is None:
        return None, None
    total = dict.get(place.value, "max_epochs" if counts_epochs else "max_iters")
    return counts_epochs, total if type(total) is int else None


def _check_and_make(place: Place, role: Role, report: Report) -> None:
    """Check a part, and make it where its class is the engine's own: these do nothing but keep their arguments."""
    before = len(report.faults)
    target = check_part(place, role, report)
    if len(report.faults) == before and str(getattr(target, "__module__", "")).startswith("drivetrain."):
        try_to_build(place, lambda cfg: target(**_arguments(cfg, role)), report)


def _arguments(cfg: Any, role: Role) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key not in ("type", "_scope_", *role.extra)}


def _check_priority(hook: Place, report: Report) -> None:
    if hook.has("priority"):
        try:
            get_priority(dict.get(hook.value, "priority"))  # type: ignore[arg-type]
        except DrivetrainError as error:
            report.fault(hook.at("priority"), str(error), ARGUMENT)


def _check_visualizer(place: Place, report: Report) -> None:
    check_part(place, _VISUALIZER, report)
    for backend in place.at("vis_backends").items():
        check_part(backend, _VISBACKEND, report)
