"""What runs meet: kills in the middle of a save, full disks, folders that vanish or cannot be written to."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_hooks_checkpoint import FakeRunner, files

from drivetrain.checkpoint import find_good_checkpoint, verify_checkpoint, wait_for_saves
from drivetrain.errors import CheckpointError, SaveError
from drivetrain.fileio import _atomic
from drivetrain.hooks import CheckpointHook

BOTH = pytest.mark.parametrize("background", [False, True], ids=["now", "in the background"])


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_nothing_is_lost_by_kills_during_saving_and_rotation(tmp_path: Path, kills: int) -> None:
    script = Path(__file__).with_name("kill_loop.py")
    child = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), str(kills)], capture_output=True, text=True, timeout=250
    )
    assert child.returncode == 0, child.stderr
    counts = json.loads(child.stdout)
    assert counts["lost"] == [] and counts["damaged"] == 0
    assert counts["same"] + counts["later"] == kills and counts["steps"] > 0


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def saved_once(tmp_path: Path, background: bool) -> tuple[FakeRunner, CheckpointHook]:
    """A run with one file, about to save the next and to delete the first."""
    hook = CheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1, async_save=background, save_last=False)
    runner = FakeRunner(tmp_path / "run")
    hook.before_train(runner)
    step(runner, hook)
    wait_for_saves()
    return runner, hook


def step(runner: FakeRunner, hook: CheckpointHook) -> None:
    hook.after_train_iter(runner, 0)
    runner.iter += 1


def save_fails(runner: FakeRunner, hook: CheckpointHook, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        step(runner, hook)
        wait_for_saves()
        step(runner, hook)
    assert files(Path(runner.work_dir)) == ["iter_1.pth", "last_checkpoint"]
    assert find_good_checkpoint(runner.work_dir) == os.path.join(runner.work_dir, "iter_1.pth")
    assert verify_checkpoint(os.path.join(runner.work_dir, "iter_1.pth")).ok


@BOTH
def test_a_full_disk_keeps_the_former_file_and_names_the_cause(tmp_path: Path, background: bool) -> None:
    runner, hook = saved_once(tmp_path, background)
    with files_of_at_most(1000):
        save_fails(runner, hook, r"iter_2\.pth' could not be written, and nothing was replaced: .*File too large")


@BOTH
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, background: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, hook = saved_once(tmp_path, background)

    def refused(path: str, text: bool) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(_atomic, "_open_new", refused)
    save_fails(runner, hook, r"iter_2\.pth' could not be written, and nothing was replaced: .*Read-only file system")


@BOTH
def test_a_folder_that_vanished_is_made_again(tmp_path: Path, background: bool) -> None:
    runner, hook = saved_once(tmp_path, background)
    shutil.rmtree(runner.work_dir)
    step(runner, hook)
    wait_for_saves()
    assert files(Path(runner.work_dir)) == ["iter_2.pth", "last_checkpoint"]
    assert find_good_checkpoint(runner.work_dir) == os.path.join(runner.work_dir, "iter_2.pth")


@BOTH
def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path, background: bool) -> None:
    runner, hook = saved_once(tmp_path, background)
    shutil.rmtree(runner.work_dir)
    Path(runner.work_dir).write_text("")
    with pytest.raises(CheckpointError, match=r"iter_2\.pth' could not be written") as raised:
        step(runner, hook)
        wait_for_saves()
        step(runner, hook)
    assert isinstance(raised.value if not background else raised.value.__cause__, SaveError)


def test_what_a_kill_left_to_delete_goes_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, hook = saved_once(tmp_path, False)
    monkeypatch.setattr("drivetrain.hooks.checkpoint_hook.remove_files", lambda *_: None)
    step(runner, hook)
    assert files(Path(runner.work_dir)) == ["iter_1.pth", "iter_2.pth", "last_checkpoint"]
    monkeypatch.undo()
    again = FakeRunner(tmp_path / "run").resume(os.path.join(runner.work_dir, "iter_2.pth"))
    CheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1).before_train(again)
    assert files(Path(runner.work_dir)) == ["iter_2.pth", "last_checkpoint"]
