"""The order of one pass: which indices come in which batch, from any batch on, with or without keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, starmap
from typing import Any, TypeAlias

import torch
from torch.utils.data import BatchSampler

from ._samplers import DefaultSampler, InfiniteSampler
from ._streams import ORDER, SAMPLE, STEP, Keys, MainProcess, OtherKey, Streams, isolated, mixed
from ._worker_states import Skip, WorkerStates

Watch: TypeAlias = Callable[[int, int, list[Any]], None]
"""Is told the number of a pass, that of a batch in it, and the batch's indices."""


@dataclass
class Entry:
    """What workers start from that go on where others stood.

    Attributes:
        states: by the worker's number.
        turn: the worker whose turn is next.
        started: state of torch's generator when the others were started; a worker without a state takes its seed of it.
        unended: whether the pass before has yet to come to its end in the workers.
    """

    states: dict[int, Any]
    turn: int
    started: torch.Tensor | None
    unended: bool = False


@dataclass
class Position:
    """Where a loader stands.

    Attributes:
        number: number of the pass, from 0.
        consumed: batches handed out in it.
        begun: whether an iterator for it was made.
        ended: whether that iterator was exhausted.
        first: samples of this rank that earlier passes took from an endless sampler.
        marks: states of an endless sampler's generator by cycle.
        generator: state of the sampler's own generator at the start of the pass.
        dataset: state of an iterable dataset that the next iteration starts from.
        entry: what the workers of the next iteration start from, where they do not start anew.
        started: state of torch's generator when the workers were started.
        workers: states of the workers during the pass, where their batches bring them along.
    """

    number: int = 0
    consumed: int = 0
    begun: bool = False
    ended: bool = False
    first: int = 0
    marks: dict[int, torch.Tensor] = field(default_factory=dict)
    generator: torch.Tensor | None = None
    dataset: Any = None
    entry: Entry | None = None
    started: torch.Tensor | None = None
    workers: WorkerStates | None = None


class Order:
    """The index sampler of a loader: starts a pass at the batch that `position` says.

    Args:
        sampler: the loader's sampler.
        batch_sampler: its batch sampler, or None.
        size: samples of the dataset, or 0 when unknown.
        seed: seed of the streams, or None for plain indices without keys.
        in_main: whether the main process fetches the samples.
    """

    def __init__(self, sampler: Any, batch_sampler: Any, size: int, seed: int | None, in_main: bool) -> None:
        self.source = sampler if batch_sampler is None else batch_sampler
        self.batched = batch_sampler is not None
        self.sampler: Any = batch_sampler.sampler if type(batch_sampler) is BatchSampler else self.source
        self.inner: Any = getattr(batch_sampler, "sampler", sampler)
        self.per_batch = batch_sampler.batch_size if type(batch_sampler) is BatchSampler else 1
        self.size, self.seed, self.in_main = size, seed, in_main
        self.position = Position()
        self.main: MainProcess | None = None
        self.watch: Watch | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        position = self.position
        if self.seed is None:
            turns = 0 if position.workers is None else position.workers.turn(0)
            empty: list[Any] = [[] if self.batched else Skip() for _ in range(turns)]
            plain = self._watched(self._plain(position))
            return chain(empty, plain) if empty else plain
        items = self._watched(self._keyed(position, Keys(Streams(SAMPLE, self.seed, position.number), self.size)))
        if not self.in_main:
            return items
        self.main = MainProcess(Streams(STEP, self.seed, position.number), position.consumed)
        return self.main.guarded(items)

    @property
    def start(self) -> int:
        """Samples of this rank before the first one to come; meaningful for a sampler that starts anywhere."""
        return self.position.first + self.position.consumed * self.per_batch

    @property
    def starts_anywhere(self) -> bool:
        """Whether the sampler is one that needs no walk to its start, in batches of a known size."""
        plain = not self.batched or type(self.source) is BatchSampler
        return plain and type(self.sampler) in (DefaultSampler, InfiniteSampler)

    @property
    def endless(self) -> bool:
        """Whether the sampler goes on in the next pass where this one stops."""
        return self.starts_anywhere and type(self.sampler) is InfiniteSampler

    def _watched(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items, of which `watch` is told before each is fetched."""
        watch, position = self.watch, self.position
        if watch is None:
            return items

        def told() -> Iterator[Any]:
            for number, item in enumerate(items, position.consumed):
                keys = item if self.batched else [item]
                watch(position.number, number, [key.index if type(key) is OtherKey else key for key in keys])
                yield item

        return told()

    def _plain(self, position: Position) -> Iterator[Any]:
        if position.consumed and self.starts_anywhere:
            return self._grouped(index for index, _ in self._occurrences(position))
        # Made now, not at the first index: torch's own order of draws from its global generator.
        items = iter(self.source)
        return islice(items, position.consumed, None) if position.consumed else items

    def _keyed(self, position: Position, keys: Keys) -> Iterator[Any]:
        if self.starts_anywhere:
            return self._grouped(starmap(keys.made, self._occurrences(position)))
        return self._walked(position, keys.keys if self.batched else keys.key)

    def _walked(self, position: Position, make: Callable[[Any], Any]) -> Iterator[Any]:
        """Keys for the order of any sampler; what is skipped is counted, not fetched."""
        # A sampler that shuffles by a global generator does so when it is started or at its first index.
        with isolated(mixed(ORDER, self.seed or 0, position.number)):
            items = iter(self.source)
            head = list(islice(items, 1))
        for number, item in enumerate(chain(head, items)):
            key = make(item)
            if number >= position.consumed:
                yield key

    def _occurrences(self, position: Position) -> Iterator[tuple[int, int]]:
        if type(self.sampler) is DefaultSampler:
            return self.sampler.occurrences_from(self.start)
        sampler = self.sampler
        cycles = sampler.cycles(position.marks)
        cycles.used = lambda: (position.first + position.consumed * self.per_batch) * sampler.world_size
        return sampler.occurrences_from(self.start, cycles)

    def _grouped(self, keys: Iterator[Any]) -> Iterator[Any]:
        if not self.batched:
            return keys
        return _batches(keys, self.source.batch_size, self.source.drop_last)


def _batches(keys: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    while len(batch := list(islice(keys, size))) == size:
        yield batch
    if batch and not drop_last:
        yield batch
