"""Which file a run goes on from when some are damaged, cut off or gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import _search, find_good_checkpoint, save_checkpoint
from drivetrain.errors import CheckpointError


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said in the log."""
    lines: list[str] = []
    monkeypatch.setattr(_search, "print_log", lambda text, *_: lines.append(text))
    return lines


def run_of(folder: Path, epochs: int) -> list[Path]:
    """The files of a run of so many epochs, written one second apart."""
    paths = []
    for epoch in range(1, epochs + 1):
        paths.append(folder / f"epoch_{epoch}.pth")
        save_checkpoint(
            {"meta": {"epoch": epoch, "iter": epoch * 5}, "state_dict": {"w": torch.full((50,), epoch)}}, paths[-1]
        )
        os.utime(paths[-1], (epoch, epoch))
    (folder / "last_checkpoint").write_text(str(paths[-1]))
    return paths


def flip(path: Path, at: int = -700) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, (stat.st_atime, stat.st_mtime))


def test_the_recorded_file_is_taken_without_a_word(tmp_path: Path, said: list[str]) -> None:
    paths = run_of(tmp_path, 3)
    os.utime(paths[0])
    assert find_good_checkpoint(tmp_path) == str(paths[2])
    assert not said
    assert find_good_checkpoint(tmp_path / "none") is None


def test_damaged_files_are_named_and_passed_over(tmp_path: Path, said: list[str]) -> None:
    paths = run_of(tmp_path, 4)
    flip(paths[3])
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    os.utime(paths[2], (3, 3))
    assert find_good_checkpoint(tmp_path) == str(paths[1])
    refused, cut, going_on = said
    assert refused.startswith(f"Refused the checkpoint {paths[3]}: ")
    assert cut.startswith(f"Refused the checkpoint {paths[2]}: ") and "cut off" in cut
    assert going_on == f"Going on from {paths[1]}, the newest checkpoint that is whole."


def test_when_all_are_damaged_nothing_starts_anew(tmp_path: Path) -> None:
    for path in run_of(tmp_path, 2):
        path.write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"(?s)no checkpoint in .*epoch_2.pth: it is empty.*epoch_1.*resume=False"
    ):
        find_good_checkpoint(tmp_path)


@pytest.mark.parametrize("record", [None, "", "\n"])
def test_files_without_a_record_are_found(tmp_path: Path, record: Any, said: list[str]) -> None:
    paths = run_of(tmp_path, 2)
    (tmp_path / "last_checkpoint").unlink()
    if record is not None:
        (tmp_path / "last_checkpoint").write_text(record)
    assert find_good_checkpoint(tmp_path) == str(paths[1])
    assert said == [f"Going on from {paths[1]}, though last_checkpoint names none."]


def test_a_recorded_file_that_is_gone_is_named(tmp_path: Path, said: list[str]) -> None:
    paths = run_of(tmp_path, 2)
    paths[1].unlink()
    assert find_good_checkpoint(tmp_path) == str(paths[0])
    assert f"Refused the checkpoint {paths[1]}: there is no such file." in said


def test_weights_published_copies_and_halves_are_no_candidates(tmp_path: Path) -> None:
    paths = run_of(tmp_path, 1)
    save_checkpoint({"state_dict": {"w": torch.ones(3)}}, tmp_path / "pretrained.pth")
    (tmp_path / ".epoch_2.pth.17-abcd.tmp").write_bytes(b"half")
    (tmp_path / "best-01234567.pth").write_bytes(paths[0].read_bytes())
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    assert find_good_checkpoint(tmp_path) == str(paths[0])


def test_files_of_another_folder_are_found_beside_the_recorded(tmp_path: Path) -> None:
    work_dir, out_dir = tmp_path / "work", tmp_path / "out"
    work_dir.mkdir()
    paths = run_of(out_dir, 2)
    (work_dir / "last_checkpoint").write_text(str(paths[1]))
    flip(paths[1])
    assert find_good_checkpoint(work_dir) == str(paths[0])
