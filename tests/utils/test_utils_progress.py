"""Timers, bars and pools."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError
from drivetrain.utils import (
    ProgressBar,
    Timer,
    TimerError,
    check_time,
    init_pool,
    track_iter_progress,
    track_parallel_progress,
    track_progress,
    track_progress_rich,
)  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> itertools.count[int]:
    """A clock that goes on by a second each time it is read."""
    ticks = itertools.count(100)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    return ticks


def test_timer_tells_seconds_since_start_and_since_the_last_check(clock: Any) -> None:
    timer = Timer()
    assert timer.is_running
    assert [timer.since_last_check(), timer.since_start(), timer.since_last_check()] == [1, 2, 1]
    timer.start()
    assert timer.since_last_check() == 1 and timer.since_start() == 6


def test_timer_as_a_context_prints(clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with Timer(print_tmpl="took {:.1f}s") as timer:
        assert timer.is_running
    assert not timer.is_running and capsys.readouterr().out == "took 1.0s\n"
    with Timer(start=False):
        pass
    assert capsys.readouterr().out == "1.000\n"


def test_stopped_timer_says_so() -> None:
    timer = Timer(start=False)
    for read in (timer.since_start, timer.since_last_check):
        with pytest.raises(TimerError, match="timer is not running") as caught:
            read()
        assert caught.value.message == str(caught.value)


def test_named_times_are_kept_apart(clock: Any) -> None:
    assert [check_time("test a"), check_time("test b"), check_time("test a")] == [0, 0, 2]


def test_bar_grows_with_the_tasks(clock: Any) -> None:
    out = io.StringIO()
    bar = ProgressBar(4, bar_width=8, file=out)
    assert out.getvalue() == "[        ] 0/4, elapsed: 0s, ETA:"
    bar.update()
    bar.update(3)
    assert out.getvalue().split("\r")[1:] == [
        "[>>      ] 1/4, 1.0 task/s, elapsed: 1s, ETA:     3s",
        "[>>>>>>>>] 4/4, 2.0 task/s, elapsed: 2s, ETA:     0s",
    ]
    assert (bar.task_num, bar.completed, bar.bar_width) == (4, 4, 8) and bar.terminal_width > 0


def test_bar_fits_the_terminal(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    out = io.StringIO()
    ProgressBar(4, bar_width=50, file=out).update()
    line = out.getvalue().split("\r")[-1]
    assert 60 < len(line) < 70


def test_unknown_number_of_tasks_is_counted(clock: Any) -> None:
    out = io.StringIO()
    bar = ProgressBar(file=out)
    bar.update()
    assert out.getvalue() == "completed: 0, elapsed: 0s\rcompleted: 1, elapsed: 1s, 1.0 tasks/s"


def test_bar_refuses_what_makes_no_sense() -> None:
    bar = ProgressBar(3, start=False, file=io.StringIO())
    with pytest.raises(NotReadyError, match=r"call start\(\) first"):
        bar.update()
    with pytest.raises(ArgumentError, match="at least one, got 0"):
        bar.update(0)


def test_bar_goes_to_the_standard_output_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressBar(2)
    assert capsys.readouterr().out.endswith("0/2, elapsed: 0s, ETA:")


def double(x: int, times: int = 2) -> int:
    return x * times


def test_tasks_are_tracked_and_results_returned() -> None:
    out = io.StringIO()
    assert track_progress(double, [1, 2, 3], 10, out, times=3) == [3, 6, 9]
    assert out.getvalue().count("\r") == 3 and out.getvalue().endswith("\n")
    assert track_progress(double, (iter([1, 2]), 2), file=out) == [2, 4]
    assert track_progress(double, [], file=out) == []
    assert list(track_iter_progress((range(3), 3), file=out)) == [0, 1, 2]
    with pytest.raises(ArgumentTypeError, match=r"tasks must be a sequence, or a tuple .* got list_iterator"):
        track_progress(double, iter([1]), file=out)  # type: ignore[arg-type]


def test_task_counts_when_the_next_one_is_asked_for() -> None:
    out = io.StringIO()
    tasks = track_iter_progress("ab", file=out)
    next(tasks)
    assert "1/2" not in out.getvalue()
    next(tasks)
    assert "1/2" in out.getvalue() and "2/2" not in out.getvalue()


def slow_square(x: int) -> int:
    time.sleep(0.002 * (5 - x % 6))
    return x * x


def fail_on_three(x: int) -> int:
    if x == 3:
        raise LookupError("three")
    return x


def mark(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_tasks(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "Pool", multiprocessing.get_context(method).Pool)
    out = io.StringIO()
    results = track_parallel_progress(double, range(6), 2, mark, (tmp_path,), bar_width=6, chunksize=2, file=out)
    assert results == [0, 2, 4, 6, 8, 10]
    assert len(list(tmp_path.iterdir())) == 2 and "6/6" in out.getvalue() and out.getvalue().endswith("\n")


def test_results_come_in_order_or_as_they_are_ready() -> None:
    tasks, squares = list(range(6)), [x * x for x in range(6)]
    assert track_parallel_progress(slow_square, tasks, 2, file=io.StringIO()) == squares
    assert sorted(track_parallel_progress(slow_square, tasks, 2, keep_order=False, file=io.StringIO())) == squares


def test_first_round_can_be_left_out_of_the_rate() -> None:
    out = io.StringIO()
    assert track_parallel_progress(double, range(8), 2, skip_first=True, file=out) == [2 * x for x in range(8)]
    assert "0/6" in out.getvalue() and "6/6" in out.getvalue() and "7/6" not in out.getvalue()
    assert track_parallel_progress(double, [1], 2, skip_first=True, file=io.StringIO()) == [2]


def test_error_of_a_task_reaches_the_caller() -> None:
    with pytest.raises(LookupError, match="three"):
        track_parallel_progress(fail_on_three, range(8), 2, file=io.StringIO())
    assert multiprocessing.active_children() == []


def test_pool_checks_its_arguments() -> None:
    with pytest.raises(ArgumentTypeError, match="initializer must be callable, got 5"):
        init_pool(1, 5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"initargs must be a tuple, got \[1\]"):
        init_pool(1, mark, [1])


def add(a: int, b: int) -> int:
    return a + b


def test_named_bar_unpacks_tuples_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert track_progress_rich(add, [(1, 2), [3, 4]], description="Adding") == [3, 7]
    assert track_progress_rich(double, iter([1, 2])) == [2, 4]
    assert track_progress_rich(double, [1, 2, 3], nproc=2, chunksize=2) == [2, 4, 6]
    assert track_progress_rich(lambda: 5, task_num=3) == [5, 5, 5]
    lines = re.split(r"[\r\n]", capsys.readouterr().out)
    assert lines[0].startswith("Adding [") and "\x1b" not in lines[0] and any("2/2" in line for line in lines)


def test_named_bar_is_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    track_progress_rich(double, [1], color="bright_green")
    assert "\x1b[92m[" in terminal.getvalue()
    track_progress_rich(double, [1], color="#123456")
    assert "\x1b" not in terminal.getvalue().split("\n")[1]


def test_named_bar_checks_its_arguments() -> None:
    for options, error in [
        (dict(func=5, tasks=[1]), "func must be callable"),
        (dict(func=double, tasks=5), "tasks must be iterable, got int"),
        (dict(func=double, tasks=[1], nproc=0), "at least one, got 0"),
        (dict(func=double), "there are no tasks: give task_num"),
        (dict(func=double, tasks=[1, 2], task_num=3), "task_num=3 is not the number of tasks, which is 2"),
    ]:
        with pytest.raises((ArgumentError, ArgumentTypeError), match=error):
            track_progress_rich(**options)  # type: ignore[arg-type]
