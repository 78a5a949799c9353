"""Leave a training run before its end without losing a step: on a signal, or when its time is up."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.fileio import join_path, put_text
from drivetrain.utils import parse_duration

TRY_AGAIN = 75
"""Exit code of a run that is not finished and wants to be started again (`EX_TEMPFAIL` of sysexits.h)."""

EXIT_CODES = {"SIGTERM": 128 + 15, "SIGUSR1": TRY_AGAIN, "SIGINT": 128 + 2}
"""Exit code by the signal that ended a run."""

_Previous = Callable[[int, "FrameType | None"], Any] | int | None


class TrainingInterrupted(SystemExit):
    """Training left before its end, with its state saved; uncaught, the process exits with `code`.

    Args:
        reason: what ended it: the name of a signal, or 'max_time'.
        code: the exit code.
        checkpoint: the file from which the run goes on with `resume=True`; None where training had come to its end.
    """

    def __init__(self, reason: str, code: int, checkpoint: str | None) -> None:
        super().__init__(code)
        self.reason = reason
        self.checkpoint = checkpoint


@dataclass(frozen=True)
class Endings:
    """What may end a training run before its end.

    Args:
        names: signals after which the run is saved and left at the end of the running step.
        requeue: give a Slurm job back to its queue after SIGUSR1 or when the time is up.
        max_time: seconds of `runner.train()`; infinite without a limit.
    """

    names: tuple[str, ...]
    requeue: bool
    max_time: float

    @classmethod
    def parse(
        cls, signals: bool | Mapping[str, Any], max_time: str | float | timedelta | None, distributed: bool
    ) -> Endings:
        """The endings from the arguments of a runner.

        Raises:
            ArgumentError, ArgumentTypeError: a wrong value; see the message.
        """
        given: dict[str, Any] = (
            {"names": tuple(EXIT_CODES) if signals else ()} if type(signals) is bool else _checked(signals)
        )
        limit = math.inf if max_time is None else parse_duration("max_time", max_time)
        if distributed and limit < math.inf:
            raise ArgumentError(
                f"max_time={max_time!r} is for one process: the clocks of several would end them at different steps."
            )
        # Processes that are not told by the same signal would wait for each other at the save.
        return cls(() if distributed else given["names"], given.get("requeue", False), limit)

    @contextmanager
    def around(self, runner: Any, began: float) -> Iterator[None]:
        """Watch over a training run; signals go to it only where this is the main thread.

        Args:
            runner: the runner.
            began: when `runner.train()` began, of `time.monotonic`.

        Raises:
            TrainingInterrupted: SIGTERM or SIGUSR1 came, or the time is up.
            KeyboardInterrupt: SIGINT came.
        """
        watch = _Watch(runner, self, began)
        with ExitStack() as stack:
            stack.callback(runner._hook_table.drop_last)
            if self.max_time < math.inf:
                watch.stand_by()
            if self.names and threading.current_thread() is threading.main_thread():
                stack.enter_context(_handled(self.names, watch.notice))
            try:
                yield
                watch.leave_finished()
            except BaseException as error:
                if error is not watch.leaving:
                    raise
                watch.finish()
                raise


class _Watch:
    """Waits for a reason to leave one training run.

    While there is none it stands nowhere in the way of a step. A reason puts it behind the last hook of the points at
    which a run can be left: the ends of a training step and of a validation's batch.
    """

    def __init__(self, runner: Any, rules: Endings, began: float) -> None:
        self._runner, self._rules = runner, rules
        self._deadline = began + rules.max_time
        self._reason = ""
        self.leaving: BaseException | None = None

    def stand_by(self) -> None:
        """Be called at the end of each step, from the next one on."""
        self._runner._hook_table.call_last({"after_train_iter": self._after_step, "after_val_iter": self._after_batch})

    def notice(self, name: str) -> None:
        """A signal came: nothing happens but that the step's end will know.

        Raises:
            KeyboardInterrupt: it is not the first SIGINT.
        """
        if name == "SIGINT" and self._reason == name:
            raise KeyboardInterrupt
        self._reason = self._reason or name
        self.stand_by()

    def _is_due(self) -> bool:
        if not self._reason and time.monotonic() >= self._deadline:
            self._reason = "max_time"
        return self._reason != ""

    def _after_step(self, runner: Any, **_: Any) -> None:
        if self._is_due():  # hooks are still in the step that ends: the counters do not count it yet
            self._leave(_save(runner, runner.iter + 1))

    def _after_batch(self, runner: Any, **_: Any) -> None:
        abandon = getattr(runner.train_loop, "abandon_validation", None)
        if abandon is not None and self._is_due() and abandon():
            self._leave(_save(runner, runner.iter))

    def leave_finished(self) -> None:
        """Training came to its end after the last look: there is nothing to save, and still a signal to obey."""
        if self._reason in EXIT_CODES:
            self._leave(None)

    def _leave(self, path: str | None) -> None:
        self.leaving = _exception(self._reason, path)
        raise self.leaving

    def finish(self) -> None:
        """Let hooks close what they hold; then, where the user asked for it, give the job back to its queue."""
        runner = self._runner
        saved = getattr(self.leaving, "checkpoint", None) or "; ".join(map(str, getattr(self.leaving, "args", ())))
        runner.logger.warning(f"Training is left before its end ({self._reason}): {saved}")
        try:
            runner.call_hook("after_run")
        except Exception:
            runner.logger.exception("A hook failed at after_run of a run that is being left; its state is saved.")
        if self._rules.requeue and _exit_code(self._reason) == TRY_AGAIN:
            _requeue(runner)


def _exit_code(reason: str) -> int:
    return EXIT_CODES.get(reason, TRY_AGAIN)


def _exception(reason: str, path: str | None) -> BaseException:
    if reason == "SIGINT":
        where = "had come to its end" if path is None else f"was saved to {path}; resume=True goes on from there"
        return KeyboardInterrupt(f"training was interrupted and {where}")
    return TrainingInterrupted(reason, _exit_code(reason), path)


def _save(runner: Any, iteration: int) -> str:
    """Save the run as it stands after `iteration` steps, by its CheckpointHook where it has one; returns the path."""
    meta = {"epoch": runner.epoch, "iter": iteration}
    for hook in runner.hooks:
        if hasattr(hook, "save_now"):
            path: str = hook.save_now(runner, meta)
            return path
    name = f"iter_{iteration}.pth"
    runner.save_checkpoint(runner.work_dir, name, meta=meta, by_epoch=False)
    path = str(join_path(runner.work_dir, name))
    if is_main_process():
        put_text(path, join_path(runner.work_dir, "last_checkpoint"))
    return path


def _requeue(runner: Any) -> None:
    """`scontrol requeue` for the Slurm job that this process belongs to; a failure is told, not raised."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        runner.logger.info("signals=dict(requeue=True) has no effect: SLURM_JOB_ID is not set.")
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or error
        runner.logger.error(f"`scontrol requeue {job}` failed: {told}. The run is saved; put the job back by hand.")


