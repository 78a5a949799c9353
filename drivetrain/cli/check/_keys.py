"""The check of the keys of a run: misspelt ones, parts that belong together, and small configs of the runner."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from drivetrain.config import ConfigDict
from drivetrain.errors import did_you_mean, nearest
from drivetrain.hooks import default_hooks

from ._fault import ARGUMENT, KEY, PARTS, Place, Report
from ._files import check_file
from ._signature import is_near

_READ_FROM_CFG = (
    "runner_type", "model_wrapper_cfg", "sync_bn", "find_unused_parameters", "compile", "activation_checkpointing",
    "efficient_conv_bn_eval", "custom_imports",
)  # fmt: skip
_TRIPLES = {
    "training": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "validation": ("val_dataloader", "val_cfg", "val_evaluator"),
    "testing": ("test_dataloader", "test_cfg", "test_evaluator"),
}
_MARKS = ("_delete_", "_scope_")
_SMALL = {
    "randomness": ("seed", "diff_rank_seed", "deterministic", "streams"),
    "env_cfg": ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"),
    "auto_scale_lr": ("enable", "base_batch_size"),
    "custom_imports": ("imports", "allow_failed_imports"),
}


def check_keys(root: Place, runner: Any, report: Report) -> None:
    """Check what stands at the top of a config.

    Args:
        root: the whole config.
        runner: the class of the runner.
        report: takes the faults.
    """
    names = [name for name in inspect.signature(runner.__init__).parameters if name not in ("self", "cfg")]
    if not (root.has("runner_type") and "model" not in names):
        _check_misspelt(root, [*names, *_READ_FROM_CFG], report)
    _check_model(root, report)
    for stage, parts in _TRIPLES.items():
        _check_together(root, stage, parts, report)
    if root.has("param_scheduler") and not root.has("optim_wrapper"):
        text = "param_scheduler is set without optim_wrapper: there is no optimizer to schedule."
        report.fault(root.at("param_scheduler"), text, PARTS)
    for name, known in _SMALL.items():
        _check_small(root.at(name), name, known, report)
    _check_values(root, report)
    _check_marks(root, report)


def _check_marks(place: Place, report: Report) -> None:
    """Note keys that look like a misspelt `_delete_` or `_scope_`: a config's reader passes them over."""
    for item in place.items():
        key = item.path.rpartition(".")[2]
        if key.startswith("_") and key not in _MARKS and is_near(key, _MARKS):
            report.note(item, f"{key!r} means nothing to the config's reader.{did_you_mean(key, _MARKS)}", KEY)
        _check_marks(item, report)


def _check_misspelt(root: Place, known: Iterable[str], report: Report) -> None:
    """A free variable that looks like an argument of the runner is a slip; where that is set as well, maybe not."""
    known = list(known)
    for key in dict.keys(root.value):
        if key in known or key.startswith(("_", "tta_")) or not is_near(key, known):
            continue
        right = nearest(key, known, 1)[0]
        if key.startswith(f"{right}_"):  # a name of its own: val_evaluator_abs
            continue
        kinds = [type(dict.get(root.value, name)) for name in (key, right)]
        text = f"the runner takes {right!r}; {key!r} is a free variable without effect. Did you mean {right!r}?"
        report.fault(root.at(key), text, KEY, note=right in root.value and kinds[0] is not kinds[1])


def _check_model(root: Place, report: Report) -> None:
    if not root.has("model") and not root.has("runner_type"):
        near = [key for key in nearest("model", root.value, 1) if is_near(key, ["model"], 0.75)]
        hint = f" Is {near[0]!r} meant?" if near else ""
        at = root.at(near[0]) if near else root
        report.fault(at, f"the config of a run lacks 'model'.{hint} Give model=dict(type=...).", KEY if near else PARTS)


def _check_together(root: Place, stage: str, parts: Iterable[str], report: Report) -> None:
    given = [part for part in parts if root.has(part)]
    missing = [part for part in parts if part not in given]
    if not given or not missing:
        return
    free = [key for key in dict.keys(root.value) if key not in parts]
    near = "".join(did_you_mean(part, free) for part in missing)
    report.fault(
        root.at(given[0]),
        f"{stage} needs {', '.join(parts)} together, and {' and '.join(missing)} {_are(missing)} missing.{near} "
        f"Set {' and '.join(missing)}, or none of the three to leave {stage} out.",
        PARTS,
    )


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _check_small(place: Place, name: str, known: tuple[str, ...], report: Report) -> None:
    if place.value is None:
        return
    if type(place.value) is not ConfigDict:
        report.fault(place, f"{name} must be a dict of {', '.join(known)}, got {place.value!r}.", ARGUMENT)
        return
    for key in dict.keys(place.value):
        if key not in known:
            text = f"{name} has no key {key!r}.{did_you_mean(key, known)} It has {', '.join(known)}."
            report.fault(place.at(key), text, ARGUMENT)


def _check_values(root: Place, report: Report) -> None:
    """Values that the runner would refuse at once."""
    scaling = root.at("auto_scale_lr")
    if scaling.has("enable") and dict.get(scaling.value, "enable") and not scaling.has("base_batch_size"):
        text = "auto_scale_lr is enabled and needs base_batch_size: the batch size for which the rate was set."
        report.fault(scaling.at("enable"), text, ARGUMENT)
    resume = root.at("resume")
    if resume.value is not None and type(resume.value) is not bool:
        text = f"resume must be True or False, got {resume.value!r}; a file to resume from goes into load_from."
        report.fault(resume, text, ARGUMENT)
    check_file(root.at("load_from"), report, must=True)
    hooks = root.at("custom_hooks")
    if hooks.value is not None and type(hooks.value) not in (list, tuple):
        report.fault(hooks, f"custom_hooks must be a list of hooks, got a {type(hooks.value).__name__}.", ARGUMENT)
    for item in root.at("default_hooks").items():
        key = item.path.rpartition(".")[2]
        known = (*default_hooks(), "progress", "visualization")
        if key not in known and is_near(key, known):
            text = f"default_hooks adds a hook under the new key {key!r}.{did_you_mean(key, known)}"
            report.fault(item, text, KEY)
