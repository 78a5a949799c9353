"""Profile training steps with torch's profiler."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Union

import torch
from torch import profiler as torch_profiler

from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook

_Handler = Callable[[Any], None]


@HOOKS.register_module()
class ProfilerHook(Hook):
    """Runs `torch.profiler` over the first `profile_times` epochs or iterations of training in this process.

    Profiling costs time and memory at every operation: profile a few iterations, or one short epoch with a `schedule`.

    Args:
        by_epoch: count epochs, else iterations.
        profile_times: how many of them.
        activity_with_cpu: record what the host does.
        activity_with_cuda: record what the GPU does; without one this is left out, with a warning.
        schedule: arguments of `torch.profiler.schedule`, in iterations: wait, warmup, active, repeat, skip_first. None
            records all.
        on_trace_ready: what happens to a recording: a function of the profiler; or
            `dict(type='log_trace', sort_by='self_cpu_time_total', row_limit=100)`, a table in the log; or
            `dict(type='tb_trace', dir_name=None, worker_name=None, use_gzip=False)`, files for TensorBoard or Perfetto
            in `dir_name` (under the log_dir; 'tf_tracing_logs' when None).
        record_shapes: record the shapes of inputs.
        profile_memory: record allocations.
        with_stack: record file and line of each operation.
        with_flops: estimate the floating point operations of matrix products and convolutions.
        json_trace_path: write the last recording there, for Perfetto or chrome://tracing.

    Attributes:
        profiler: the running profiler; None before training and once done.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is wrong; see the message.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        by_epoch: bool = True,
        profile_times: int = 1,
        activity_with_cpu: bool = True,
        activity_with_cuda: bool = False,
        schedule: dict[str, Any] | None = None,
        on_trace_ready: Union[Callable[..., Any], dict[str, Any], None] = None,  # noqa: UP007
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | None = None,
    ) -> None:
        if type(profile_times) is not int or profile_times < 1:
            raise ArgumentError(f"profile_times takes a whole number of at least 1, got {profile_times!r}.")
        if not (activity_with_cpu or activity_with_cuda):
            raise ArgumentError("nothing to record: set activity_with_cpu or activity_with_cuda.")
        _check_trace(on_trace_ready, json_trace_path)
        self.by_epoch = by_epoch
        self.profile_times = profile_times
        self.activities = [torch_profiler.ProfilerActivity.CPU] if activity_with_cpu else []
        if activity_with_cuda:
            self.activities.append(torch_profiler.ProfilerActivity.CUDA)
        self.schedule = None if schedule is None else torch_profiler.schedule(**_checked_schedule(schedule))
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.json_trace_path = json_trace_path
        self.profiler: torch_profiler.profile | None = None
        self._made = 0

    def before_run(self, runner: RunnerLike) -> None:
        """Say so if there is no GPU to record."""
        cuda = torch_profiler.ProfilerActivity.CUDA
        if cuda in self.activities and not torch.cuda.is_available():
            runner.logger.warning("ProfilerHook: there is no GPU, so activity_with_cuda=True has no effect.")
            self.activities = [activity for activity in self.activities if activity is not cuda]

    def before_train(self, runner: RunnerLike) -> None:
        """Start.

        Raises:
            ArgumentError: training is shorter than `profile_times`, or nothing is left to record.
        """
        total, unit = (runner.max_epochs, "epochs") if self.by_epoch else (runner.max_iters, "iterations")
        if self.profile_times > total:
            raise ArgumentError(
                f"profile_times={self.profile_times} {unit}, and training has {total}. One epoch, or a few iterations "
                "with by_epoch=False, show where time goes."
            )
        if not self.activities:
            raise ArgumentError("activity_with_cuda=True alone records nothing without a GPU: set activity_with_cpu.")
        self._made = 0
        self.profiler = torch_profiler.profile(
            activities=self.activities,
            schedule=self.schedule,
            on_trace_ready=self._parse_trace_config(runner),
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
        )
        self.profiler.start()

    def after_train_iter(  # type: ignore[override]
        self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH, outputs: Any
    ) -> None:
        """Tell the profiler that a step is done; end if that was the last."""
        if self.profiler is not None:
            self.profiler.step()
            self._count(runner, by_epoch=False)

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """End if that was the last epoch."""
        if self.profiler is not None:
            self._count(runner, by_epoch=True)

    def after_train(self, runner: RunnerLike) -> None:
        """End what a training that was stopped left running."""
        if self.profiler is not None:
            self._finish(runner)

    def _count(self, runner: RunnerLike, by_epoch: bool) -> None:
        self._made += by_epoch == self.by_epoch
        if self._made == self.profile_times:
            self._finish(runner)

    def _finish(self, runner: RunnerLike) -> None:
        running, self.profiler = self.profiler, None
        if running is not None:
            running.stop()
            runner.logger.info("ProfilerHook is done.")
            if self.json_trace_path is not None:
                self._export_chrome_trace(running, self.json_trace_path)

    def _parse_trace_config(self, runner: RunnerLike) -> _Handler | None:
        """What to call with a recording."""
        given: Any = self.on_trace_ready
        if given is None or callable(given):
            return given
        options = {key: value for key, value in given.items() if key != "type"}
        return _TRACES[given["type"]](runner, **options)

    def _export_chrome_trace(self, running: torch_profiler.profile, path: str) -> None:
        """Write the recording of the first process."""
        if is_main_process():
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            running.export_chrome_trace(path)


