"""Saving in the background: the copy is the step's, what follows waits for the file, and a failure is heard of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_hooks_checkpoint import FakeRunner, files

from drivetrain.checkpoint import (
    CheckpointWriter,
    _load_checkpoint,
    _save,
    find_latest_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    wait_for_saves,
)
from drivetrain.errors import ArgumentError, CheckpointError
from drivetrain.hooks import CheckpointHook


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Files are written once this is set."""
    opened, write = threading.Event(), _save._write

    def held(*args: Any) -> None:
        assert opened.wait(20)
        write(*args)

    monkeypatch.setattr(_save, "_write", held)
    yield opened
    opened.set()
    wait_for_saves()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Writing fails while the last entry is True."""
    state, write = [True], _save._write

    def checked(plain: Any, file: Any, name: str) -> None:
        if state[-1]:
            raise OSError(28, "No space left on device")
        write(plain, file, name)

    monkeypatch.setattr(_save, "_write", checked)
    return state


def step(runner: FakeRunner, hook: CheckpointHook, times: int = 1) -> None:
    for _ in range(times):
        hook.after_train_iter(runner, 0)
        runner.iter += 1


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
def test_the_file_holds_the_values_of_its_step_though_training_goes_on(tmp_path: Path, gate: threading.Event) -> None:
    writer = CheckpointWriter(background=True)
    weight = torch.arange(6.0)
    state = {
        "w": weight,
        "row": weight[2:4],
        "turned": weight.view(2, 3).t(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "nested": [{"count": torch.tensor(3)}, (torch.ones(1), "a")],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(1.5, dtype=torch.bfloat16),
        "sparse": torch.eye(3).to_sparse(),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "list": [1, 2],
    }
    with writer.saving():
        save_checkpoint(state, tmp_path / "a.pth")
    weight.zero_()
    state["parameter"].data.zero_()
    state["nested"][0]["count"].add_(1)
    state["nested"][1][0].zero_()
    state["list"].append(3)
    assert writer.busy and not (tmp_path / "a.pth").exists()
    gate.set()
    writer.wait()
    saved = _load_checkpoint(tmp_path / "a.pth", logger="silent")
    assert saved["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert saved["row"].tolist() == [2, 3] and saved["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert saved["row"].untyped_storage()._cdata == saved["w"].untyped_storage()._cdata
    assert type(saved["parameter"]) is torch.nn.Parameter and saved["parameter"].sum() == 2
    assert saved["nested"][0]["count"] == 3 and saved["nested"][1] == (torch.ones(1), "a")
    assert saved["empty"].shape == (0, 3) and saved["scalar"] == 1.5
    assert saved["sparse"].to_dense().equal(torch.eye(3)) and saved["conjugate"].item() == 1 - 2j
    assert saved["list"] == [1, 2]


def test_a_second_copy_uses_the_memory_of_the_first(tmp_path: Path) -> None:
    writer, weight = CheckpointWriter(background=True), torch.ones(1000)
    addresses = []
    for number in range(3):
        with writer.saving() as batch:
            save_checkpoint({"w": weight + number if number == 2 else weight}, tmp_path / f"{number}.pth")
        addresses.append(batch.taken[0].data_ptr())
        weight.add_(1)
        writer.wait()
    assert len(set(addresses)) == 1
    assert [_load_checkpoint(tmp_path / f"{number}.pth")["w"][0].item() for number in range(3)] == [1, 2, 5]


def test_the_record_and_rotation_wait_for_the_file(tmp_path: Path, gate: threading.Event) -> None:
    hook = CheckpointHook(interval=2, by_epoch=False, max_keep_ckpts=1, async_save=True)
    runner = FakeRunner(tmp_path)
    gate.set()
    hook.before_train(runner)
    step(runner, hook, 2)
    wait_for_saves()
    gate.clear()
    step(runner, hook, 2)
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_2.pth")
    assert (tmp_path / "iter_2.pth").exists() and not (tmp_path / "iter_4.pth").exists()
    threading.Timer(0.05, gate.set).start()
    assert find_latest_checkpoint(tmp_path) == str(tmp_path / "iter_4.pth")
    assert files(tmp_path) == ["iter_4.pth", "last_checkpoint"]


def test_a_run_ends_with_the_same_files_as_without(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"interval": 1, "max_keep_ckpts": 2, "save_best": ["acc", "auc"], "keep_best": 2}
    scores = [{"acc": 1 - (epoch % 3), "auc": epoch} for epoch in range(6)]
    for name in ("now", "later"):
        hook = CheckpointHook(**arguments, published_keys=["state_dict"], async_save=name == "later")
        FakeRunner(tmp_path / name, 6).train(hook, scores)

    def seen(name: str) -> list[tuple[str, str]]:
        return [(path, _load_checkpoint(tmp_path / name / path)["meta"]) for path in unpublished(tmp_path / name)]

    assert seen("later") == seen("now")
    assert (tmp_path / "later" / "last_checkpoint").read_text() == str(tmp_path / "later" / "epoch_6.pth")
    assert len(files(tmp_path / "later")) == len(files(tmp_path / "now"))


def unpublished(folder: Path) -> list[str]:
    return [name for name in files(folder) if name.endswith(".pth") and "-" not in name]


def test_a_failed_save_raises_at_the_next_step_and_keeps_what_was_there(tmp_path: Path, full_disk: list[bool]) -> None:
    hook = CheckpointHook(interval=2, by_epoch=False, max_keep_ckpts=1, async_save=True)
    runner = FakeRunner(tmp_path)
    hook.before_train(runner)
    full_disk[:] = [False]
    step(runner, hook, 2)
    wait_for_saves()
    full_disk[:] = [True]
    step(runner, hook, 2)
    wait_for_saves()
    with pytest.raises(
        CheckpointError, match=r"iter_4\.pth' could not be written, .*No space left on device"
    ) as raised:
        step(runner, hook)
    assert type(raised.value.__cause__).__name__ == "SaveError"
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_2.pth")
    assert files(tmp_path) == ["iter_2.pth", "last_checkpoint"] and verify_checkpoint(tmp_path / "iter_2.pth").ok
    step(runner, hook)


def test_a_failed_save_raises_at_the_next_save_and_at_the_end(tmp_path: Path, full_disk: list[bool]) -> None:
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth"):
        FakeRunner(tmp_path).train(CheckpointHook(interval=1, async_save=True), [])
    with pytest.raises(CheckpointError, match=r"epoch_4\.pth"):
        FakeRunner(tmp_path).train(CheckpointHook(interval=-1, async_save=True), [])


def test_an_object_that_cannot_be_saved_raises_at_once(tmp_path: Path) -> None:
    writer = CheckpointWriter(background=True)
    with pytest.raises(CheckpointError, match="cannot be saved"), writer.saving():
        save_checkpoint({"a": object()}, tmp_path / "a.pth")
    writer.wait()
    save_checkpoint({"a": 1}, tmp_path / "now.pth")
    assert files(tmp_path) == ["now.pth"]


def test_a_second_save_waits_or_is_dropped_as_asked(tmp_path: Path, gate: threading.Event) -> None:
    hook = CheckpointHook(interval=1, by_epoch=False, async_save=True, on_busy="drop", save_last=False)
    runner = FakeRunner(tmp_path)
    hook.before_train(runner)
    step(runner, hook, 3)
    gate.set()
    wait_for_saves()
    step(runner, hook)
    wait_for_saves()
    assert unpublished(tmp_path) == ["iter_1.pth", "iter_4.pth"]
    waits = CheckpointHook(interval=1, by_epoch=False, async_save=True, save_last=False)
    runner = FakeRunner(tmp_path / "waits")
    waits.before_train(runner)
    gate.clear()
    threading.Timer(0.05, gate.set).start()
    step(runner, waits, 3)
    wait_for_saves()
    assert unpublished(tmp_path / "waits") == ["iter_1.pth", "iter_2.pth", "iter_3.pth"]
    with pytest.raises(ArgumentError, match="on_busy takes 'wait' or 'drop', got 'skip'"):
        CheckpointHook(on_busy="skip")


LEAVES = """
import sys, torch
from drivetrain.checkpoint import CheckpointWriter, save_checkpoint
with CheckpointWriter(background=True).saving() as batch:
    save_checkpoint({"w": torch.ones(4_000_000)}, "a.pth")
    batch.then(lambda: open("record", "w").write("a.pth"))
raise RuntimeError("training broke")
"""


def test_the_process_ends_only_after_the_file_is_complete(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", LEAVES], cwd=tmp_path, capture_output=True, text=True)
    assert child.returncode == 1 and "training broke" in child.stderr
    assert files(tmp_path) == ["a.pth", "record"] and verify_checkpoint(tmp_path / "a.pth").ok


def test_an_error_in_training_waits_for_the_file(tmp_path: Path, gate: threading.Event) -> None:
    hook = CheckpointHook(interval=1, by_epoch=False, async_save=True)
    runner = FakeRunner(tmp_path)
    hook.before_train(runner)
    step(runner, hook)
    threading.Timer(0.05, gate.set).start()
    hook.release_on_error()
    assert os.path.getsize(tmp_path / "iter_1.pth")
