"""Writing whole or not at all, and finding the newest."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from torch import nn

from drivetrain.checkpoint import (
    _load_checkpoint,
    find_latest_checkpoint,
    get_state_dict,
    save_checkpoint,
    serialize_checkpoint,
    weights_to_cpu,
)
from drivetrain.errors import ArgumentError, CheckpointError


def test_a_saved_file_loads_with_weights_only_and_creates_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "epoch_1.pth"
    save_checkpoint({"state_dict": OrderedDict(w=torch.ones(2)), "meta": {"score": np.float64(0.5)}}, target)
    assert torch.load(target, weights_only=True)["state_dict"]["w"].tolist() == [1, 1]
    assert type(_load_checkpoint(target)["meta"]["score"]) is np.float64
    assert os.listdir(target.parent) == ["epoch_1.pth"]


def test_an_object_that_cannot_be_saved_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.pth"
    with pytest.raises(CheckpointError, match=r"^hub\.x: object of type"):
        save_checkpoint({"hub": {"x": object()}}, target)
    assert os.listdir(tmp_path) == []


def test_a_failing_disk_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.pth"
    save_checkpoint({"step": 1}, target)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint({"step": 2}, target)
    assert _load_checkpoint(target) == {"step": 1}
    assert os.listdir(tmp_path) == ["a.pth"]


def test_an_error_of_torchs_writer_is_ours_and_keeps_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.pth"
    save_checkpoint({"step": 1}, target)

    def broken(obj: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(CheckpointError, match="nothing was replaced: unexpected pos"):
        save_checkpoint({"step": 2}, target)
    assert _load_checkpoint(target) == {"step": 1}


def test_remote_targets_and_bytes_hold_the_same(tmp_path: Path) -> None:
    save_checkpoint({"step": 3}, "memory://runs/a.pth")
    with fsspec.open("memory://runs/a.pth") as file:
        assert file.read() == serialize_checkpoint({"step": 3})
    assert _load_checkpoint("memory://runs/a.pth") == {"step": 3}


def test_both_kinds_of_storage_arguments_raise(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="keep backend_args"):
        save_checkpoint({}, tmp_path / "a.pth", {"backend": "disk"}, {"backend": "local"})
    save_checkpoint({}, str(tmp_path / "a.pth"), {"backend": "disk"})
    assert (tmp_path / "a.pth").exists()


def test_latest_is_what_last_checkpoint_names(tmp_path: Path) -> None:
    save_checkpoint({}, tmp_path / "out" / "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(f"{tmp_path}/out/epoch_2.pth\n")
    assert find_latest_checkpoint(tmp_path) == f"{tmp_path}/out/epoch_2.pth"


@pytest.mark.parametrize("recorded", ["/elsewhere/run/epoch_2.pth", "run/epoch_2.pth", "C:\\run\\epoch_2.pth"])
def test_latest_in_a_moved_folder_is_the_file_beside(tmp_path: Path, recorded: str) -> None:
    save_checkpoint({}, tmp_path / "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text(recorded)
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_2.pth")


def test_latest_is_none_before_the_first_save_and_the_record_when_the_file_is_lost(tmp_path: Path) -> None:
    assert find_latest_checkpoint(str(tmp_path)) is None
    (tmp_path / "last_checkpoint").write_text("gone.pth")
    assert find_latest_checkpoint(str(tmp_path)) == "gone.pth"


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.DataParallel(nn.Sequential(nn.Linear(1, 1), nn.DataParallel(nn.BatchNorm1d(1))))


def test_state_dict_of_a_wrapped_model_has_the_models_own_names() -> None:
    state = get_state_dict(nn.DataParallel(Wrapped()))
    assert list(state)[:3] == ["generator.0.weight", "generator.0.bias", "generator.1.weight"]
    assert state._metadata["generator.1"] == {"version": 2}
    assert not any("module" in name for name in [*state, *state._metadata])


def test_state_dict_takes_destination_prefix_and_keep_vars() -> None:
    linear, destination = nn.Linear(1, 1), OrderedDict(other=1)
    state = get_state_dict(linear, destination, "head.", keep_vars=True)
    assert state is destination and list(state) == ["other", "head.weight", "head.bias"]
    assert state["head.weight"] is linear.weight
    assert not get_state_dict(linear)["weight"].requires_grad


def test_compiled_models_save_under_their_own_names() -> None:
    assert list(get_state_dict(torch.compile(nn.Linear(1, 1)))) == ["weight", "bias"]


def test_weights_to_cpu_keeps_metadata_and_other_entries() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    state["extra"] = {"a": 1}
    moved = weights_to_cpu(state)
    assert moved._metadata == state._metadata and moved["extra"] == {"a": 1} and moved["weight"] is state["weight"]
    assert weights_to_cpu({"a": torch.ones(1)})["a"].tolist() == [1]


def test_a_saved_file_holds_no_global_outside_torchs_own_list(tmp_path: Path) -> None:
    checkpoint = {"meta": {"a": np.arange(3), "b": Path("x"), "c": {1, 2}, "d": slice(1), "e": torch.float16}}
    save_checkpoint(checkpoint, tmp_path / "a.pth")
    assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "a.pth") == []
