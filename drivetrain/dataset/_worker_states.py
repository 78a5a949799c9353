"""The states of worker processes, sent along with their batches, so that others can go on where these stood.

With `streams='worker'` a worker draws on from where its last batch left its generators. Behind each batch the worker
packs their states (10 KB) and sends them with it. New workers are given the states behind the last batch that was used:
what others had fetched ahead does not count. Batches are dealt in turn, beginning with worker 0; the turns that were
taken before are replaced by empty ones, so that each worker goes on with its own.
"""

from __future__ import annotations

import logging
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from drivetrain.logging import print_log

from ._worker_signals import settle_in

_fetched_from: dict[str, Any] = {}
"""In a worker process, its dataset with what is around it."""


class Skip:
    """An index, and the sample fetched for it, that stands for nothing."""


class Marking:
    """A `collate_fn` that adds the state of the worker to the batch.

    Args:
        collate_fn: the loader's own.
    """

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, samples: Any) -> list[Any]:
        first = samples[0] if type(samples) is list and len(samples) == 1 else samples
        empty = type(first) is Skip or (type(samples) is list and not samples)
        batch = None if empty else self.collate_fn(samples)
        info: Any = get_worker_info()
        state: dict[str, Any] = {"random": packed()}
        outer = _fetched_from["dataset"]
        if type(outer) is _Waiting:
            state |= {"dataset": outer.dataset.state_dict(), "ended": outer.ended}
        return [batch, info.id, state]


class WorkerEntry:
    """The start of a worker that goes on where another one stood.

    Args:
        worker_init_fn: the user's function, or None.
        states: states by the worker's number; a worker without one starts anew.
        turns: workers that have had their turn, and begin with an empty one.
    """

    def __init__(
        self, worker_init_fn: Callable[[int], Any] | None, states: dict[int, dict[str, Any]], turns: int
    ) -> None:
        self.worker_init_fn, self.states, self.turns = worker_init_fn, states, turns

    def __call__(self, worker_id: int) -> None:
        settle_in()
        info: Any = get_worker_info()
        outer = _fetched_from["dataset"] = info.dataset
        # WorkerInfo refuses plain assignment; the dataset around the user's is no business of a worker_init_fn.
        if type(outer) in (_Waiting, _Passing, _PassingBatches):
            object.__setattr__(info, "dataset", outer.dataset)
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)
        state = self.states.get(worker_id)
        if type(outer) is _Waiting:
            outer.waits = worker_id < self.turns
            if state is not None:
                outer.is_over = state["ended"]
                outer.dataset.load_state_dict(state["dataset"])
        if state is not None:
            unpack(state["random"])


class _Waiting(IterableDataset[Any]):
    """An iterable dataset that may begin with a sample that stands for nothing, and notices its end.

    Attributes:
        waits: whether the next pass begins with such a sample.
        is_over: whether the next pass has no other: it came to its end before.
        ended: whether this pass has come to its end.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.waits, self.is_over, self.ended = dataset, False, False, False

    def __iter__(self) -> Iterator[Any]:
        waits, self.waits = self.waits, False
        self.ended, self.is_over = self.is_over, False
        if waits:
            yield Skip()
        if not self.ended:
            yield from self.dataset
        self.ended = True


class _Passing:
    """A dataset with indices that lets `Skip` pass."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Any) -> Any:
        return index if type(index) is Skip else self.dataset[index]


class _PassingBatches(_Passing):
    """The same for a dataset that fetches whole batches."""

    def __getitems__(self, indices: list[Any]) -> Any:
        """The samples of a batch, none for an empty one."""
        return self.dataset.__getitems__(indices) if indices else []


def around(dataset: Any, batched: bool) -> Any:
    """The dataset as workers with empty turns need it."""
    if isinstance(dataset, IterableDataset):
        return _Waiting(dataset)
    if hasattr(dataset, "__getitems__"):
        return _PassingBatches(dataset)
    return dataset if batched else _Passing(dataset)


