"""The check of loaders, datasets, pipelines and evaluators: no data is read, no dataset or metric is made."""

from __future__ import annotations

import inspect
from typing import Any

from torch.utils.data import DataLoader

from drivetrain.config import ConfigDict
from drivetrain.errors import did_you_mean
from drivetrain.registry import DATA_SAMPLERS, DATASETS, EVALUATOR, FUNCTIONS, METRICS, TRANSFORMS

from ._fault import ARGUMENT, Place, Report
from ._files import check_data_files, check_file
from ._part import Role, check_loosely, check_part, scope_of
from ._signature import signature_of
from ._trial import try_to_build

_LOADER_KEYS = (
    *list(inspect.signature(DataLoader.__init__).parameters)[1:], "num_batch_per_epoch", "disable_subprocess_warning",
)  # fmt: skip
_DATASET = Role(DATASETS)
_SAMPLER = Role(DATA_SAMPLERS, given=("dataset", "seed"))
_BATCH_SAMPLER = Role(DATA_SAMPLERS, given=("sampler", "batch_size"))
_METRIC = Role(METRICS)
_EVALUATOR = Role(EVALUATOR, default="Evaluator")
_COUNTS = {"batch_size": 1, "num_workers": 0, "num_batch_per_epoch": 1}


def check_loader(place: Place, report: Report) -> None:
    """Check the config of a loader, its dataset, samplers and functions."""
    if type(place.value) is not ConfigDict:
        return
    for key in dict.keys(place.value):
        if key not in _LOADER_KEYS:
            hint = did_you_mean(key, _LOADER_KEYS) or f" Its arguments: {', '.join(_LOADER_KEYS)}."
            report.fault(place.at(key), f"a dataloader has no argument {key!r}.{hint}", ARGUMENT)
    _check_counts(place, report)
    _check_order(place, report)
    if "dataset" not in place.value:
        report.fault(place, "a dataloader needs a dataset: dataset=dict(type=...).", ARGUMENT)
    else:
        check_dataset(place.at("dataset"), report)
    check_part(place.at("sampler"), _SAMPLER, report)
    check_part(place.at("batch_sampler"), _BATCH_SAMPLER, report)
    for key in ("collate_fn", "worker_init_fn"):
        if place.has(key):
            _check_function(place.at(key), report)


def check_dataset(place: Place, report: Report, scope: str | None = None) -> None:
    """Check the config of a dataset, of those inside it, and of the pipelines."""
    if type(place.value) is not ConfigDict:
        return
    check_part(place, _DATASET, report, scope)
    check_data_files(place, report)
    scope = scope_of(place) or scope
    for item in place.items():
        key = item.path.rpartition(".")[2]
        if key == "dataset":
            check_dataset(item, report, scope)
        elif key == "datasets":
            for inner in item.items():
                check_dataset(inner, report, scope)
        elif key == "pipeline":
            for step in item.items():
                check_transform(step, report, scope)
        else:
            check_loosely(item, report, scope)


def check_transform(place: Place, report: Report, scope: str | None = None) -> None:
    """Check a step of a pipeline, and make it: that reads no data."""
    before = len(report.faults)
    target = check_part(place, Role(TRANSFORMS), report, scope)
    if target is not None and len(report.faults) == before:
        try_to_build(place, TRANSFORMS.build, report)


def check_evaluator(place: Place, report: Report) -> None:
    """Check the config of an evaluator, of a metric, or of a list of metrics."""
    if place.has("metrics"):
        check_part(place, _EVALUATOR, report)
        check_evaluator(place.at("metrics"), report)
        return
    for metric in [place] if type(place.value) is ConfigDict else place.items():
        check_part(metric, _METRIC, report)
        if type(metric.value) is ConfigDict:
            check_loosely(metric, report)
            for key in ("ann_file", "data_root"):
                if metric.has(key):
                    check_file(metric.at(key), report)


def _check_counts(place: Place, report: Report) -> None:
    for key, least in _COUNTS.items():
        value: Any = dict.get(place.value, key)
        if value is None:
            continue
        if type(value) is not int:
            report.fault(place.at(key), f"{key} must be an int, got {type(value).__name__}: {value!r}.", ARGUMENT)
        elif value < least:
            report.fault(place.at(key), f"{key} must be {least} or more, got {value}.", ARGUMENT)


def _check_order(place: Place, report: Report) -> None:
    """A loader says once in which order samples come."""
    samplers = [key for key in ("sampler", "batch_sampler") if place.has(key)]
    if "shuffle" in place.value:
        if samplers and dict.get(place.value, "shuffle"):
            text = f"shuffle=True and {samplers[0]} both say in which order the samples come. Keep one."
            report.fault(place.at("shuffle"), text, ARGUMENT)
    elif "sampler" not in place.value and not samplers:
        report.fault(
            place,
            "a dataloader needs a sampler, which says in which order the samples come: "
            "sampler=dict(type='DefaultSampler', shuffle=True) for training, shuffle=False for evaluation.",
            ARGUMENT,
        )


def _check_function(place: Place, report: Report) -> None:
    """A function that is bound to the keys of its config; what it is called with comes later."""
    if type(place.value) is ConfigDict:
        quiet = Report()
        target = check_part(place, Role(FUNCTIONS), quiet)
        signature = None if target is None else signature_of(target)
        given = () if signature is None else signature.required
        check_part(place, Role(FUNCTIONS, given=given), report)
