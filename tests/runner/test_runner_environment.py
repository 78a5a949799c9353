"""The block at the top of a log: what decides how fast a run is, and cannot be seen in its config."""

import re

import pytest
import torch
from toy import build

from drivetrain.runner._environment import describe_environment


def rows_of(block):
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in block.splitlines()[1:])


@pytest.mark.parametrize(("given", "shown"), [("3", "OMP_NUM_THREADS=3"), (None, "OMP_NUM_THREADS=not set")])
def test_thread_counts_are_stated_with_what_set_them(monkeypatch, given, shown):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    rows = rows_of(describe_environment({}))
    assert rows["CPU threads"] == f"{torch.get_num_threads()} ({shown})"
    assert rows["interop threads"] == str(torch.get_num_interop_threads())


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_precision_of_float32_products_is_stated_as_the_user_set_it(precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert rows_of(describe_environment({}))["float32 matmul"] == precision
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("switch", [True, False])
def test_the_benchmark_mode_of_cudnn_is_stated_on_cuda(monkeypatch, switch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", switch)
    assert rows_of(describe_environment({}))["cuDNN benchmark"] == str(switch)


def test_a_precision_that_was_set_by_torchs_newer_switches_is_stated_too(monkeypatch):
    def mixed():
        raise RuntimeError("PyTorch is checking the matmul precision without a specific backend name")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    assert rows_of(describe_environment({}))["float32 matmul"] in ("CUDA none, CPU none", "CUDA ieee, CPU ieee")


def test_tf32_is_stated_on_cuda(monkeypatch):
    assert "TF32" not in rows_of(describe_environment({}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert rows_of(describe_environment({}))["TF32"] == "matrix products off, convolutions on"


def test_a_run_leaves_the_precision_alone_and_writes_the_block_into_its_log(tmp_path):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        runner = build(tmp_path, log_level="INFO")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    log = next((tmp_path / runner.timestamp).glob("*.log")).read_text()
    assert re.search(r"^    float32 matmul +high$", log, re.MULTILINE)
    assert re.search(r"^    CPU threads +\d+ \(OMP_NUM_THREADS=", log, re.MULTILINE)
