"""The time split of a run: stopwatches around its parts for the time of training, and what they say in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeAlias

import torch

from drivetrain.model import BaseModel, MMDistributedDataParallel
from drivetrain.optim import OptimWrapper

from ._device_clock import PARTS as DEVICE_PARTS
from ._device_clock import DeviceClock
from ._stopwatch import Stopwatch, WaitedStream
from ._taps import Taps
from ._time_report import TimeSplit, add_scalars, advice_on, line_of, table_of
from .loops import EpochBasedTrainLoop

_Method: TypeAlias = Callable[..., Any]
_OUR_STEPS = (BaseModel.train_step, MMDistributedDataParallel.train_step)
_LEAST_STRETCH = 1.0
"""Seconds of training that one line tells of, at least: what log points of shorter steps say is the next line's."""


@contextmanager
def split_time(runner: Any) -> Iterator[None]:
    """Time the parts of training, log a line and scalars at each log point, and a table at the end.

    Parts are methods of the run's own objects, replaced for as long as this context lasts; without it there is nothing.
    """
    taps, split = Taps(), _RunSplit(runner)
    try:
        split.attach(taps)
        yield
    finally:
        taps.remove()
        split.finish()


class _RunSplit:
    """Puts the stopwatches on the objects of a run, and reports."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._watch = Stopwatch()
        self._model = runner.strategy.unwrap(runner.model)
        self._device = _device_clock(runner.strategy.device)
        # A step of the model's own calls what it likes. Ours goes through known methods, and fewer spans cost less.
        step = _function(runner.model, "train_step")
        self._own_step = step not in _OUR_STEPS
        update = _function(runner.optim_wrapper, "update_params")
        known = step is BaseModel.train_step and update is OptimWrapper.update_params
        self._plain = known and self._device is None
        self._first_step = runner.iter
        self._named: str | None = None
        self._start = perf_counter()
        self._logged = self._read(self._first_step)

    def attach(self, taps: Taps) -> None:
        """Put everything in place."""
        runner, loop = self._runner, self._runner.train_loop
        if hasattr(loop, "dataloader_iterator"):
            taps.replace(loop, "dataloader_iterator", WaitedStream(loop.dataloader_iterator, self._watch))
        else:
            taps.put(loop, "open_batches", self._opening)
        if not self._plain or _function(loop, "train_step") is not EpochBasedTrainLoop.train_step:
            taps.put(loop, "train_step", self._step)
        if self._plain:
            taps.put(self._model, "train_step", lambda found, _: self._watch.train_step(found, runner.optim_wrapper))
        else:
            self._attach_forward(taps)
            self._attach_preprocessor(taps)
            self._attach_optimizers(taps)
        self._attach_validation(taps)
        self._tap(taps, runner, "save_checkpoint", "save")
        taps.put(runner, "call_hook", self._hooks)
        taps.put(runner.log_processor, "get_log_after_iter", self._adding_to_log)
        self._start = perf_counter()
        self._logged = self._read(self._first_step)

    def finish(self) -> None:
        """Write the table of the whole run, and leave its numbers in the message hub as `time_split`, in seconds."""
        split = self._read(self._runner.iter)._replace(validation=self._watch.read_validation())
        if split.steps:
            self._runner.message_hub.update_info("time_split", split._asdict(), resumed=False)
            self._runner.logger.info(table_of(split, self._workers))

    def log(self, tag: dict[str, Any], line: str) -> str:
        """Add the steps since the last split to what is logged: numbers to `tag`, shares to the line.

        The first log point is told of, and then those that end a stretch of `_LEAST_STRETCH`. Advice comes along
        whenever another part has become the bottleneck.
        """
        if self._named is not None and perf_counter() - self._start - self._logged.wall < _LEAST_STRETCH:
            return line
        now = self._read(self._runner.iter + 1)
        split, self._logged = now.since(self._logged), now
        add_scalars(split, tag)
        shares, found = line_of(split)
        advice = "" if found == self._named else f": {advice_on(found, split, self._workers)}"
        self._named = found
        return f"{line}\n    {shares}{advice}"

    @property
    def _workers(self) -> int | None:
        return getattr(self._runner.train_loop.dataloader, "num_workers", None)

    def _read(self, step: int) -> TimeSplit:
        now = perf_counter()
        wall, parts = now - self._start, self._watch.read(now)
        parts["other"] = wall - sum(parts.values())
        split = TimeSplit(step - self._first_step, wall, parts)
        if self._device is None:
            return split
        clock = self._device
        clock.collect()
        return split._replace(device=dict(clock.times), device_steps=clock.steps, behind=clock.behind)

    def _attach_forward(self, taps: Taps) -> None:
        for module in {self._runner.model, self._model}:
            self._tap(taps, module, "_run_forward", "forward")
        self._tap(taps, self._model, "parse_losses", "forward")
        if self._own_step:
            self._tap_call(taps, self._model, "forward")

    def _attach_preprocessor(self, taps: Taps) -> None:
        preprocessor = getattr(self._model, "data_preprocessor", None)
        self._tap_call(taps, preprocessor, "preprocess")
        # On the CPU nothing is copied. In compiled code no clock can be read: a copy in it is part of preprocessing.
        for module in [] if self._device is None or _is_compiled(preprocessor) else self._model.modules():
            self._tap(taps, module, "cast_data", "copy")

    def _attach_optimizers(self, taps: Taps) -> None:
        optim_wrapper = self._runner.optim_wrapper
        whole = ("update_params", "step", "zero_grad") if self._own_step else ("update_params",)
        for wrapper in optim_wrapper.values() if hasattr(optim_wrapper, "values") else [optim_wrapper]:
            self._tap(taps, wrapper, "backward", "backward")
            for name in whole:
                self._tap(taps, wrapper, name, "optimizer")

    def _attach_validation(self, taps: Taps) -> None:
        loop = self._runner.val_loop
        if loop is None:
            return
        taps.put(loop, "run", self._validation)
        taps.put(loop, "open_batches", self._opening)
        self._tap(taps, self._runner.model, "val_step", "forward")
        for name in ("process", "evaluate"):
            self._tap(taps, getattr(loop, "evaluator", None), name, "metric")

    def _tap_call(self, taps: Taps, module: Any, part: str) -> None:
        """Time the call of a module: its `forward`, or what the compiler has put in its place."""
        self._tap(taps, module, "_compiled_call_impl" if _is_compiled(module) else "forward", part)

    def _tap(self, taps: Taps, owner: Any, name: str, part: str) -> None:
        taps.put(owner, name, lambda found, owned: self._watch.span(self._on_device(found, part), part, owned))

    def _on_device(self, found: _Method, part: str) -> _Method:
        return found if self._device is None or part not in DEVICE_PARTS else self._device.span(found, part)

    def _step(self, found: _Method, owned: bool) -> _Method:
        return self._watch.step(self._on_device(found, "step"), owned)

    def _validation(self, found: _Method, owned: bool) -> _Method:
        timed = self._watch.validation(found if self._device is None else self._device.pause(found), owned)

        def run(*args: Any, **kwargs: Any) -> Any:
            taps = Taps()
            if self._plain:  # else it is timed all the time
                self._attach_preprocessor(taps)
            try:
                return timed(*args, **kwargs)
            finally:
                taps.remove()

        return run

    def _hooks(self, found: _Method, owned: bool) -> _Method:
        from .runner import Runner  # which imports this file

        def call(name: str, runner: Any, kwargs: dict[str, Any]) -> None:
            found(*((runner,) if owned else ()), name, **kwargs)

        return self._watch.call_hook(self._runner._hook_table.call if found is Runner.call_hook else call)

    def _opening(self, found: _Method, owned: bool) -> _Method:
        opened = self._watch.span(found, "wait", owned)
        return lambda loop: self._watch.batches(opened(loop))

    def _adding_to_log(self, found: _Method, owned: bool) -> _Method:
        def get_log_after_iter(processor: Any, runner: Any, batch_idx: int, mode: str) -> Any:
            tag, line = found(*((processor,) if owned else ()), runner, batch_idx, mode)
            return tag, self.log(tag, line) if mode == "train" else line

        return get_log_after_iter


def _device_clock(device: torch.device) -> DeviceClock | None:
    """A clock where work on the device goes its own way, beside the host."""
    module = None if device.type == "cpu" else torch.get_device_module(device)
    return DeviceClock(module) if hasattr(module, "Event") else None


def _function(owner: Any, name: str) -> Any:
    """The function behind a method; None where something else has been put in its place."""
    return getattr(getattr(owner, name, None), "__func__", None)


def _is_compiled(module: Any) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None
