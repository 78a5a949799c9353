"""A live bar on a terminal, with log lines above it."""

from __future__ import annotations

import atexit
import datetime
import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError
from drivetrain.logging import console_writer
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike
from drivetrain.utils import process_rank

from .hook import DATA_BATCH, Hook

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def progress_is_useful() -> bool:
    """Whether somebody can see a live bar: the master process writes to a terminal that can redraw lines."""
    streams_are_terminals = all(bool(getattr(stream, "isatty", bool)()) for stream in (sys.stdout, sys.stderr))
    return streams_are_terminals and os.environ.get("TERM", "") not in ("", "dumb") and process_rank() == 0


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows how far training, validation and test are, with the loss of the last log point and the time that remains.

    It reads no device value and redraws at most once in `refresh_seconds`, so it costs a look at the clock per step.
    Log lines and what the program prints appear above the bar.

    Args:
        refresh_seconds: least time between two redraws, in seconds.
        console: the rich console to draw on; None makes one on standard output.

    Raises:
        ArgumentError: `refresh_seconds` is negative.
    """

    priority = "VERY_LOW"

    def __init__(self, refresh_seconds: float = 0.2, console: Console | None = None) -> None:
        if refresh_seconds < 0:
            raise ArgumentError(f"refresh_seconds must not be negative, got {refresh_seconds}.")
        self.refresh_seconds = refresh_seconds
        self._console = console
        self._progress: Progress | None = None
        self._open = ExitStack()
        self._tasks: dict[str, TaskID] = {}
        self._next_refresh = 0.0

    def _before_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Show the bar of `mode`, at zero."""
        progress = self._progress or self._start()
        title, total = _title(runner, mode), _total(runner, mode)
        if mode in self._tasks:
            progress.reset(self._tasks[mode], total=total, description=title, note="")
        else:
            self._tasks[mode] = progress.add_task(title, total=total, note="")
        self._next_refresh = 0.0

    def _after_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any | None = None,
        mode: str = "train",
    ) -> None:
        """Redraw, if the last time is long enough ago."""
        now = time.monotonic()
        if now >= self._next_refresh and self._progress is not None:
            self._next_refresh = now + self.refresh_seconds
            done = runner.iter + 1 if mode == "train" and runner.max_epochs == 1 else batch_idx + 1
            self._progress.update(self._tasks[mode], completed=done, note=_note(runner, mode))
            self._progress.refresh()

    def _after_epoch(self, runner: RunnerLike, mode: str = "train") -> None:
        """Take the bar of a validation or test away."""
        if mode != "train":
            self._remove(mode)

    def after_train(self, runner: RunnerLike) -> None:
        """Take the bar away."""
        self._remove("train")

    def after_run(self, runner: RunnerLike) -> None:
        """Give the terminal back."""
        self.close()

    def release_on_error(self) -> None:
        """Give the terminal back when a run failed or was interrupted."""
        self.close()

    def close(self) -> None:
        """Give the terminal back; also done at exit, so that a run that failed leaves the cursor visible."""
        atexit.unregister(self.close)
        self._open.close()
        self._progress, self._tasks = None, {}

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.text import Text

        console = self._console or Console(file=sys.stdout)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        atexit.register(self.close)
        self._open.enter_context(progress)
        self._open.enter_context(
            console_writer(lambda line: console.print(Text.from_ansi(line), soft_wrap=True, highlight=False))
        )
        self._progress = progress
        return progress

    def _remove(self, mode: str) -> None:
        task = self._tasks.pop(mode, None)
        if task is None or self._progress is None:
            return
        self._progress.remove_task(task)
        self._progress.refresh()
        if not self._tasks:
            self.close()


def _title(runner: RunnerLike, mode: str) -> str:
    if mode == "train" and runner.max_epochs > 1:
        return f"train epoch {runner.epoch + 1}/{runner.max_epochs}"
    return mode


def _total(runner: RunnerLike, mode: str) -> int | None:
    """Steps of the bar: an epoch's, or the run's when it is counted in steps; None when the loader cannot tell."""
    if mode == "train" and runner.max_epochs == 1:
        return runner.max_iters
    try:
        return len(getattr(runner, f"{mode}_dataloader"))
    except TypeError:
        return None


def _note(runner: RunnerLike, mode: str) -> str:
    """The loss that the last log point read, and what remains."""
    hub = runner.message_hub
    buffer = hub.log_scalars.get(f"{mode}/loss")
    loss = None if buffer is None else buffer.peek()
    eta = hub.get_info("eta")
    notes = [] if loss is None else [f"loss {loss:.4f}"]
    if eta is not None:
        notes.append(f"eta {datetime.timedelta(seconds=int(eta))}")
    return "  ".join(notes)