def check_kineto() -> bool:
    """Whether this build of torch has Kineto, which records what a GPU does."""
    autograd: Any = torch.autograd
    return bool(autograd.kineto_available())


def _log_trace(runner: RunnerLike, sort_by: str = "self_cpu_time_total", row_limit: int = 100) -> _Handler:
    """A table of the costliest operations, in the log."""

    def log(running: Any) -> None:
        table = running.key_averages().table(sort_by=sort_by, row_limit=row_limit)
        runner.logger.info(f"ProfilerHook, by {sort_by}:\n{table}")

    return log


def _tb_trace(
    runner: RunnerLike, dir_name: str | None = None, worker_name: str | None = None, use_gzip: bool = False
) -> _Handler:
    """Trace files, one for each recording."""
    folder = os.path.join(runner.log_dir, dir_name or "tf_tracing_logs")
    handler: _Handler = torch_profiler.tensorboard_trace_handler(folder, worker_name, use_gzip)
    return handler


_TRACES: dict[str, Callable[..., _Handler]] = {"log_trace": _log_trace, "tb_trace": _tb_trace}


def _check_trace(given: Any, json_trace_path: str | None) -> None:
    if given is None or callable(given):
        return
    if not hasattr(given, "items"):
        raise ArgumentError(f"on_trace_ready takes a function, a dict or None, got {given!r}.")
    kind = given.get("type")
    if kind not in _TRACES:
        raise ArgumentError(
            f"on_trace_ready=dict(type={kind!r}) must be 'log_trace' or 'tb_trace'.{did_you_mean(str(kind), _TRACES)}"
        )
    _check_names("on_trace_ready", given, [*list(inspect.signature(_TRACES[kind]).parameters)[1:], "type"])
    if kind == "tb_trace" and json_trace_path is not None:
        raise ArgumentError(
            "torch writes a recording once: give on_trace_ready=dict(type='tb_trace') or json_trace_path."
        )


def _checked_schedule(schedule: Any) -> dict[str, Any]:
    if not hasattr(schedule, "items"):
        raise ArgumentTypeError(f"schedule takes a dict of arguments of torch.profiler.schedule, got {schedule!r}.")
    _check_names("schedule", schedule, inspect.signature(torch_profiler.schedule).parameters)
    missing = [name for name in ("wait", "warmup", "active") if name not in schedule]
    if missing:
        raise ArgumentError(f"schedule={dict(schedule)!r} lacks {', '.join(missing)}: it takes numbers of iterations.")
    return dict(schedule)


def _check_names(argument: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            raise ArgumentTypeError(
                f"{argument} has no {name!r}; it takes {', '.join(known)}.{did_you_mean(str(name), known)}"
            )
