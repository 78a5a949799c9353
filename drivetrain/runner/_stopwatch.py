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
_STEP_LINES = [_PLACES[part] for part in ("preprocess", "forward", "backward", "optimizer")]
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
        names: dict[str, Any] = {"_inner": inner, "_spent": self._spent, "_clock": perf_counter}
        exec(_SPAN.format(parameters=", ".join(parameters), passed=", ".join(passed), place=_PLACES[part]), names)
        timed: Any = names["timed"]
        timed.__defaults__ = defaults
        return timed

    def call_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`Runner.call_hook` whose time is the part `hooks`; `call` is what it calls."""
        spent, opened, place = self._spent, self._open, _PLACES["hooks"]

        def call_hook(runner: Any, fn_name: str, **kwargs: Any) -> None:
            outer = opened[0]
            before, start = opened[0] = spent[0], perf_counter()
            try:
                call(fn_name, runner, kwargs)
            finally:
                opened[0] = outer
                took = perf_counter() - start
                spent[place] += took - spent[0] + before
                spent[0] = before + took

        return call_hook

    def train_step(self, plain: Callable[..., Any], known: Any) -> Callable[..., Any]:
        """`BaseModel.train_step` and `OptimWrapper.update_params`, with a look at the clock between their lines.

        A span for each of the methods they call would cost more than twice as much. No other part is expected inside;
        their time is taken from the forward pass.

        Args:
            plain: the step itself, for when something has changed since.
            known: the optimizer wrapper, whose `update_params` is that of `OptimWrapper`.
        """
        attributes = vars(known)
        spent, (preprocess, forward, backward, optimizer) = self._spent, _STEP_LINES

        def train_step(model: Any, data: Any, optim_wrapper: Any) -> Any:
            if optim_wrapper is not known or "update_params" in attributes:
                return plain(model, data, optim_wrapper)
            before, start = spent[0], perf_counter()
            with optim_wrapper.optim_context(model):
                data = model.data_preprocessor(data, True)
                prepared = perf_counter()
                losses = model._run_forward(data, mode="loss")
            loss, log_vars = model.parse_losses(losses)
            computed = perf_counter()
            optim_wrapper.backward(optim_wrapper.scale_loss(loss))
            derived = perf_counter()
            optim_wrapper.updated = due = optim_wrapper.should_update()
            if due:
                optim_wrapper.step()
                optim_wrapper.zero_grad()
            end = perf_counter()
            spent[preprocess] += prepared - start
            spent[forward] += computed - prepared - spent[0] + before
            spent[backward] += derived - computed
            spent[optimizer] += end - derived
            spent[0] = before + end - start
            return log_vars

        return train_step

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
        spent, place, fetch = self._spent, _PLACES["wait"], iterator.__next__
        while True:
            before, start = spent[0], perf_counter()
            try:
                batch = fetch()
            except StopIteration:
                return
            finally:
                took = perf_counter() - start
                spent[place] += took - spent[0] + before
                spent[0] = before + took
            yield batch


class WaitedStream:
    """An endless stream of batches, in the place of a loop's `dataloader_iterator`: waiting counts as `wait`.

    Args:
        stream: what gives the batches; everything else is passed on to it.
        stopwatch: where the time counts.
    """

    def __init__(self, stream: Any, stopwatch: Stopwatch) -> None:
        self._stream = stream
        self._batches = stopwatch.batches(stream)

    def __iter__(self) -> WaitedStream:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

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
