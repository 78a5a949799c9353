"""What collected results weigh, from a sample of them, now and then; and keeping them lean on the way."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from drivetrain.logging import print_log

from . import _kept

BYTES_PER_MB = 1024 * 1024
SAMPLED = 64
GROWTH = 1.1  # look again once a list has grown by a tenth: some 150 looks on the way to a million entries
RUN = 256
UNLEAN_BYTES = 64 * BYTES_PER_MB
"""Results that may wait on the device, or pin batches, before they are made lean."""

_TENSOR_BYTES = 500  # Python's object, torch's tensor and storage, and what an allocator rounds up
_ARRAY_BYTES = 112
_LEAST_ON_DEVICE = 512  # blocks of the CUDA allocator


class Weight(NamedTuple):
    """Memory of results in MiB."""

    host: float
    device: float


def weigh(results: list[Any]) -> Weight:
    """Memory of all entries of a list, judged by 64 of them, evenly spaced.

    A view weighs what it keeps alive. Where the sample has any, 4 runs of 256 neighbours are judged instead, in which
    views of one batch meet.
    """
    step = max(1, len(results) // SAMPLED)
    sample = results[::step][:SAMPLED]
    if len(sample) == len(results) or not any(_kept.is_view(leaf) for entry in sample for leaf in _kept.leaves(entry)):
        return _weight([[entry] for entry in sample], len(results))
    starts = [place * max(len(results) - RUN, 0) // 3 for place in range(4)]
    return _weight([results[start : start + RUN] for start in dict.fromkeys(starts)], len(results))


class MemoryWatch:
    """Keeps the results of a metric lean, and warns once when they grow over its budget."""

    def __init__(self) -> None:
        self._warned = False
        self._next_look = self._next_leaning = self._next_weighing = SAMPLED
        self._length = self._lean = 0

    def look(self, metric: Any) -> None:
        """Called after each batch.

        Once `metric.results` has grown enough, entries of earlier batches are made lean, and their weight is compared
        with `metric.memory_budget_mb`. The last batch's entries stay: others may still look at them.
        """
        results = getattr(metric, "results", None)
        if type(results) is not list:
            return
        settled, self._length = self._length, len(results)
        if self._length < settled:  # the metric cleared it
            self.start_over()
        elif self._length >= self._next_look:
            self._make_lean(results, settled)
            self._compare(metric, results)
            self._next_look = min(self._next_leaning, self._next_weighing)

    def start_over(self) -> None:
        """The results were cleared: begin to look again (a warning is not repeated)."""
        self._next_look = self._next_leaning = self._next_weighing = SAMPLED
        self._length = self._lean = 0

    def _make_lean(self, results: list[Any], settled: int) -> None:
        if len(results) < self._next_leaning:
            return
        step = max(1, (len(results) - self._lean) // SAMPLED)
        sizes = [_unlean_bytes(results[place]) for place in range(self._lean, len(results), step)]
        start, self._lean = self._lean, settled
        if not any(sizes):
            self._next_leaning = _grown(results)
            return
        _kept.make_lean(results, start, settled)
        self._next_leaning = len(results) + max(1, UNLEAN_BYTES * len(sizes) // sum(sizes))

    def _compare(self, metric: Any, results: list[Any]) -> None:
        if len(results) < self._next_weighing:
            return
        self._next_weighing = _grown(results)
        size, budget = weigh(results), getattr(metric, "memory_budget_mb", float("inf"))
        if max(size) > budget and not self._warned:
            self._warned = True
            print_log(_advice(type(metric).__name__, len(results), size, budget), "current", logging.WARNING)


def _grown(results: list[Any]) -> int:
    return int(len(results) * GROWTH) + 1


def _advice(name: str, count: int, size: Weight, budget: float) -> str:
    device = f" and {size.device:.0f} MB of the device's" if size.device >= 1 else ""
    return (
        f"{name} keeps {count} results, about {size.host:.0f} MB of memory{device}, and its budget is {budget:.0f} MB. "
        "A metric that streams keeps counts instead of results: use a torchmetrics object, or any object with update, "
        f"compute and reset, in its place; or keep less in `process`. To allow more, set {name}.memory_budget_mb."
    )


def _unlean_bytes(entry: Any) -> int:
    """What an entry holds on a device or keeps alive of a batch."""
    if not _kept.needs_it(entry):
        return 0
    return sum(max(_kept.owner_of(leaf)[1], _LEAST_ON_DEVICE) for leaf in _kept.leaves(entry))


def _weight(runs: Iterable[list[Any]], count: int) -> Weight:
    """Memory of `count` entries, judged by runs of neighbours.

    What is found in several runs is taken to be common to all entries, and counted once.
    """
    tally, entries = _Tally(), 0
    for run in runs:
        entries += len(run)
        tally.begin()
        for entry in run:
            tally.add(entry)
    scale = count / max(entries, 1)
    return Weight(*((own * scale + common) / BYTES_PER_MB for own, common in tally.sums()))


class _Tally:
    """Memory by owner: the bytes of each, and whether several runs share it."""

    def __init__(self) -> None:
        self._small = self._run = 0
        self._owners: dict[Any, list[int]] = {}  # bytes, the run it was seen in (-1: several), whether on a device

    def begin(self) -> None:
        """Another run of neighbours."""
        self._run += 1

    def add(self, entry: Any) -> None:
        """Count an entry of this run."""
        waiting = [entry]
        while waiting:
            item = waiting.pop()
            self._small += _own_bytes(item)
            waiting.extend(_kept.inside(item))
        for leaf in _kept.leaves(entry):
            key, size = _kept.owner_of(leaf)
            away = not _kept.is_array(leaf) and leaf.device.type not in ("cpu", "meta")
            owner = self._owners.setdefault(key, [max(size, _LEAST_ON_DEVICE) if away else size, self._run, away])
            if owner[1] != self._run:
                owner[1] = -1

    def sums(self) -> list[tuple[int, int]]:
        """Bytes of single entries and bytes in common: on the host, on devices."""
        found = [[self._small, 0], [0, 0]]
        for size, run, away in self._owners.values():
            found[away][run < 0] += size
        return [(own, common) for own, common in found]


def _own_bytes(item: Any) -> int:
    """Bytes of an object itself: of tensors and arrays without their numbers."""
    if _kept.is_array(item):
        return _ARRAY_BYTES
    return _TENSOR_BYTES if hasattr(item, "untyped_storage") else sys.getsizeof(item)
