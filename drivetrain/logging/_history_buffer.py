"""A series of numbers over time: the newest entries in full, and running statistics of all of them."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from drivetrain.errors import ArgumentError, ArgumentTypeError, DuplicateError, NotFoundError, did_you_mean

from ._device_values import HOST, DeviceFold, Held, are_numbers
from ._logger import print_log
from ._running import Running
from ._settle import lock, settle, take
from ._tail import Array, Tail
from ._values import HOST_TYPES, as_array, is_number

PENDING_LIMIT = 256
"""Entries a series holds back before it folds them together."""


class HistoryBuffer:
    """The history of one number: values, how many samples each is the sum of, and statistics over windows.

    A window is the number of newest entries, None for all, 'global' for everything since the start of the run, or
    'epoch' for everything since `begin_epoch`; the last two come from running sums and cost the same at any length.

    An update costs O(1); entries are put in their place when somebody reads. A tensor that `MessageHub` hands over
    stays on its device until then.

    Updates may come from any thread: none is lost, and those of one thread keep their order. A read sees every update
    that had returned before it began.

    Args:
        log_history: values to start with.
        count_history: as many counts.
        max_length: how many entries to keep at most.

    Raises:
        ArgumentError: the two sequences differ in length.
    """

    _statistics_methods: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(
        self,
        log_history: Sequence[float] = [],
        count_history: Sequence[int] = [],
        max_length: int = 1000000,
    ) -> None:
        if len(log_history) != len(count_history):
            raise ArgumentError(
                "log_history and count_history must have one length, "
                f"got {len(log_history)} values and {len(count_history)} counts."
            )
        if len(log_history) > max_length:
            warnings.warn(
                f"a history of {len(log_history)} entries exceeds max_length={max_length}: the oldest are dropped.",
                stacklevel=2,
            )
        self._restore(max_length, max_length, np.array(log_history), np.array(count_history))

    def _restore(self, max_length: int, capacity: int, values: Array, counts: Array) -> None:
        values, counts = values[-max_length:], counts[-max_length:]
        self.max_length = max_length
        self._tail = Tail(capacity, values[-capacity:], counts[-capacity:])
        self._run = Running.of(values.tolist(), counts.tolist())
        self._epoch = Running.from_state(self._run.state())
        self._epoch_begin = 0
        self._epoch_key = -1
        self._pending: list[Held] = []
        self._fold: DeviceFold | None = None
        self._settle_all: Callable[[], None] | None = None
        self._retain: Callable[[int], Any] | None = None

    @classmethod
    def _bounded(cls, capacity: int, settle_all: Callable[[], None], retain: Callable[[int], Any]) -> HistoryBuffer:
        """An empty series of a hub, which flushes all its series together and sets their common capacity."""
        buffer = cls()
        buffer._tail = Tail(capacity)
        buffer._join(settle_all, retain)
        return buffer

    def _join(self, settle_all: Callable[[], None], retain: Callable[[int], Any]) -> None:
        self._settle_all, self._retain = settle_all, retain

    def update(self, log_val: int | float, count: int = 1) -> None:
        """Append `log_val`, the sum over `count` samples.

        Raises:
            ArgumentTypeError: not numbers.
        """
        if not is_number(log_val) or not is_number(count):
            raise ArgumentTypeError(
                "update needs a number and a count that is a number, "
                f"got {log_val!r} of type {type(log_val).__name__} and {count!r} of type {type(count).__name__}."
            )
        self._append(log_val if type(count) is int and count == 1 else (log_val, count, HOST))

    @property
    def data(self) -> tuple[Array, Array]:
        """The kept values and counts, oldest first, each of shape (n,); copies."""
        values, counts = self._last(None)
        return values.copy(), counts.copy()

    @classmethod
    def register_statistics(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make `method(buffer, window_size, ...)` known under its name to `statistics` and to log processors.

        It may read `buffer.data`. For the windows 'epoch' and 'global' it gets the number of their entries that are
        still kept.

        Raises:
            DuplicateError: the name is taken.
        """
        name = method.__name__
        if name in cls._statistics_methods:
            raise DuplicateError(f"a statistic called {name!r} is already registered: give the function another name.")
        cls._statistics_methods[name] = method
        return method

    @classmethod
    def statistics_names(cls) -> list[str]:
        """The names that `statistics` knows."""
        return list(cls._statistics_methods)

    @classmethod
    def find_statistics(cls, name: str) -> Callable[..., Any]:
        """The statistic called `name`, as a function of a buffer and its own arguments.

        Raises:
            NotFoundError: there is none.
        """
        known = cls._statistics_methods
        if name not in known:
            raise NotFoundError(
                f"no statistic is called {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)} "
                "Add your own with @HistoryBuffer.register_statistics."
            )
        return known[name]

    def statistics(self, method_name: str, *arg: Any, **kwargs: Any) -> Any:
        """The statistic called `method_name`: 'mean', 'max', 'min', 'current' or a registered one.

        Args:
            method_name: the name.
            *arg: its arguments; the first is usually the window.
            **kwargs: its keyword arguments, such as `window_size`.

        Raises:
            NotFoundError: no statistic has that name.
        """
        method = self.find_statistics(method_name)
        if method_name not in _BUILT_IN:
            arg = tuple(self._kept_entries(value) for value in arg)
            kwargs = {key: self._kept_entries(value) for key, value in kwargs.items()}
        return method(self, *arg, **kwargs)

    def mean(self, window_size: int | str | None = None) -> Any:
        """Sum of the values of the window by the sum of their counts; NaN of nothing.

        A value with a count above one is thus taken as the sum over that many samples, as in MMEngine.
        """
        newest = self._newest(window_size)
        if newest:
            return np.float64(sum(newest) / len(newest))
        running = self._running(window_size)
        if running is not None:
            return running.mean
        values, counts = self._last(window_size)
        with np.errstate(all="ignore"):
            return np.add.reduce(values) / np.add.reduce(counts)

    def max(self, window_size: int | str | None = None) -> Any:
        """Greatest value of the window."""
        running = self._running(window_size)
        return self._some(window_size).max() if running is None else np.float64(running.high)

    def min(self, window_size: int | str | None = None) -> Any:
        """Least value of the window."""
        running = self._running(window_size)
        return self._some(window_size).min() if running is None else np.float64(running.low)

    def current(self) -> Any:
        """The newest value."""
        newest = self._newest(1)
        return np.float64(newest[0]) if newest else self._some(1)[-1]

    def peek(self) -> Any | None:
        """The newest value that was brought over already, or None: reads nothing from a device."""
        if self._pending and type(self._pending[-1]) in HOST_TYPES:
            return self._pending[-1]
        values = self._tail.values(1)
        return values[-1] if len(values) else None

    def begin_epoch(self, key: int | None = None) -> None:
        """Start the window 'epoch' anew; not when `key` is that of the running epoch, as after a resume inside it."""
        if key is not None and key == self._epoch_key:
            return
        with lock:
            self._epoch_key = -1 if key is None else key
            self._epoch_begin = self.entries
            self._epoch = Running()
            if self._fold is not None:
                self._fold.forget_epoch()

    def retain(self, size: int) -> None:
        """Keep `size` of the newest entries from now on, if that is more than now and at most `max_length`."""
        self._tail.capacity = max(self._tail.capacity, min(size, self.max_length))

    def _shrink(self, capacity: int) -> None:
        """Keep no more than `capacity` of the newest entries: what a hub does with a longer history it loads."""
        self._tail = Tail(capacity, *(part.copy() for part in self._tail.last(capacity)))

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        values, counts = self._tail.last(self._tail.capacity)
        return {
            "max_length": self.max_length,
            "_log_history": values.copy(),
            "_count_history": counts.copy(),
            "capacity": self._tail.capacity,
            "global": self._run.state(),
            "epoch": self._epoch.state(),
            "epoch_begin": self._epoch_begin,
            "epoch_key": self._epoch_key,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        max_length = int(state["max_length"])
        values, counts = np.asarray(state["_log_history"]), np.asarray(state["_count_history"])
        self._restore(max_length, int(state.get("capacity", max_length)), values, counts)
        if "global" in state:  # a file of MMEngine has the entries alone
            self._run = Running.from_state(np.asarray(state["global"]).tolist())
            self._epoch = Running.from_state(np.asarray(state["epoch"]).tolist())
            self._epoch_begin, self._epoch_key = int(state["epoch_begin"]), int(state["epoch_key"])

    @property
    def _log_history(self) -> Array:
        """The kept values under the name that registered statistics of MMEngine read."""
        return self.data[0]

    @property
    def _count_history(self) -> Array:
        """The kept counts under the name that registered statistics of MMEngine read."""
        return self.data[1]

    @property
    def entries(self) -> int:
        """How many entries there have ever been, the forgotten ones included; reads nothing from a device."""
        folded = 0 if self._fold is None else self._fold.entries
        return self._run.entries + folded + len(self._pending)

    def _kept_entries(self, window: Any) -> Any:
        """The number of kept entries in a named window; anything else as it is."""
        if type(window) is not str or window not in _NAMED:
            return window
        self._settle()
        size = self._run.entries - (self._epoch_begin if window == "epoch" else 0)
        return max(min(size, len(self._tail)), 1)

    def _running(self, window: Any) -> Running | None:
        """The running statistics that answer for `window`, or None when the kept entries do."""
        self._settle()
        if type(window) is str and window in _NAMED:
            return self._epoch if window == "epoch" else self._run
        everything = _window_size(window) >= self._run.entries
        return self._run if everything and self._has_lost_entries() else None

    def _newest(self, window: Any) -> Sequence[float]:
        """The values of the window, oldest first, if they are floats that count once each and are at hand; else none.

        Log lines ask for short windows of such series. There a list is summed before an array is made, and numbers may
        stay where updates left them.
        """
        if type(window) is not int or not 0 < window <= self._tail.capacity:
            return ()
        values = self._pending[-window:]
        if len(values) == window and set(map(type, values)) == {float}:
            return values
        self._settle()
        return self._tail.floats(window)

    def _has_device_values(self) -> bool:
        return self._fold is not None or not are_numbers(set(map(type, self._pending)))

    def _some(self, window: Any) -> Array:
        values = self._last(window)[0]
        if not len(values):
            raise ArgumentError("this HistoryBuffer is empty: call update first.")
        return values

    def _last(self, window: Any) -> tuple[Array, Array]:
        size = _window_size(window)
        with lock:
            self._settle()
            entries = self._tail.last(size)
            if self._tail.capacity < size < _EVERYTHING and self._has_lost_entries():
                self._keep_more(size)
            return entries

    def _has_lost_entries(self) -> bool:
        """Whether older entries are gone because the hub keeps fewer than `max_length`."""
        return self._tail.capacity < self.max_length and len(self._tail) < self._run.entries

    def _keep_more(self, size: int) -> None:
        print_log(
            f"a window of {size} entries was asked for, but a message hub keeps the newest {self._tail.capacity}: "
            f"older ones are gone. From now on {size} are kept; call `message_hub.retain({size})` at the start to "
            "have them all.",
            "current",
            logging.WARNING,
        )
        (self._retain or self.retain)(size)

    def _append(self, item: Held) -> None:
        self._pending.append(item)
        if len(self._pending) >= PENDING_LIMIT:
            self._fold_pending()

    def _fold_pending(self) -> None:
        """Bring the entries held back together: numbers go to their place, device values are folded on the device."""
        with lock:
            if not self._pending:  # another thread came first
                return
            if self._fold is None and are_numbers(set(map(type, self._pending))):
                settle([self])
                return
            self._fold = self._fold or DeviceFold()
            before_epoch = max(self._epoch_begin - self._run.entries - self._fold.entries, 0)
            self._fold.add(take(self._pending), before_epoch, self._tail.capacity)

    def _settle(self) -> None:
        """Put everything held back in its place, together with the other series of the hub."""
        with lock:
            if self._settle_all is not None and self._has_device_values():
                self._settle_all()
            if self._pending or self._fold:
                settle([self])

    def _absorb(self, values: Sequence[Any], counts: Sequence[int] | None) -> None:
        batch = Running.of(values, counts)
        before_epoch = max(self._epoch_begin - self._run.entries, 0)
        self._run = self._run.merged(batch)
        if before_epoch:
            batch = Running.of(values[before_epoch:], None if counts is None else counts[before_epoch:])
        self._epoch = self._epoch.merged(batch)
        if counts is None and set(map(type, values)) == {float}:
            self._tail.extend_floats(values)
        else:
            self._tail.extend(as_array(values), None if counts is None else np.array(counts))

    def _absorb_fold(self, fold: DeviceFold, numbers: Sequence[Sequence[float]]) -> None:
        run, epoch = fold.on_host(numbers)
        self._run, self._epoch = self._run.merged(run), self._epoch.merged(epoch)
        if len(fold.tail_counts) < fold.entries:
            self._tail.clear()  # what stands there now came before entries that are gone
        self._tail.extend(np.array(numbers[0]), np.array(fold.tail_counts))


def _window_size(window: Any) -> int:
    """The number of entries in `window`; None and 0 mean all."""
    size = _EVERYTHING if window is None else window
    if not hasattr(size, "__index__") or size < 0:
        raise ArgumentTypeError(f"a window is an int >= 0, 'epoch', 'global' or None, got {window!r}.")
    return int(size) or _EVERYTHING


_EVERYTHING = sys.maxsize
_NAMED = ("epoch", "global")
_BUILT_IN = ("mean", "max", "min", "current")
for _name in _BUILT_IN:
    HistoryBuffer.register_statistics(getattr(HistoryBuffer, _name))
