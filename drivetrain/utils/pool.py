"""Work through tasks in several processes, with a bar."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError

from .progress import NamedBar, ProgressBar, counted, tracked


def track_parallel_progress(
    func: Callable[[Any], Any],
    tasks: Sequence[Any],
    nproc: int,
    initializer: Callable[..., Any] | None = None,
    initargs: tuple[Any, ...] | None = None,
    bar_width: int = 50,
    chunksize: int = 1,
    skip_first: bool = False,
    keep_order: bool = True,
    file: IO[str] | None = None,
) -> list[Any]:
    """Call a function on each task in several processes, with a bar.

    Args:
        func: called as `func(task)`; it must be picklable, thus no lambda.
        tasks: a sequence, or a tuple `(iterable, number of items)`.
        nproc: number of processes.
        initializer: called in each process before its first task, with `initargs`.
        initargs: arguments of `initializer`.
        bar_width: characters of the bar.
        chunksize: tasks sent to a process at a time.
        skip_first: leave the first round of tasks, which also starts the processes, out of the rate shown.
        keep_order: return the results in the order of the tasks; otherwise as they come.
        file: where to write; the standard output by default.

    Returns:
        What the calls returned. An error of a task is raised here, and stops the others.

    Raises:
        ArgumentTypeError: `tasks` has no length, or an argument of the initializer has a wrong type.
    """
    items, count = counted(tasks)
    warm_up = min(nproc * chunksize, count) if skip_first else 0
    bar = ProgressBar(count - warm_up, bar_width, not skip_first, file)
    results: list[Any] = []
    with _Pool(nproc, initializer, initargs) as pool:
        gather = pool.imap if keep_order else pool.imap_unordered
        for result in gather(func, items, chunksize):
            results.append(result)
            if len(results) > warm_up:
                bar.update()
            elif len(results) == warm_up:
                bar.start()
    bar.file.write("\n")
    return results


def track_progress_rich(
    func: Callable[..., Any],
    tasks: Iterable[Any] = (),
    task_num: int | None = None,
    nproc: int = 1,
    chunksize: int = 1,
    description: str = "Processing",
    color: str = "blue",
) -> list[Any]:
    """Call a function on each task, in one process or several, with a named bar.

    Args:
        func: called as `func(task)`, and as `func(*task)` where the task is a tuple or list.
        tasks: any iterable; without tasks, `func()` is called `task_num` times.
        task_num: number of tasks, where `tasks` does not know it. Unknown, the tasks are counted without a bar.
        nproc: number of processes; with more than one `func` must be picklable.
        chunksize: tasks sent to a process at a time.
        description: stands before the bar.
        color: of the bar on a terminal: a basic colour such as 'blue' or 'bright_green'. Others leave it plain.

    Returns:
        What the calls returned, in the order of the tasks.

    Raises:
        ArgumentTypeError: `func` cannot be called, or `tasks` is not iterable.
        ArgumentError: `nproc` is below one, or `task_num` is missing or is not the length of `tasks`.
    """
    if not callable(func):
        raise ArgumentTypeError(f"func must be callable, got {func!r}.")
    if nproc < 1:
        raise ArgumentError(f"nproc is a number of processes, at least one, got {nproc!r}.")
    items, count = _counted_loosely(tasks, task_num)
    call = functools.partial(_spread, func)
    bar = NamedBar(count, description, color)
    if nproc == 1:
        return list(tracked(map(call, items), bar))
    with _Pool(nproc) as pool:
        return list(tracked(pool.imap(call, items, chunksize), bar))


def init_pool(process_num: int, initializer: Callable[..., Any] | None = None, initargs: Any = None) -> Any:
    """A `multiprocessing.Pool`, after a check of its arguments.

    Args:
        process_num: number of processes.
        initializer: called in each process when it starts.
        initargs: a tuple of arguments for it.

    Raises:
        ArgumentTypeError: `initializer` cannot be called, or `initargs` is no tuple.
    """
    import multiprocessing

    if initializer is None:
        return multiprocessing.Pool(process_num)
    if not callable(initializer):
        raise ArgumentTypeError(f"initializer must be callable, got {initializer!r}.")
    if initargs is not None and type(initargs) is not tuple:
        raise ArgumentTypeError(f"initargs must be a tuple, got {initargs!r}.")
    return multiprocessing.Pool(process_num, initializer, initargs or ())


class _Pool:
    """A pool whose processes end by themselves when all went well, and are stopped when not."""

    def __init__(self, process_num: int, initializer: Callable[..., Any] | None = None, initargs: Any = None) -> None:
        self._pool = init_pool(process_num, initializer, initargs)

    def __enter__(self) -> Any:
        return self._pool

    def __exit__(self, error: Any, *details: Any) -> None:
        if error is None:
            self._pool.close()
        else:
            self._pool.terminate()
        self._pool.join()


def _spread(func: Callable[..., Any], task: Any) -> Any:
    return func(*task) if type(task) in (tuple, list) else func(task)


def _counted_loosely(tasks: Iterable[Any], task_num: int | None) -> tuple[Iterable[Any], int]:
    """The items and their number, 0 where nobody knows it."""
    if not hasattr(tasks, "__iter__"):
        raise ArgumentTypeError(f"tasks must be iterable, got {type(tasks).__name__}.")
    length = getattr(tasks, "__len__", None)
    if length is None:
        return tasks, task_num or 0
    count = int(length())
    if count == 0:
        if task_num is None:
            raise ArgumentError("there are no tasks: give task_num, the number of calls to make without arguments.")
        return (() for _ in range(task_num)), task_num
    if task_num not in (None, count):
        raise ArgumentError(f"task_num={task_num} is not the number of tasks, which is {count}.")
    return tasks, count
