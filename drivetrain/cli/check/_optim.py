"""The check of `optim_wrapper`: the optimizer is really made, from the model where that could be built."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from drivetrain.config import ConfigDict
from drivetrain.errors import nearest
from drivetrain.optim import DefaultOptimWrapperConstructor, build_optim_wrapper, has_configs_by_part
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

from ._fault import ARGUMENT, Place, Report
from ._lookup import look_up
from ._part import Role, check_part
from ._signature import is_near
from ._trial import blamed, quietly

_MOST = 100
"""Faults after which nothing more is tried."""
_OWN_KEYS = ("optimizer", "constructor", "paramwise_cfg")
_WRAPPER = Role(OPTIM_WRAPPERS, given=("optimizer",), extra=_OWN_KEYS, default="OptimWrapper")
_OPTIMIZER = Role(OPTIMIZERS, given=("params",))


def check_optim_wrapper(place: Place, model: Any, report: Report) -> Any:
    """Check the config of an optimizer wrapper.

    Args:
        place: the config; one for each part of the model is checked part by part.
        model: the model, if it could be built; without it only what does not depend on it is tried.
        report: takes the faults.

    Returns:
        The wrapper, for the schedules to be tried on; None where there is none.
    """
    if type(place.value) is not ConfigDict:
        return None
    if has_configs_by_part(place.value):
        for part in place.items():
            _check_names(part, report)
        return _tried(place, model, report)
    if "constructor" not in place.value and "optimizer" not in place.value:
        _say_without_optimizer(place, report)
        return None
    constructor = _check_names(place, report)
    default = constructor is DefaultOptimWrapperConstructor
    return _tried(place, _Plain() if model is None and default else model, report)


class _Plain(nn.Module):
    """A model with one weight, where the real one could not be built."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def _check_names(place: Place, report: Report) -> Any:
    """Check types and arguments; returns the constructor."""
    constructor: Any = DefaultOptimWrapperConstructor
    if place.has("constructor"):
        found = look_up(dict.get(place.value, "constructor"), OPTIM_WRAPPER_CONSTRUCTORS)
        constructor = found.target
        if constructor is None:
            report.fault(place.at("constructor"), found.text, found.cause)
    check_part(place, _WRAPPER, report)
    if "optimizer" in place.value:
        check_part(place.at("optimizer"), _OPTIMIZER, report)
    return constructor


def _tried(place: Place, model: Any, report: Report) -> Any:
    """Make the wrapper, without what is known to be wrong, where there is a model to make it for."""
    if model is None:
        return None
    wrapper, before = None, -1
    while wrapper is None and before < len(report.faults) < _MOST:
        before = len(report.faults)
        try:
            wrapper = _built(_mended(place, report), model)
        except Exception as error:
            _blame(place, error, report)  # the same again, if taking the blamed value away did not mend it
    if wrapper is not None and type(model) is not _Plain:
        _note_useless_rules(place, model, report)
    return wrapper


def _mended(place: Place, report: Report) -> Any:
    """A copy of the config without the faults that were found: what is left may have others."""
    cfg = copy.deepcopy(place.value)
    for fault in report.faults:
        if fault.note or not fault.path.startswith(f"{place.path}."):
            continue
        parts = fault.path.removeprefix(f"{place.path}.").split(".")
        if parts[0] == "optimizer" and parts[-1] == "type":
            dict.__setitem__(cfg, "optimizer", ConfigDict(type="SGD", lr=0.1))
        elif len(parts) == 1:
            cfg.pop(parts[0])
        elif len(parts) == 2 and type(dict.get(cfg, parts[0])) is ConfigDict:
            dict.__getitem__(cfg, parts[0]).pop(parts[1])
    return cfg


def _built(cfg: Any, model: Any) -> Any:
    """The wrapper; for a model without memory that does not do, for memory that nobody writes to."""
    try:
        with quietly():
            return build_optim_wrapper(model, copy.deepcopy(cfg))
    except Exception:
        with quietly():
            return build_optim_wrapper(model.to_empty(device="cpu"), copy.deepcopy(cfg))


def _blame(place: Place, error: Exception, report: Report) -> None:
    text = f"{type(error).__name__}: {error}".split(" This is set in ")[0]
    inner = [place.at(key) for key in ("optimizer", "paramwise_cfg") if place.has(key)]
    candidates = [blamed(at, str(error)) for at in [*inner, place]]
    named = [at for at in candidates if at not in inner and not at.path.endswith(".type")]
    report.fault(named[0] if named else candidates[0], text, ARGUMENT)


def _note_useless_rules(place: Place, model: Any, report: Report) -> None:
    """Note custom keys that are in no parameter's name, and look like a part of one."""
    if not place.has("paramwise_cfg") or not place.at("paramwise_cfg").has("custom_keys"):
        return
    names = [name if "." in name else f".{name}" for name, _ in model.named_parameters()]
    parts = {part for name in names for part in name.split(".")}
    for rule in place.at("paramwise_cfg").at("custom_keys").items():
        key = rule.path.split(".custom_keys.", 1)[1]
        near = [] if any(key in name for name in names) else nearest(key.rpartition(".")[2], parts, 1)
        if near and is_near(near[0], [key.rpartition(".")[2]], 0.75):
            text = f"the custom key {key!r} is in no parameter's name. Did you mean {near[0]!r}?"
            report.note(rule, text, ARGUMENT)


def _say_without_optimizer(place: Place, report: Report) -> None:
    near = nearest("optimizer", map(str, place.value), 1)
    at = place.at(near[0]) if near else place
    hint = f" Is {near[0]!r} meant for 'optimizer'?" if near else ""
    report.fault(at, f"optim_wrapper has no 'optimizer'.{hint} Give optimizer=dict(type='SGD', lr=0.1).", ARGUMENT)
