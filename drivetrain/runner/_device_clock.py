"""Times of the parts of a step on the device's own clock: events at the borders, read when they are long past."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

PARTS = ("copy", "preprocess", "forward", "backward", "optimizer", "step")
_POLL_AT = 4096


class DeviceClock:
    """Records an event where a part begins and where it ends, on the stream that is current there.

    Nothing waits for an event: `collect` reads those that the device has passed. A part's time lasts from its first
    kernel to its last, without the parts inside it, and contains the moments at which the device waits for the host to
    launch the next kernel.

    Args:
        module: the device's module of torch, such as `torch.cuda`.

    Attributes:
        times: seconds by part, of the steps read so far; `step` is what the other parts leave of a step.
        steps: how many steps have been read.
        behind: of how many steps the device had not even begun when the host was done with them.
    """

    def __init__(self, module: ModuleType | Any) -> None:
        self.times = dict.fromkeys(PARTS, 0.0)
        self.steps = self.behind = 0
        self._new_event: Callable[..., Any] = module.Event
        self._capturing: Callable[[], bool] = getattr(module, "is_current_stream_capturing", bool)
        self._free: list[Any] = []
        self._pending: deque[tuple[str, str | None, Any, Any]] = deque()
        self._part: str | None = None
        self._paused = False

    def span(self, inner: Callable[..., Any], part: str) -> Callable[..., Any]:
        """A function that does what `inner` does between two events. An event must not get into a graph's capture."""

        @functools.wraps(inner)
        def marked(*args: Any, **kwargs: Any) -> Any:
            if self._paused or self._capturing():
                return inner(*args, **kwargs)
            outer, self._part = self._part, part
            start = self._mark()
            try:
                return inner(*args, **kwargs)
            finally:
                self._part = outer
                self._pending.append((part, outer, start, self._mark()))
                if part == "step":
                    self._end_step(start)

        return marked

    def pause(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does what `inner` does, whose parts are not those of a training step."""

        @functools.wraps(inner)
        def paused(*args: Any, **kwargs: Any) -> Any:
            self._paused = True
            try:
                return inner(*args, **kwargs)
            finally:
                self._paused = False

        return paused

    def collect(self) -> None:
        """Add up what the device has passed."""
        while self._pending and self._pending[0][2].query() and self._pending[0][3].query():
            part, outer, start, end = self._pending.popleft()
            took = start.elapsed_time(end) / 1e3
            self.times[part] += took
            if outer is not None:
                self.times[outer] -= took
            self.steps += part == "step"
            self._free += (start, end)

    def _end_step(self, start: Any) -> None:
        self.behind += not start.query()
        if len(self._pending) > _POLL_AT:
            self.collect()

    def _mark(self) -> Any:
        event = self._free.pop() if self._free else self._new_event(enable_timing=True)
        event.record()
        return event
