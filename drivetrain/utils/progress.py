"""A bar of text that shows how far a list of tasks is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError

from .timer import Timer


class ProgressBar:
    """A bar on one line of text, with rate and time left.

    Args:
        task_num: how many tasks there are; 0 for an unknown number, which counts without a bar.
        bar_width: characters of the bar, fewer on a narrow terminal.
        start: show it at once.
        file: where to write; the standard output by default.

    >>> bar = ProgressBar(100)  # doctest: +SKIP
    >>> for image in images:  # doctest: +SKIP
    ...     process(image)
    ...     bar.update()
    """

    timer: Timer

    def __init__(self, task_num: int = 0, bar_width: int = 50, start: bool = True, file: IO[str] | None = None) -> None:
        self.task_num = task_num
        self.bar_width = bar_width
        self.completed = 0
        # Looked up now, not when the module was imported: the standard output may have been replaced since.
        self.file = sys.stdout if file is None else file
        if start:
            self.start()

    @property
    def terminal_width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size().columns

    def start(self) -> None:
        """Show the empty bar and start the clock."""
        counted = f"[{' ' * self.bar_width}] 0/{self.task_num}, elapsed: 0s, ETA:"
        self._write(counted if self.task_num > 0 else "completed: 0, elapsed: 0s")
        self.timer = Timer()

    def update(self, num_tasks: int = 1) -> None:
        """Count tasks as done.

        Args:
            num_tasks: how many, at least one.

        Raises:
            ArgumentError: `num_tasks` is below one.
            NotReadyError: the bar was not started.
        """
        if num_tasks < 1:
            raise ArgumentError(f"update counts tasks that are done, at least one, got {num_tasks!r}.")
        if not hasattr(self, "timer"):
            raise NotReadyError("the bar was made with start=False: call start() first.")
        self.completed += num_tasks
        elapsed = self.timer.since_start()
        rate = self.completed / elapsed if elapsed > 0 else float("inf")
        self._write(self._bar(elapsed, rate) if self.task_num > 0 else self._count(elapsed, rate))

    def _bar(self, elapsed: float, rate: float) -> str:
        share = self.completed / self.task_num
        left = int(elapsed * (1 - share) / share + 0.5)
        text = f"{self.completed}/{self.task_num}, {rate:.1f} task/s, elapsed: {int(elapsed + 0.5)}s, ETA: {left:5}s"
        width = max(1, min(self.bar_width, self.terminal_width - len(text) - 4))
        filled = min(width, int(width * share))
        return f"\r[{'>' * filled}{' ' * (width - filled)}] {text}"

    def _count(self, elapsed: float, rate: float) -> str:
        return f"\rcompleted: {self.completed}, elapsed: {int(elapsed + 0.5)}s, {rate:.1f} tasks/s"

    def _write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()


def track_progress(
    func: Callable[..., Any], tasks: Sequence[Any], bar_width: int = 50, file: IO[str] | None = None, **kwargs: Any
) -> list[Any]:
    """Call a function on each task, with a bar.

    Args:
        func: called as `func(task, **kwargs)`.
        tasks: a sequence, or a tuple `(iterable, number of items)`.
        bar_width: characters of the bar.
        file: where to write; the standard output by default.
        kwargs: passed to `func`.

    Returns:
        What the calls returned.

    Raises:
        ArgumentTypeError: `tasks` has no length.
    """
    return [func(task, **kwargs) for task in track_iter_progress(tasks, bar_width, file)]


def track_iter_progress(tasks: Sequence[Any], bar_width: int = 50, file: IO[str] | None = None) -> Iterator[Any]:
    """Go through tasks, with a bar. Arguments and errors as in `track_progress`.

    >>> for image in track_iter_progress(images):  # doctest: +SKIP
    ...     process(image)
    """
    items, count = counted(tasks)
    return tracked(items, ProgressBar(count, bar_width, file=file))


def tracked(items: Iterable[Any], bar: ProgressBar) -> Iterator[Any]:
    """Yield the items; each counts as done when the next one is asked for."""
    for item in items:
        yield item
        bar.update()
    bar.file.write("\n")


_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES = {name: 30 + i for i, name in enumerate(_COLORS)} | {f"bright_{n}": 90 + i for i, n in enumerate(_COLORS)}


class NamedBar(ProgressBar):
    """A bar with a name before it, coloured on a terminal."""

    def __init__(self, task_num: int, description: str, color: str) -> None:
        self._name = f"{description} "
        self._code = _CODES.get(color)
        super().__init__(task_num, bar_width=40)

    @property
    def terminal_width(self) -> int:
        """Columns that the name leaves."""
        return super().terminal_width - len(self._name)

    def _write(self, text: str) -> None:
        back = "\r" if text.startswith("\r") else ""
        text = text.removeprefix("\r")
        if self._code and self.file.isatty():
            text = f"\x1b[{self._code}m{text}\x1b[0m"
        super()._write(f"{back}{self._name}{text}")


def counted(tasks: Any) -> tuple[Iterable[Any], int]:
    """The items and their number, from a sequence or from `(iterable, number)`."""
    if type(tasks) is tuple and len(tasks) == 2 and type(tasks[1]) is int and hasattr(tasks[0], "__iter__"):
        return tasks
    if not hasattr(tasks, "__len__") or not hasattr(tasks, "__getitem__"):
        raise ArgumentTypeError(
            f"tasks must be a sequence, or a tuple (iterable, number of items), got {type(tasks).__name__}."
        )
    return tasks, len(tasks)