@contextmanager
def _handled(names: Sequence[str], notice: Callable[[str], None]) -> Iterator[None]:
    """Have signals handled, and the handlers of before put back afterwards."""
    previous: dict[signal.Signals, _Previous] = {}
    try:
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            handler = _Handler(number.name, notice, signal.getsignal(number))
            previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler_before in previous.items():
            # None: it was set by other means than Python's, which cannot put it back.
            signal.signal(number, signal.SIG_DFL if handler_before is None else handler_before)


class _Handler:
    """Handles one signal: notes it, and calls the Python function that handled it before.

    Processes that are forked meanwhile inherit it and are not this run: there it does what was done before.
    """

    def __init__(self, name: str, notice: Callable[[str], None], previous: _Previous) -> None:
        self._name, self._notice, self._previous = name, notice, previous
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            self._in_child(number, frame)
            return
        self._notice(self._name)
        if callable(self._previous) and self._previous is not signal.default_int_handler:
            self._previous(number, frame)

    def _in_child(self, number: int, frame: FrameType | None) -> None:
        if callable(self._previous):
            self._previous(number, frame)
        elif self._previous != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _checked(signals: Mapping[str, Any]) -> dict[str, Any]:
    if not hasattr(signals, "keys"):
        raise ArgumentTypeError(
            f"signals must be True, False or a dict such as dict(names=['SIGTERM'], requeue=True), got {signals!r}."
        )
    known = ("names", "requeue")
    for key in signals:
        if key not in known:
            raise ArgumentError(
                f"signals has no key {key!r}; it takes {' and '.join(known)}.{did_you_mean(key, known)}"
            )
    names = tuple(signals.get("names", EXIT_CODES))
    for name in names:
        if name not in EXIT_CODES:
            raise ArgumentError(
                f"signals cannot handle {name!r}, only {', '.join(EXIT_CODES)}.{did_you_mean(str(name), EXIT_CODES)}"
            )
    requeue = signals.get("requeue", False)
    if type(requeue) is not bool:
        raise ArgumentTypeError(f"requeue of signals must be True or False, got {requeue!r}.")
    return {"names": names, "requeue": requeue}
