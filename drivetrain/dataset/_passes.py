"""The iterator a loader hands out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.autograd import profiler

from ._order import Position
from ._streams import MainProcess
from ._worker_states import WorkerStates


class Pass(Iterator[Any]):
    """The batches of a pass, counted.

    torch's iterator wraps each fetch in `record_function`, which takes 5 us even when nothing is recorded; unless
    something is, the fetch inside is called directly.
    """

    def __init__(self, batches: Iterator[Any], position: Position, direct: Any = None) -> None:
        self._batches, self._position = batches, position
        self._recorded: Any = batches.__next__
        self._fetch: Any = batches.__next__ if direct is None else direct

    def __next__(self) -> Any:
        try:
            batch = self._recorded() if getattr(profiler, "_is_profiler_enabled", True) else self._fetch()
        except StopIteration:
            self._position.ended = True
            raise
        self._position.consumed += 1
        return batch

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]


class MainPass(Pass):
    """A pass whose samples the main process fetches: its own random numbers are kept apart."""

    def __init__(self, batches: Iterator[Any], position: Position, direct: Any, main: MainProcess) -> None:
        super().__init__(batches, position, direct)
        self._leave = main.leave

    def __next__(self) -> Any:
        try:
            return super().__next__()
        finally:
            self._leave()


class MarkedPass(Pass):
    """A pass whose batches come with the states of the workers that made them."""

    def __init__(self, batches: Iterator[Any], position: Position, direct: Any, states: WorkerStates) -> None:
        super().__init__(batches, position, direct)
        self._states, self._empty = states, states.turn(0)

    def __next__(self) -> Any:
        for _ in range(self._empty):
            self._recorded()
        self._empty = 0
        batch, worker, state = super().__next__()
        self._states.note(self._position.consumed - 1, worker, state)
        return batch
