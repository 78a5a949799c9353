"""Estimate what collected results weigh, from a sample of them, now and then."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.logging import print_log

BYTES_PER_MB = 1024 * 1024
SAMPLED = 64
GROWTH = 1.1  # look again once a list has grown by a tenth: some 150 looks on the way to a million entries


def estimate_mb(results: list[Any]) -> float:
    """Memory of all entries of a list in MiB, judged by at most 64 of them, evenly spaced."""
    step = max(1, len(results) // SAMPLED)
    sample = results[::step][:SAMPLED]
    return sum(map(_bytes, sample)) / max(len(sample), 1) * len(results) / BYTES_PER_MB


class MemoryWatch:
    """Warns once when the results that a metric keeps grow over its budget."""

    def __init__(self) -> None:
        self._next_look = SAMPLED
        self._warned = False

    def look(self, metric: Any) -> None:
        """Compare `metric.results` with `metric.memory_budget_mb`, if the list has grown enough since the last look."""
        results = getattr(metric, "results", None)
        if self._warned or type(results) is not list or len(results) < self._next_look:
            return
        self._next_look = int(len(results) * GROWTH) + 1
        size, budget = estimate_mb(results), getattr(metric, "memory_budget_mb", float("inf"))
        if size > budget:
            self._warned = True
            print_log(_advice(type(metric).__name__, len(results), size, budget), "current", logging.WARNING)

    def start_over(self) -> None:
        """The results were cleared: begin to look again (a warning is not repeated)."""
        self._next_look = SAMPLED


def _advice(name: str, count: int, size: float, budget: float) -> str:
    return (
        f"{name} keeps {count} results, about {size:.0f} MB of memory, and its budget is {budget:.0f} MB. A metric "
        f"that streams keeps counts instead of results: use a torchmetrics object, or any object with update, compute "
        f"and reset, in its place; or keep less in `process`. To allow more, set {name}.memory_budget_mb."
    )


def _bytes(value: Any) -> int:
    """Memory of a nest of containers, tensors and arrays."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        total += sys.getsizeof(item) if not hasattr(item, "nbytes") else int(item.nbytes) + sys.getsizeof(item)
        waiting.extend(_inside(item))
    return total


def _inside(item: Any) -> Iterator[Any]:
    kind = type(item)
    if issubclass(kind, Mapping):
        yield from item.values()
    elif issubclass(kind, (list, tuple, set)):
        yield from item
    elif hasattr(item, "to_dict") and hasattr(item, "all_items"):
        yield item.__dict__
