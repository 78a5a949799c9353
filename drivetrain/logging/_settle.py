"""Put what series hold back in its place, for many series at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._device_values import HOST, Held, are_numbers, are_tensors, entries_of, to_host

if TYPE_CHECKING:
    from ._history_buffer import HistoryBuffer

lock = threading.RLock()
"""Held while entries are moved from where updates leave them to where reads find them."""


def settle(buffers: Iterable[HistoryBuffer]) -> bool:
    """Put everything that `buffers` hold back in its place, with one copy per device and dtype.

    Returns:
        Whether anything was copied from a tensor.
    """
    with lock:
        waiting = [buffer for buffer in buffers if buffer._pending or buffer._fold]
        folds = [(buffer, buffer._fold) for buffer in waiting if buffer._fold is not None]
        batches = [(buffer, _Batch(buffer._pending)) for buffer in waiting if buffer._pending]
        tensors = {id(tensor): tensor for _, fold in folds for tensor in fold.tensors()}
        for _, batch in batches:
            tensors.update(batch.tensors())
        numbers = dict(zip(tensors, to_host(list(tensors.values())), strict=True)) if tensors else {}
        for buffer, fold in folds:
            buffer._fold = None
            buffer._absorb_fold(fold, [numbers[id(tensor)] for tensor in fold.tensors()])
        for buffer, batch in batches:
            buffer._absorb(batch.on_host(numbers), batch.counts)
        return bool(tensors)


class _Batch:
    """What one series held back and is put in place together."""

    __slots__ = ("_are_tensors", "_rows", "_values", "counts")

    def __init__(self, pending: list[Held]) -> None:
        self._values: Sequence[Any] = take(pending)
        self._rows: Sequence[int] = ()
        self.counts: Sequence[int] | None = None
        kinds = set(map(type, self._values))
        self._are_tensors = are_tensors(kinds)
        if not self._are_tensors and not are_numbers(kinds):
            self._values, self.counts, self._rows = zip(*entries_of(self._values), strict=True)

    def tensors(self) -> dict[int, Any]:
        """The tensors among the values, by identity."""
        if self._are_tensors:
            return dict(zip(map(id, self._values), self._values, strict=True))
        return {id(value): value for value, row in zip(self._values, self._rows, strict=False) if row != HOST}

    def on_host(self, numbers: Mapping[int, Any]) -> Sequence[Any]:
        """The values, with `numbers` in place of tensors."""
        if self._are_tensors:
            return [*map(numbers.__getitem__, map(id, self._values))]
        if not self._rows:
            return self._values
        return [
            numbers[id(value)][row] if row >= 0 else value if row == HOST else numbers[id(value)]
            for value, row in zip(self._values, self._rows, strict=True)
        ]


def take(pending: list[Held]) -> list[Held]:
    """Empty `pending`; what another thread appends meanwhile stays in it."""
    taken = pending[:]
    del pending[: len(taken)]
    return taken
