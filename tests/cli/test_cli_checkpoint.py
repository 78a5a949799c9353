"""`drivetrain checkpoint inspect|verify|convert|strip`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from toy import build, only_training

from drivetrain.checkpoint import save_checkpoint
from drivetrain.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run of three epochs with averaged weights."""
    folder = tmp_path_factory.mktemp("trained")
    build(folder, custom_hooks=[{"type": "EMAHook", "momentum": 0.5}], **only_training()).train()
    return folder


@pytest.fixture
def last(trained: Path) -> str:
    return str(trained / "epoch_3.pth")


def test_inspect_says_where_the_run_stood_and_what_the_file_holds(last: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "inspect", last]) == 0
    out = capsys.readouterr().out
    assert "checkpoint of drivetrain" in out
    for fact in ("epoch               3", "iter                15", "seed                7", "lr 0.01", "schedules 2"):
        assert fact in out
    assert "9 tensors, 149 values, 600 bytes" in out
    assert "pass_index 3, consumed 0" in out


def test_inspect_json_is_json(last: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "inspect", last, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["meta"]["iter"] == 15
    assert facts["content"]["state_dict"]["dtypes"] == {"float32": 8, "int64": 1}


def test_inspect_keys_lists_tensors_that_fit_a_pattern(last: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "inspect", last, "--keys", "state_dict.conv*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:1]] == [["state_dict.conv.weight", "(4,", "3,", "3,", "3)", "float32"]]
    assert lines[-1] == "2 tensors"
    assert main(["checkpoint", "inspect", last, "--keys", "no_such"]) == 1


def test_inspect_knows_weights_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"weight": torch.zeros(2, 3)}, tmp_path / "w.pth")
    assert main(["checkpoint", "inspect", str(tmp_path / "w.pth")]) == 0
    assert "weights alone" in capsys.readouterr().out


def test_verify_names_the_damaged_file_and_fails(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = (trained / "epoch_2.pth").read_bytes()
    (tmp_path / "good.pth").write_bytes(whole)
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    assert main(["checkpoint", "verify", str(tmp_path / "good.pth")]) == 0
    assert "epoch 2, iter 10" in capsys.readouterr().out
    assert main(["checkpoint", "verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("DAMAGED") == 2
    assert "cut off" in out and "empty" in out


def test_verify_of_a_folder_says_what_a_run_would_resume(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "verify", str(trained)]) == 0
    assert "would resume from" in capsys.readouterr().out.splitlines()[-1]


def test_verify_tells_of_the_newest_whole_file_where_the_last_is_damaged(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("epoch_1.pth", "epoch_2.pth", "epoch_3.pth"):
        shutil.copy(trained / name, tmp_path / name)
    broken = bytearray((tmp_path / "epoch_3.pth").read_bytes())
    broken[len(broken) // 2] ^= 1
    (tmp_path / "epoch_3.pth").write_bytes(broken)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_3.pth"))
    assert main(["checkpoint", "verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("DAMAGED") == 1
    assert out.splitlines()[-1].endswith("epoch_2.pth.")


def test_verify_refuses_a_file_that_would_run_code_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it_ran"),)

    torch.save({"state_dict": {}, "evil": Evil()}, tmp_path / "evil.pth")
    assert main(["checkpoint", "verify", str(tmp_path / "evil.pth")]) == 1
    assert "mkdir" in capsys.readouterr().out
    assert not (tmp_path / "it_ran").exists()


def test_strip_leaves_the_averaged_weights_alone(last: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "small.pth"
    assert main(["checkpoint", "strip", last, str(out), "--ema"]) == 0
    stripped, whole = torch.load(out), torch.load(last)
    assert list(stripped) == ["state_dict"]
    assert torch.equal(stripped["state_dict"]["head.weight"], whole["state_dict"]["head.weight"])
    assert out.stat().st_size < os.path.getsize(last) / 2
    assert "%" in capsys.readouterr().out


def test_strip_raw_takes_the_weights_in_training(last: str, tmp_path: Path) -> None:
    out = tmp_path / "small.pth"
    assert main(["checkpoint", "strip", last, str(out), "--raw", "--keep", "meta"]) == 0
    stripped, whole = torch.load(out), torch.load(last)
    assert set(stripped) == {"state_dict", "meta"}
    weight = stripped["state_dict"]["head.weight"]
    assert torch.equal(weight, whole["ema_state_dict"]["module.head.weight"])
    assert not torch.equal(weight, whole["state_dict"]["head.weight"])


def test_strip_never_replaces_a_file_unless_forced(last: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "there.pth"
    out.write_text("mine")
    assert main(["checkpoint", "strip", last, str(out)]) == 1
    assert out.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["checkpoint", "strip", last, str(out), "--force"]) == 0
    assert main(["checkpoint", "strip", last, last]) == 1


def test_strip_ema_of_a_run_without_averages_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_checkpoint({"state_dict": {"w": torch.zeros(1)}, "optimizer": {}}, tmp_path / "a.pth")
    assert main(["checkpoint", "strip", str(tmp_path / "a.pth"), "--ema"]) == 1
    assert "averaged no weights" in capsys.readouterr().err


def test_strip_keep_of_an_unknown_key_names_the_nearest(last: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "strip", last, "out.pth", "--keep", "mata"]) == 1
    assert "Did you mean 'meta'?" in capsys.readouterr().err


def test_convert_to_torch_gives_what_a_model_saves(last: str, tmp_path: Path) -> None:
    out = tmp_path / "w.pth"
    assert main(["checkpoint", "convert", last, str(out)]) == 0
    weights = torch.load(out, weights_only=True)
    whole = torch.load(last)["state_dict"]
    assert weights.keys() == whole.keys()
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_convert_to_mmengine_leaves_only_what_its_reader_knows(last: str, tmp_path: Path) -> None:
    out = tmp_path / "mm.pth"
    assert main(["checkpoint", "convert", last, str(out), "--to", "mmengine"]) == 0
    content = torch.load(out, weights_only=True)
    assert set(content) == {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "ema_state_dict"}
    assert content["meta"]["mmengine_version"] == "0.10.7"
    assert content["message_hub"]["log_scalars"] == {}
    assert set(content["message_hub"]["resumed_keys"]) <= set(content["message_hub"]["runtime_info"])
    assert "__drivetrain__" not in repr(content)


def test_convert_to_safetensors_and_back_keeps_weights_and_facts(last: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    there, back = tmp_path / "w.safetensors", tmp_path / "w.pth"
    assert main(["checkpoint", "convert", last, str(there)]) == 0
    assert main(["checkpoint", "convert", str(there), str(back)]) == 0
    whole, weights = torch.load(last)["state_dict"], torch.load(back, weights_only=True)
    assert weights.keys() == whole.keys()
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    assert main(["checkpoint", "verify", str(there)]) == 0
    there.write_bytes(there.read_bytes()[:-10])
    assert main(["checkpoint", "verify", str(there)]) == 1


def test_convert_without_safetensors_says_how_to_get_it(
    last: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["checkpoint", "convert", last, "w.safetensors"]) == 1
    assert 'pip install "safetensors"' in capsys.readouterr().err


def test_convert_refuses_an_ending_that_lies(last: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["checkpoint", "convert", last, "w.pth", "--to", "safetensors"]) == 1
    assert ".safetensors" in capsys.readouterr().err
