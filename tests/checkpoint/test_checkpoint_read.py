"""Reading: nothing in a file is run, and a file that cannot be read is described."""

from __future__ import annotations

import json
import os
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import (
    CheckpointLoader,
    _load_checkpoint,
    get_external_models,
    get_torchvision_models,
    save_checkpoint,
)
from drivetrain.errors import (
    CheckpointError,
    DuplicateError,
    MissingFileError,
    NotFoundError,
)


@pytest.fixture(autouse=True)
def own_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_wants_to_run_code_is_refused_with_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"would run .*{os.mkdir.__module__}\.mkdir.*Only trusted=True"):
        _load_checkpoint("evil.pth")
    assert not os.path.exists("ran")
    _load_checkpoint("evil.pth", trusted=True)
    assert os.path.exists("ran")


def whole_file(folder: Path) -> bytes:
    save_checkpoint({"state_dict": {"w": torch.arange(5000.0)}}, folder / "whole.pth")
    return (folder / "whole.pth").read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: b"", r"\(0 bytes\) is no readable checkpoint: it is empty"),
        (lambda whole: whole[:100], "cut off"),
        (lambda whole: whole[: len(whole) // 2], "cut off"),
        (lambda whole: whole[:-10], "cut off"),
        (lambda whole: whole[:600] + b"\x55" * 300 + whole[900:], "damaged"),
        (lambda whole: bytes(len(whole)), "zero bytes"),
        (lambda whole: b"<!DOCTYPE html><html>", "error page"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (lambda whole: b"\x80\x02}q\x00.", "torch could not read on"),
        (lambda whole: b"hello there", "the bytes b'hello there'"),
    ],
)
def test_a_damaged_file_is_described(tmp_path: Path, damage: Any, said: str) -> None:
    whole = whole_file(tmp_path)
    bad = tmp_path / "epoch_9.pth"
    bad.write_bytes(damage(whole))
    with pytest.raises(CheckpointError, match=said) as raised:
        _load_checkpoint(bad)
    assert str(bad) in str(raised.value)
    assert "newest other checkpoint there is 'whole.pth'" in str(raised.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    save_checkpoint({}, tmp_path / "epoch_12.pth")
    with pytest.raises(MissingFileError, match=r"Did you mean 'epoch_12\.pth'"):
        _load_checkpoint(tmp_path / "epoch_21.pth")


def test_a_folder_is_refused_with_the_newest_in_it(tmp_path: Path) -> None:
    save_checkpoint({}, tmp_path / "epoch_1.pth")
    save_checkpoint({}, tmp_path / "epoch_2.pth")
    os.utime(tmp_path / "epoch_1.pth", (1, 1))
    with pytest.raises(CheckpointError, match=r"is a folder.*'epoch_2\.pth'"):
        _load_checkpoint(tmp_path)


def test_a_file_for_a_missing_device_is_not_called_damaged(tmp_path: Path) -> None:
    save_checkpoint({"w": torch.ones(1)}, tmp_path / "a.pth")

    def to_nowhere(storage: Any, location: str) -> Any:
        raise RuntimeError("Attempting to deserialize object on a CUDA device. Please use torch.load with map_location")

    with pytest.raises(CheckpointError, match=r"cannot be loaded: Attempting.*map_location='cpu' loads it"):
        _load_checkpoint(tmp_path / "a.pth", map_location=to_nowhere)


def test_map_location_reaches_tensors_inside_tags(tmp_path: Path) -> None:
    save_checkpoint({"w": torch.ones(1), "d": {torch.device("cpu"): torch.ones(2)}}, tmp_path / "a.pth")
    loaded = _load_checkpoint(tmp_path / "a.pth", map_location="cpu")
    assert loaded["d"][torch.device("cpu")].tolist() == [1, 1]


def test_the_longest_registered_prefix_wins_and_gets_path_and_location() -> None:
    seen = []

    @CheckpointLoader.register_scheme(["vault://", "safe://"])
    def load_from_vault(filename: str, map_location: Any = None) -> Any:
        seen.append((filename, map_location))
        return {"from": "vault"}

    CheckpointLoader.register_scheme("vault://deep/", lambda filename, map_location: {"from": "deep"})
    assert CheckpointLoader.load_checkpoint("vault://a", "cpu", "silent") == {"from": "vault"}
    assert CheckpointLoader.load_checkpoint("vault://deep/a", logger="silent") == {"from": "deep"}
    assert seen == [("vault://a", "cpu")] and load_from_vault("safe://", None) == {"from": "vault"}


def test_a_taken_prefix_needs_force() -> None:
    with pytest.raises(DuplicateError, match="force=True"):
        CheckpointLoader.register_scheme("s3://", print)
    CheckpointLoader.register_scheme("s3://", lambda filename, map_location: filename, force=True)
    assert CheckpointLoader.load_checkpoint("s3://b/a.pth", logger="silent") == "s3://b/a.pth"


@pytest.fixture
def mmengine_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("MMENGINE_HOME", str(home))
    return home


def test_names_of_other_zoos_are_refused_with_the_way_out(mmengine_home: Path) -> None:
    with pytest.raises(NotFoundError, match=r"There is no table .*open_mmlab\.json.*register_scheme\('open-mmlab://'"):
        _load_checkpoint("open-mmlab://resnet50_caffe")
    for name in ("pavi://a/b", "petrel://bucket/a.pth", "cluster:petrel://bucket/a.pth"):
        with pytest.raises(CheckpointError, match="are not known here"):
            _load_checkpoint(name)


def test_names_of_the_users_table_lead_to_files_and_addresses(mmengine_home: Path, downloads: list[str]) -> None:
    table = {"own": "own.pth", "web": "https://host/web.pth"}
    (mmengine_home / "open_mmlab.json").write_text(json.dumps(table))
    (mmengine_home / "mmcls.json").write_text(json.dumps({"small": "own.pth"}))
    (mmengine_home / "deprecated.json").write_text(json.dumps({"old": "own"}))
    weights = {"backbone.a": torch.ones(1), "head.b": torch.zeros(1)}
    save_checkpoint({"state_dict": weights}, mmengine_home / "own.pth")
    assert get_external_models() == table
    assert set(_load_checkpoint("open-mmlab://own")["state_dict"]) == set(weights)
    assert set(_load_checkpoint("openmmlab://old")["state_dict"]) == set(weights)
    assert _load_checkpoint("open-mmlab://web")["url"] == "https://host/web.pth"
    assert list(_load_checkpoint("mmcls://small")["state_dict"]) == ["a"]
    with pytest.raises(NotFoundError, match=r"Did you mean 'own'.*has 2 names"):
        _load_checkpoint("open-mmlab://owm")
    (mmengine_home / "open_mmlab.json").write_text("[1")
    with pytest.raises(CheckpointError, match="is no JSON"):
        get_external_models()


def test_a_prefix_may_be_a_regular_expression() -> None:
    CheckpointLoader.register_scheme(r"(\w+:)?store://", lambda filename, map_location: filename)
    assert CheckpointLoader.load_checkpoint("east:store://a", logger="silent") == "east:store://a"
    assert CheckpointLoader._get_checkpoint_loader("east:s3://b/a.pth").__name__ == "load_from_ceph"


def test_every_weight_of_torchvision_has_a_name() -> None:
    pytest.importorskip("torchvision")
    table = get_torchvision_models()
    assert table["resnet50"] == table["resnet50.imagenet1k_v1"] != table["resnet50.imagenet1k_v2"]


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    taken: list[str] = []

    def download(url: str, target: str, progress: bool) -> None:
        taken.append(url)
        if "missing" in url:
            raise urllib.error.HTTPError(url, 404, "Not Found", Message(), None)
        if "offline" in url:
            raise urllib.error.URLError("no route to host")
        save_checkpoint({"url": url}, target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return taken


def test_a_url_is_downloaded_once_into_the_cache(tmp_path: Path, downloads: list[str]) -> None:
    for _ in range(2):
        assert _load_checkpoint("https://host/zoo/r50-0a1b2c3d.pth?x=1")["url"].startswith("https://host")
    assert len(downloads) == 1
    assert os.listdir(tmp_path / "hub" / "checkpoints") == ["r50-0a1b2c3d.pth"]


def test_a_download_that_fails_says_why(downloads: list[str]) -> None:
    with pytest.raises(MissingFileError, match="404 Not Found"):
        _load_checkpoint("https://host/missing.pth")
    with pytest.raises(CheckpointError, match="no route to host"):
        _load_checkpoint("https://host/offline.pth")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torchvision://resnet18", "resnet18-f37072fd"),
        ("modelzoo://resnet50", "resnet50-0676ba61"),
        ("torchvision://resnet50.imagenet1k_v2", "resnet50-11ad3fa6"),
    ],
)
def test_torchvision_names_lead_to_its_weights(downloads: list[str], name: str, file: str) -> None:
    pytest.importorskip("torchvision")
    assert file in _load_checkpoint(name)["url"]


def test_unknown_torchvision_names_raise_with_the_nearest(downloads: list[str]) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(NotFoundError, match="Did you mean 'resnet50'"):
        _load_checkpoint("torchvision://resnett50")
    with pytest.raises(NotFoundError, match="IMAGENET1K_V1"):
        _load_checkpoint("torchvision://resnet50.imagenet1k_v7")
