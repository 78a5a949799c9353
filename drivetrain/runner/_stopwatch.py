"""Exclusive times of the nested parts of a step, on the host's clock, at a fifth of a microsecond a span."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

PARTS = (
    "wait", "copy", "preprocess", "forward", "backward", "optimizer", "hooks", "step", "metric", "validation", "save",
)  # fmt: skip
"""What time is spent on. Time in none of them is the loop's own, `other`."""

_PLACES = {part: place for place, part in enumerate(PARTS, start=1)}
_INSIDE_STEP = [_PLACES[part] for part in ("forward", "backward", "optimizer")]
_IN_VALIDATION = {part: part for part in ("wait", "copy", "preprocess", "metric", "hooks")} | {
    "predict": "forward",
    "other": "validation",
}
_BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD
_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}

# Written out for the very parameters of each method: to pass them on as *args and **kwargs would cost more than to read
# the clock twice.
_SPAN = """
def timed({parameters}):
    _before, _start = _spent[0], _clock()
    try:
        return _inner({passed})
    finally:
        _took = _clock() - _start
        _spent[{place}] += _took - _spent[0] + _before
        _spent[0] = _before + _took
"""
_HOOKS_SPAN = """
def timed({parameters}):
    _outer = _open[0]
    _before, _start = _open[0] = _spent[0], _clock()
    try:
        return _inner({passed})
    finally:
        _open[0] = _outer
        _took = _clock() - _start
        _spent[{place}] += _took - _spent[0] + _before
        _spent[0] = _before + _took
"""


class Stopwatch:
    """Adds up what each part takes, without what parts inside it take.

    Only the thread that trains may call what it times.
    """

    def __init__(self) -> None:
        # In seconds. Place 0 is the time of all spans that ended inside the open one; then comes a place for each part.
        self._spent = [0.0] * (1 + len(PARTS))
        self._in_validation = [0.0] * (1 + len(PARTS))
        # Of the innermost open span of hooks, in which values are logged: place 0 and the clock when it began.
        self._open: list[tuple[float, float] | None] = [None]

    def read(self, now: float) -> dict[str, float]:
        """Seconds by part up to `now` (of `time.perf_counter`), called inside a hook or outside all spans."""
        parts = dict(zip(PARTS, self._spent[1:], strict=True))
        if self._open[0] is not None:
            before, start = self._open[0]
            parts["hooks"] += now - start - self._spent[0] + before
        return parts

    def read_validation(self) -> dict[str, float]:
        """Seconds by part inside validations so far, `predict` and `other` among them."""
        return {name: self._in_validation[_PLACES[part]] for name, part in _IN_VALIDATION.items()}

    def span(self, inner: Callable[..., Any], part: str, owned: bool) -> Callable[..., Any]:
        """A method that counts its time as `part` and does what `inner` does.

        Args:
            inner: what it calls.
            part: one of `PARTS`.
            owned: whether `inner` takes the owner as its first argument, as functions of a class do.
        """
        parameters, passed, defaults = _signature(inner, owned)
        source = _HOOKS_SPAN if part == "hooks" else _SPAN
        names: dict[str, Any] = {"_inner": inner, "_spent": self._spent, "_clock": perf_counter, "_open": self._open}
        exec(source.format(parameters=", ".join(parameters), passed=", ".join(passed), place=_PLACES[part]), names)
        timed: Any = names["timed"]
        timed.__defaults__ = defaults
        return timed

    def step(self, inner: Callable[..., Any], owned: bool) -> Callable[..., Any]:
        """A `train_step` whose time is the part `step` when none of the parts inside shows, as in a replayed graph."""
        spent, place, (forward, backward, optimizer) = self._spent, _PLACES["step"], _INSIDE_STEP

        def timed(owner: Any, data_batch: Any) -> Any:
            before, start = spent[0], perf_counter()
            seen = spent[forward] + spent[backward] + spent[optimizer]
            try:
                return inner(owner, data_batch) if owned else inner(data_batch)
            finally:
                if spent[forward] + spent[backward] + spent[optimizer] == seen:
                    took = perf_counter() - start
                    spent[place] += took - spent[0] + before
                    spent[0] = before + took

        return timed

    def validation(self, inner: Callable[..., Any], owned: bool) -> Callable[..., Any]:
        """The `run` of a validation loop: its time, but for saves, is the part `validation`, with its own split."""
        spent, inside, place = self._spent, self._in_validation, _PLACES["validation"]
        apart = [other for other in range(1, len(spent)) if other not in (_PLACES["save"], place)]
        whole = self.span(inner, "validation", owned)

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = list(spent)
            try:
                return whole(*args, **kwargs)
            finally:
                inside[place] += spent[place] - before[place]
                for other in apart:
                    took = spent[other] - before[other]
                    inside[other] += took
                    spent[place] += took
                    spent[other] = before[other]

        return timed

    def batches(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """The batches of `iterator`; the time until each is there counts as `wait`."""
        fetch = self.span(iterator.__next__, "wait", owned=False)
        while True:
            try:
                batch = fetch(self)
            except StopIteration:
                return
            yield batch


class WaitedStream:
    """An endless stream of batches, in the place of a loop's `dataloader_iterator`: waiting counts as `wait`.

    Args:
        stream: what gives the batches; everything else is passed on to it.
        stopwatch: where the time counts.
    """

    def __init__(self, stream: Any, stopwatch: Stopwatch) -> None:
        self._stream = stream
        self._fetch = stopwatch.span(stream.__next__, "wait", owned=False)

    def __iter__(self) -> WaitedStream:
        return self

    def __next__(self) -> Any:
        return self._fetch(self)

    def __len__(self) -> int:
        return len(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _signature(inner: Callable[..., Any], owned: bool) -> tuple[list[str], list[str], tuple[Any, ...] | None]:
    """Parameters of a method that calls `inner`, the arguments it passes on, and defaults.

    Arguments are passed on one by one under their names; where that cannot be written out, as `*args, **kwargs`.
    """
    owner = [] if owned else ["_owner"]
    try:
        given = list(inspect.signature(inner, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):
        return [*owner, "*args", "**kwargs"], ["*args", "**kwargs"], None
    if any(p.kind not in _STARS and (p.kind is not _BY_NAME or p.name.startswith("_")) for p in given):
        return [*owner, "*args", "**kwargs"], ["*args", "**kwargs"], None
    names = [_STARS.get(p.kind, "") + p.name for p in given]
    return [*owner, *names], names, tuple(p.default for p in given if p.default is not p.empty) or None
