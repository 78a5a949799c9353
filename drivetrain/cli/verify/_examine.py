"""Look at how a sample is made: transform by transform, twice from the same random states, in one process."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import _digest
from ._entropy import EntropyTrace
from ._plan import Plan

_SEED = 12345
_SINGLE = ("transform", "transforms", "target_transform", "joint_transform", "pipeline")
_INNER = ("dataset", "datasets")


class _Stage:
    """Stands in the place of a transform, and notes what comes out of it."""

    def __init__(self, name: str, transform: Callable[..., Any], log: list[dict[str, str]]) -> None:
        self.transform, self._name, self._log = transform, name, log

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = self.transform(*args, **kwargs)
        self._log.append({"name": self._name, "place": place_of(self.transform), "mark": _mark(out)})
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transform, name)


def examine(runner: Any, plan: Plan) -> None:
    """Write, for each sample that the plan asks for, what its making depends on, as a line of JSON."""
    dataset = runner.train_loop.dataloader.dataset
    with Path(plan.record).open("a", encoding="utf-8") as file:
        for index in plan.examine:
            file.write(json.dumps(seen_of(dataset, index)) + "\n")


def seen_of(dataset: Any, index: int) -> dict[str, Any]:
    """What two fetches of a sample, begun from the same random states, show.

    Returns:
        `first`, `second`: for each fetch, name, place and checksum of each transform's output, and last the sample's;
        `changed`: what the dataset keeps in itself and was another after a fetch; `drawn`: places that asked the system
        for random bits or the time; `place`: where `__getitem__` stands.
    """
    before = _kept(dataset)
    first = _fetched(dataset, index)
    changed = [path for path, mark in _kept(dataset).items() if before.get(path) != mark]
    second = _fetched(dataset, index)
    with EntropyTrace() as trace:
        _fetched(dataset, index)
    return {
        "index": index,
        "dataset": type(dataset).__name__,
        "place": place_of(type(dataset).__getitem__),
        "first": first,
        "second": second,
        "changed": changed,
        "drawn": [list(pair) for pair in trace.found],
    }


def place_of(target: Any) -> str:
    """`file:line` of a function, or of what makes an object callable; empty where there is no source."""
    code = target if inspect.isroutine(target) or inspect.isclass(target) else _method_of(type(target))
    try:
        return f"{inspect.getsourcefile(code)}:{inspect.getsourcelines(code)[1]}"
    except (TypeError, OSError):
        return ""


def _method_of(kind: type) -> Any:
    for name in ("transform", "forward", "__call__"):
        method = getattr(kind, name, None)
        if inspect.isfunction(method):
            return method
    return kind


def _fetched(dataset: Any, index: int) -> list[dict[str, str]]:
    random.seed(_SEED)
    np.random.seed(_SEED)
    torch.manual_seed(_SEED)
    log: list[dict[str, str]] = []
    with _listening(dataset, log):
        sample = dataset[index]
    return [*log, {"name": "", "place": "", "mark": _mark(sample)}]


def _mark(value: Any) -> str:
    return _digest.checksum(repr(list(_digest.leaves(value))).encode())


def _kept(dataset: Any) -> dict[str, str]:
    """What the dataset keeps, and the generators that its code finds in its modules."""
    kept = _digest.of_object(dataset, type(dataset).__name__)
    for target in (dataset, *(stage for _, stages in _chains(dataset) for stage in stages)):
        kept |= _digest.of_object(target, type(target).__name__)
        code = target if inspect.isfunction(target) else _method_of(type(target))
        code = getattr(type(target), "__getitem__", code)
        for name, value in getattr(code, "__globals__", {}).items():
            state = _digest.state_of_generator(value)
            if state is not None:
                kept[f"{code.__module__}.{name}"] = state
    return kept


@contextmanager
def _listening(dataset: Any, log: list[dict[str, str]]) -> Iterator[None]:
    """Let each transform of the dataset, and of those inside it, tell what it returned."""
    changed: list[tuple[Callable[[Sequence[Any]], None], list[Any]]] = []
    for put, stages in _chains(dataset):
        changed.append((put, list(stages)))
        many = len(stages) > 1
        put([_Stage(_named(stage, place if many else None), stage, log) for place, stage in enumerate(stages)])
    try:
        yield
    finally:
        for put, stages in changed:
            put(stages)


def _named(stage: Any, place: int | None) -> str:
    name = getattr(stage, "__name__", None) or type(stage).__name__
    return name if place is None else f"{name} (number {place} of the pipeline)"


def _chains(dataset: Any, depth: int = 5) -> list[tuple[Callable[[Sequence[Any]], None], list[Any]]]:
    """The lists of transforms of a dataset and of those inside it, each with a function that exchanges them."""
    found: list[tuple[Callable[[Sequence[Any]], None], list[Any]]] = []
    attributes = getattr(dataset, "__dict__", {})
    for name in (name for name in _SINGLE if attributes.get(name) is not None):
        held = attributes[name]
        inner = held if type(held) is list else getattr(held, "transforms", None)
        if type(inner) is list and all(map(callable, inner)):
            found.append((_into_list(inner), inner[:]))
        elif callable(held):
            found.append((_into_attribute(dataset, name), [held]))
    for name in (name for name in _INNER if depth and name in attributes):
        held = attributes[name]
        for part in held if type(held) in (list, tuple) else [held]:
            found += _chains(part, depth - 1)
    return found


def _into_list(place: list[Any]) -> Callable[[Sequence[Any]], None]:
    def put(stages: Sequence[Any]) -> None:
        place[:] = stages

    return put


def _into_attribute(owner: Any, name: str) -> Callable[[Sequence[Any]], None]:
    def put(stages: Sequence[Any]) -> None:
        setattr(owner, name, stages[0])

    return put