class Turns:
    """The indices of an iterable dataset, with some single ones before them.

    Args:
        source: the loader's own.
        batched: whether indices come in lists.
        turns: how many empty turns come first.
    """

    def __init__(self, source: Any, batched: bool, turns: int) -> None:
        self.source, self.batched, self.turns = source, batched, turns

    def __iter__(self) -> Iterator[Any]:
        turns, self.turns = self.turns, 0
        for _ in range(turns):
            yield [None] if self.batched else None
        yield from self.source

    def __len__(self) -> int:
        return len(self.source)


def as_begun(view: Any, position: Any) -> Iterator[Any]:
    """`iter(view)`, which draws a seed for workers from torch's generator; one for a pass begun before draws none."""
    generator = torch.default_generator
    before, entry = generator.get_state(), position.entry
    if position.started is None:
        position.started = before if entry is None else entry.started
    if not position.consumed and entry is None:
        return iter(view)
    if entry is not None and entry.started is not None:
        generator.set_state(entry.started)
    try:
        return iter(view)
    finally:
        generator.set_state(before)


def say_what_repeats(loader: Any, pass_index: int, consumed: int, known: bool) -> None:
    """Say what the workers of a resumed run do: go on, or repeat random numbers when their states are not known."""
    if known:
        print_log(
            f"{loader.num_workers} worker processes start with the states of those they replace; no batch is fetched "
            "twice.",
            logger="current",
        )
    elif consumed or (pass_index and loader.persistent_workers):
        print_log(
            f"The checkpoint holds no states of worker processes (streams={loader.streams!r}): the "
            f"{loader.num_workers} workers begin as at the start of a run, and repeat the random numbers drawn there.",
            logger="current",
            level=logging.WARNING,
        )


class WorkerStates:
    """States of the workers behind each of the last batches of a pass.

    Args:
        settled: states by worker at the start.
        turn: the worker that is first.
        workers: how many there are.
    """

    def __init__(self, settled: dict[int, Any], turn: int, workers: int) -> None:
        self._settled, self._turn, self._workers = dict(settled), turn, workers
        # Who copies batches to a device ahead stands a few behind the loader.
        self._depth = workers + 16
        self._recent: deque[tuple[int, int, Any]] = deque()

    def note(self, batch: int, worker: int, state: Any) -> None:
        """Keep the state of `worker` behind batch number `batch`."""
        self._recent.append((batch, worker, state))
        if len(self._recent) > self._depth:
            _, worker, state = self._recent.popleft()
            self._settled[worker] = state

    def behind(self, batches: int) -> dict[int, Any]:
        """States by worker when `batches` batches of the pass were used."""
        used = {worker: state for batch, worker, state in self._recent if batch < batches}
        return {**self._settled, **used}

    def turn(self, batches: int) -> int:
        """The worker whose turn it is then."""
        last = [worker for batch, worker, _ in self._recent if batch < batches]
        return (last[-1] + 1) % self._workers if last else self._turn


def packed() -> dict[str, Any]:
    """The states of `random`, NumPy and torch, as bytes and numbers."""
    version, numbers, gauss = random.getstate()
    state: Any = np.random.get_state(legacy=False)
    inner = {"key": state["state"]["key"].tobytes(), "pos": int(state["state"]["pos"])}
    return {
        "python": (version, array("I", numbers).tobytes(), gauss),
        "numpy": (inner["key"], inner["pos"], int(state["has_gauss"]), float(state["gauss"])),
        "torch": torch.default_generator.get_state().numpy().tobytes(),
    }


def unpack(state: dict[str, Any]) -> None:
    """Set `random`, NumPy and torch to states that `packed` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(array("I", numbers)), gauss))
    key, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", np.frombuffer(key, dtype=np.uint32), position, has_gauss, cached))
    torch.default_generator.set_state(torch.frombuffer(bytearray(state["torch"]), dtype=torch.uint8).clone())
