"""Copy batches to the device while the batch before is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from drivetrain.typing import DeviceLike

_WITHOUT_STREAMS = ("cpu", "meta", "mps")


class Stream(AbstractContextManager[Any], Protocol):
    """What `Prefetcher` asks of a stream; `torch.Stream` is one. Inside `with stream:`, work goes into it."""

    def wait_stream(self, stream: Any) -> None:
        """Let what comes later wait for all that `stream` was given until now."""

    def wait_event(self, event: Any) -> None:
        """Let what comes later wait for `event`."""

    def record_event(self) -> Any:
        """An event that is reached when all that the stream was given until now is done."""


class Streams:
    """The stream that a device computes in, and one more for copies.

    Args:
        device: a device that has streams.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.copying: Stream = torch.Stream(device=device)

    @property
    def computing(self) -> Stream:
        """The stream that is current on this thread, and so computes."""
        return torch.accelerator.current_stream(self._device)


def streams_of(device: DeviceLike) -> Streams | None:
    """The streams of a device; None where there is only one (CPU, Metal), and so nothing runs beside it."""
    found = torch.device(device)
    return None if found.type in _WITHOUT_STREAMS else Streams(found)


class _Copy(NamedTuple):
    """A batch on the device. Before `done`, the device has not got all of it."""

    batch: Any
    moved: Any
    done: Any


class Prefetcher:
    """Copies each batch to the device while the one before is computed, in one stream for the life of the run.

    The batches themselves come out of `ahead`, for whoever looks at them; a step asks for the copy of the one in use::

        for batch in prefetcher.ahead(loader):
            train_step(prefetcher.moved(batch))

    Nothing waits on the host. The device waits twice: a step for the copy of its batch, and a copy for the steps
    launched before it. The latter makes memory safe: a copy's memory goes back to the copying stream when the last
    reference to it is gone, while the device may still have to compute with it. So there are never more than two
    copies at a time, and what allocators reserve stays flat.

    On a device without streams all this is left out: `ahead` returns what it was given and `moved` too.

    Args:
        device: where batches go.
        move: returns a batch on the device. It should not wait for the copy: `tensor.to(device, non_blocking=True)`,
            which is right from pageable memory too, only slower.
        streams: the streams to use; by default those of `device`.
    """

    def __init__(self, device: DeviceLike, move: Callable[[Any], Any], *, streams: Streams | None = None) -> None:
        self._move = move
        self._streams = streams_of(device) if streams is None else streams
        self._in_use: _Copy | None = None
        self._next: _Copy | None = None

    def ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of a pass, fetched one ahead. An exception comes at the step that it belongs to, never earlier.

        Args:
            batches: a pass of a loader. Only one is made at a time; the copies of one that was left early are dropped.
        """
        self._in_use = self._next = None
        return batches if self._streams is None else _Pass(batches, self)

    def moved(self, batch: Any) -> Any:
        """The copy of `batch` if that is the batch in use, and `batch` itself if not."""
        copy = self._in_use
        return copy.moved if copy is not None and copy.batch is batch else batch

    def release(self) -> None:
        """Let go of the device. A pass that is under way goes on, in order and without copies."""
        self._streams = self._in_use = self._next = None

    def copy_next(self, batch: Any) -> None:
        """Begin to copy the batch that comes after the one in use."""
        if self._streams is None:
            return
        copying = self._streams.copying
        copying.wait_stream(self._streams.computing)
        with copying:
            moved = self._move(batch)
        self._next = _Copy(batch, moved, copying.record_event())

    def use_next(self) -> None:
        """Let go of the batch in use; the device's next work is on the next one."""
        self._in_use, self._next = self._next, None
        if self._in_use is not None and self._streams is not None:
            self._streams.computing.wait_event(self._in_use.done)


class _Pass(Iterator[Any]):
    """The batches of a pass, of which the next has always been fetched already, or failed to be."""

    def __init__(self, batches: Iterator[Any], prefetcher: Prefetcher) -> None:
        self._batches, self._prefetcher = batches, prefetcher
        self._upcoming: tuple[Any, Exception | None] | None = None

    def __next__(self) -> Any:
        batch, error = self._upcoming or self._fetch()
        self._upcoming = None
        self._prefetcher.use_next()
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback holds this frame: a cycle, which would keep the loader's workers alive.
                del error
        self._upcoming = self._fetch()
        return batch

    def _fetch(self) -> tuple[Any, Exception | None]:
        """The next batch, on its way to the device; or what was raised instead."""
        try:
            batch = next(self._batches)
            self._prefetcher.copy_next(batch)
        except Exception as error:
            return None, error
        return batch, None
