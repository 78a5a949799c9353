"""The report of the machine."""

from __future__ import annotations

import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.device import _environment, collect_env

KEYS = ["sys.platform", "Python", "CUDA available", "MUSA available", "numpy_random_seed", "GCC", "PyTorch",
        "PyTorch compiling details"]  # fmt: skip


def test_report_has_the_keys_that_packages_print() -> None:
    facts = collect_env()
    assert type(facts) is OrderedDict
    assert [key for key in facts if key in KEYS] == KEYS
    assert list(facts)[-1] == "MMEngine" and facts["MMEngine"].startswith("0.10.7")
    assert facts["PyTorch"] == torch.__version__ and "PyTorch built with" in facts["PyTorch compiling details"]


def test_gpus_of_one_name_stand_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho first\necho release 13.0\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(_environment, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "B" if index == 1 else "A")
    facts = collect_env()
    assert (facts["GPU 0,2"], facts["GPU 1"], facts["CUDA_HOME"], facts["NVCC"]) == (
        "A", "B", str(tmp_path), "release 13.0",
    )  # fmt: skip


@pytest.mark.parametrize("error", [FileNotFoundError("gcc"), subprocess.TimeoutExpired("gcc", 5), PermissionError()])
def test_missing_or_hanging_command_is_not_available(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert collect_env()["GCC"] == "n/a"


def test_toolkit_is_found_by_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: "/opt/cuda-13/bin/nvcc")
    assert _environment._cuda_home() == "/opt/cuda-13"
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("os.path.isdir", lambda path: False)
    assert _environment._cuda_home() is None
