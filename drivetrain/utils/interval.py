"""One unit for every interval: `"500it"`, `"1ep"`, `"0.25ep"`, `"10min"`, beside plain numbers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_ALIASES = {
    "it": ("i", "iter", "iters", "iteration", "iterations", "its", "step", "steps"),
    "ep": ("e", "eps", "epoch", "epochs"),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("m", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
}
_CANONICAL = {alias: unit for unit, aliases in _ALIASES.items() for alias in (unit, *aliases)}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_DURATION = "a time such as '90s', '10min', '2h', '11h50min' or '1d'"
_INTERVAL = f"'500it' (iterations), '1ep' or '0.25ep' (epochs), or {_DURATION}"


@dataclass(frozen=True)
class Interval:
    """How often something happens, in training steps, epochs or time.

    Parts of an epoch are counted in steps over the whole run: the k-th of `"0.25ep"` comes after step
    `floor(k * 0.25 * length + 1/2)`, with `length` steps to an epoch. Rounding does not add up, and the last part of
    each epoch ends with it.

    Args:
        every: steps, epochs or seconds from one time to the next; positive, and whole for steps.
        unit: 'it', 'ep' or 's'.

    >>> str(Interval.parse("interval", "0.25ep"))
    '0.25ep'
    """

    every: Fraction
    unit: str

    @classmethod
    def parse(cls, name: str, text: str) -> Interval:
        """An interval from its text; `name` is that of the argument, for the error.

        Raises:
            ArgumentError: the text is no interval; the message holds the nearest that is.
            ArgumentTypeError: it is a number in quotes.
        """
        if re.fullmatch(r"\s*-?\d+\s*", text):
            raise ArgumentTypeError(
                f"{name} must be an int, which is a whole number, got {text!r} of type str. Did you mean {int(text)}? "
                f"A text says its unit: {_INTERVAL}."
            )
        parts = _split(text)
        if not parts or (len(parts) > 1 and any(unit not in _SECONDS for _, unit in parts)):
            raise _unreadable(name, text, _INTERVAL)
        unit = parts[0][1]
        if unit in _SECONDS:
            return cls(_total(parts, name, text, _INTERVAL), "s")
        if unit not in ("it", "ep"):
            raise _unreadable(name, text, _INTERVAL)
        every = Fraction(parts[0][0])
        if every <= 0 or (unit == "it" and every.denominator > 1):
            raise ArgumentError(f"{name}={text!r}: an interval is above zero, and iterations are whole.")
        return cls(every, unit)

    @property
    def iterations(self) -> int | None:
        """The interval as the contract's number of iterations; None where it is something else."""
        return int(self.every) if self.unit == "it" else None

    @property
    def epochs(self) -> int | None:
        """The interval as the contract's number of epochs; None where it is a part of one, or something else."""
        return int(self.every) if self.unit == "ep" and self.every.denominator == 1 else None

    def passed(self, step: int, epoch_length: int) -> int:
        """How many times have come by the end of step number `step` (from 1), with so many steps to an epoch.

        Raises:
            ArgumentError: the interval is a time.
        """
        if self.unit == "s":
            raise ArgumentError(f"an interval of {self} is a time: no number of steps tells when it has passed.")
        above, below = self.every.numerator, self.every.denominator
        length = epoch_length if self.unit == "ep" else 1
        # The greatest k with floor(k * every * length + 1/2) <= step.
        return -((2 * step + 1) * below // (-2 * above * length)) - 1

    def __str__(self) -> str:
        number = str(int(self.every)) if self.every.denominator == 1 else f"{float(self.every):g}"
        return f"{number}{self.unit}"


class Ticker:
    """Says at the end of each step whether an interval has passed.

    A time counts from `start()` to the end of the first step after it, and anew from there; its state is the time that
    has passed since, so that a resumed run waits for the rest alone. Steps and epochs need no state.

    Args:
        interval: what has to pass.
        epoch_length: steps to an epoch; needed for an interval in epochs.
        clock: gives seconds.

    Raises:
        ArgumentError: an interval in epochs, and no length of one.
    """

    def __init__(
        self, interval: Interval, epoch_length: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if interval.unit == "ep" and epoch_length is None:
            raise ArgumentError(
                f"an interval of {interval} needs to know how long an epoch is, and the loader has no length. Give "
                "iterations, such as '500it', or a time, such as '10min'."
            )
        self.interval = interval
        self._length = epoch_length or 1
        self._clock = clock
        self._seconds = float(interval.every)
        self._since: float | None = None
        self._before: float | None = None
        self._elapsed = 0.0

    def start(self) -> None:
        """Begin to count time, from where a resumed run left it."""
        if self._since is None:
            self._since = self._clock() - self._elapsed

    def due(self, step: int) -> bool:
        """Whether the interval has passed at the end of step number `step` (from 1); to be asked once a step."""
        if self.interval.unit != "s":
            return self.interval.passed(step, self._length) > self.interval.passed(step - 1, self._length)
        self.start()
        now = self._clock()
        if now - (self._since or 0.0) < self._seconds:
            return False
        self._before, self._since = self._since, now
        return True

    def undo(self) -> None:
        """Have not said yes the last time: what was due was not done."""
        self._since = self._before if self._before is not None else self._since

    def state_dict(self) -> dict[str, Any]:
        """Seconds since the last time."""
        return {"elapsed": self._elapsed if self._since is None else self._clock() - self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; a run that was stopped has not waited meanwhile."""
        self._elapsed = float(state["elapsed"])
        self._since = self._before = None


def parse_duration(name: str, value: str | float | timedelta) -> float:
    """Seconds of a time given as text (`'11h50min'`), as a number of seconds, or as a `timedelta`.

    Args:
        name: name of the argument, for the error.
        value: the time; above zero.

    Raises:
        ArgumentError: the text is no time, or the time is not above zero.
        ArgumentTypeError: it is something else.

    >>> parse_duration("max_time", "11h50min")
    42600.0
    """
    if type(value) is str:
        parts = _split(value)
        if not parts or any(unit not in _SECONDS for _, unit in parts):
            raise _unreadable(name, value, _DURATION)
        return float(_total(parts, name, value, _DURATION))
    seconds: Any = getattr(value, "total_seconds", lambda: value)()
    if type(seconds) not in (int, float):
        raise ArgumentTypeError(f"{name} takes {_DURATION}, a number of seconds or a timedelta, got {value!r}.")
    if not 0 < seconds < float("inf"):
        raise ArgumentError(f"{name} must be a time above zero, got {value!r}.")
    return float(seconds)


def _split(text: str) -> list[tuple[str, str]]:
    """Numbers and units of a text; nothing where it is made of something else."""
    found = _PART.findall(text)
    return found if _PART.sub("", text) == "" else []


def _total(parts: list[tuple[str, str]], name: str, text: str, wanted: str) -> Fraction:
    units = [unit for _, unit in parts]
    seconds = sum((Fraction(number) * _SECONDS[unit] for number, unit in parts), Fraction(0))
    if len(set(units)) < len(units) or [*units] != sorted(units, key=lambda unit: -_SECONDS[unit]):
        raise ArgumentError(
            f"{name}={text!r}: each unit comes once, the greatest first, as in '1d2h30min'; write {wanted}."
        )
    if seconds <= 0:
        raise ArgumentError(f"{name}={text!r} must be above zero.")
    return seconds


def _unreadable(name: str, text: str, wanted: str) -> ArgumentError:
    parts = _split(text)
    near = "".join(number + _CANONICAL.get(unit.lower(), "?") for number, unit in parts)
    hint = f" Did you mean {near!r}?" if near and "?" not in near and near != text.replace(" ", "") else ""
    return ArgumentError(f"{name}={text!r} cannot be read; write {wanted}.{hint}")
