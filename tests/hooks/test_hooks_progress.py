"""ProgressHook: what it draws, how often, and how log lines get past it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from drivetrain.errors import ArgumentError
from drivetrain.hooks import ProgressHook, progress_is_useful
from drivetrain.hooks import progress_hook as module
from drivetrain.logging import MessageHub, MMLogger


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def drawn() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def hook(drawn: io.StringIO) -> Iterator[ProgressHook]:
    hook = ProgressHook(console=Console(force_terminal=True, file=drawn, width=100, color_system=None))
    yield hook
    hook.close()


@pytest.fixture
def runner() -> Any:
    return SimpleNamespace(
        message_hub=MessageHub.get_instance("progress"),
        iter=0,
        epoch=1,
        max_epochs=4,
        max_iters=52,
        train_dataloader=range(13),
        val_dataloader=range(7),
        test_dataloader=range(7),
    )


def test_the_bar_counts_batches_and_shows_what_the_last_log_read(
    hook: ProgressHook, drawn: io.StringIO, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", clock := Clock())
    hub = runner.message_hub
    hub.update_scalar("train/loss", torch.tensor(0.25))
    hub.update_info("eta", 3725.6)
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 0)
    assert "train epoch 2/4" in drawn.getvalue() and "1/13" in drawn.getvalue()
    assert "loss" not in drawn.getvalue() and hub.flush_count == 0
    hub.flush()
    clock.now += 1
    hook.after_train_iter(runner, 1)
    assert "2/13" in drawn.getvalue() and "loss 0.2500  eta 1:02:05" in drawn.getvalue()


def test_a_run_counted_in_steps_has_one_bar(hook: ProgressHook, drawn: io.StringIO, runner: Any) -> None:
    runner.max_epochs, runner.iter, runner.epoch = 1, 9, 0
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 9)
    assert "10/52" in drawn.getvalue() and "epoch" not in drawn.getvalue()


def test_it_redraws_at_most_five_times_a_second(
    hook: ProgressHook, drawn: io.StringIO, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", clock := Clock())
    hook.before_train_epoch(runner)
    sizes = []
    for batch_idx in range(100):
        clock.now += 0.01
        hook.after_train_iter(runner, batch_idx)
        sizes.append(len(drawn.getvalue()))
    assert len(set(sizes)) == 5


def test_validation_draws_its_own_bar_beside_that_of_training(
    hook: ProgressHook, drawn: io.StringIO, runner: Any
) -> None:
    hook.before_train_epoch(runner)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 2)
    assert "val" in drawn.getvalue() and "3/7" in drawn.getvalue()
    hook.after_val_epoch(runner, {})
    assert list(hook._tasks) == ["train"]
    hook.before_train_epoch(runner)
    hook.after_train(runner)
    assert hook._progress is None


def test_a_validation_alone_gives_the_terminal_back(hook: ProgressHook, drawn: io.StringIO, runner: Any) -> None:
    hook.before_val_epoch(runner)
    assert "\x1b[?25l" in drawn.getvalue()  # the cursor is hidden
    hook.after_val_epoch(runner, {})
    assert drawn.getvalue().rindex("\x1b[?25h") > drawn.getvalue().rindex("\x1b[?25l")


def test_log_lines_stand_whole_above_the_bar(hook: ProgressHook, drawn: io.StringIO, runner: Any) -> None:
    logger = MMLogger.get_instance("progress")
    line = "loss: 0.1 [not markup] " + "x" * 120
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 4)
    before = len(drawn.getvalue())
    logger.info(line)
    added = drawn.getvalue()[before:]
    assert f" - INFO - {line}\n" in added
    assert added.index(line) < added.index("train epoch")  # the bar is drawn again below
    hook.after_run(runner)
    before = len(drawn.getvalue())
    logger.info("after")
    assert len(drawn.getvalue()) == before


def test_a_loader_without_length_has_a_bar_without_end(hook: ProgressHook, drawn: io.StringIO, runner: Any) -> None:
    runner.val_dataloader = iter(())
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 3)
    assert "4/?" in drawn.getvalue()


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ArgumentError, match="refresh_seconds"):
        ProgressHook(refresh_seconds=-1)


def test_it_is_of_no_use_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert not progress_is_useful()
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert not progress_is_useful()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress_is_useful()
    monkeypatch.setenv("RANK", "1")
    assert not progress_is_useful()
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("TERM", "dumb")
    assert not progress_is_useful()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_program_that_fails_leaves_the_cursor_visible() -> None:
    code = (
        "from types import SimpleNamespace as N\n"
        "from drivetrain.hooks import ProgressHook\n"
        "runner = N(message_hub=None, val_dataloader=range(3))\n"
        "ProgressHook().before_val_epoch(runner)\n"
        "print('printed')\n"
        "raise SystemExit(3)\n"
    )
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    output = b""
    try:
        while chunk := os.read(master, 4096):
            output += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(master)
    assert process.wait() == 3
    assert b"printed" in output
    assert output.rindex(b"\x1b[?25h") > output.rindex(b"\x1b[?25l")
