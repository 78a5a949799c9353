"""Measure wall time."""

from __future__ import annotations

import sys
import time
from typing import Any

from drivetrain.errors import DrivetrainError


class TimerError(DrivetrainError):
    """A timer was read while it did not run.

    Args:
        message: what happened.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Timer:
    """A stop-watch, also as a context that prints how long its block took.

    Args:
        start: start at once.
        print_tmpl: what the context prints, with `{}` for the seconds.

    >>> timer = Timer()
    >>> timer.since_start() >= timer.since_last_check() >= 0
    True
    """

    def __init__(self, start: bool = True, print_tmpl: str | None = None) -> None:
        self._is_running = False
        self.print_tmpl = print_tmpl if print_tmpl else "{:.3f}"
        if start:
            self.start()

    @property
    def is_running(self) -> bool:
        """Whether the timer was started."""
        return self._is_running

    def __enter__(self) -> Timer:
        self.start()
        return self

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        sys.stdout.write(self.print_tmpl.format(self.since_last_check()) + "\n")
        self._is_running = False

    def start(self) -> None:
        """Start, unless it runs; the time of the last check is now."""
        now = time.perf_counter()
        if not self._is_running:
            self._start = now
            self._is_running = True
        self._last = now

    def since_start(self) -> float:
        """Seconds since the start; this is a check as well.

        Raises:
            TimerError: the timer does not run.
        """
        self._must_run()
        self._last = time.perf_counter()
        return self._last - self._start

    def since_last_check(self) -> float:
        """Seconds since the last check, which is the last call of this or `since_start`, or the start.

        Raises:
            TimerError: the timer does not run.
        """
        self._must_run()
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed

    def _must_run(self) -> None:
        if not self._is_running:
            raise TimerError("timer is not running: call start() first.")


_timers: dict[str, Timer] = {}


def check_time(timer_id: str) -> float:
    """Seconds since the last call with the same name; 0 for the first.

    >>> check_time("load")
    0
    """
    if timer_id not in _timers:
        _timers[timer_id] = Timer()
        return 0
    return _timers[timer_id].since_last_check()
