from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import drivetrain.device as device

PREDICATES = {
    "cuda": device.is_cuda_available,
    "mps": device.is_mps_available,
    "npu": device.is_npu_available,
    "mlu": device.is_mlu_available,
    "musa": device.is_musa_available,
    "dipu": device.is_dipu_available,
}


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    accelerator = None if kind is None else SimpleNamespace(type=kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: accelerator)


def test_get_device_without_accelerator_is_cpu(monkeypatch):
    pretend(monkeypatch, None)
    assert device.get_device() == "cpu"
    assert not any(available() for available in PREDICATES.values())


@pytest.mark.parametrize("kind", PREDICATES)
def test_a_registered_accelerator_is_reported_under_its_own_name_and_no_other(monkeypatch, kind):
    pretend(monkeypatch, kind)
    assert device.get_device() == kind
    assert [name for name, available in PREDICATES.items() if available()] == [kind]


def test_npu_full_precision_is_false_without_an_npu(monkeypatch):
    pretend(monkeypatch, None)
    assert device.is_npu_support_full_precision() is False


def test_max_memory_of_the_cpu_is_none():
    assert device.max_memory_mb("cpu") is None
    assert device.max_memory_mb(torch.device("cpu")) is None


def test_max_memory_reads_the_allocator_in_mib_and_resets_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 5 * 1024 * 1024 + 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: pytest.fail("reset"))
    assert device.max_memory_mb("cuda:0") == 5
    pretend(monkeypatch, "cuda")
    assert device.max_memory_mb() == 5
    assert device.max_memory_mb(0) == 5


def test_get_max_cuda_memory_starts_a_new_peak_on_the_same_device(monkeypatch):
    reset = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 3 * 1024 * 1024)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: reset.append(device))
    assert device.get_max_cuda_memory(torch.device("cuda", 1)) == 3
    assert reset == [torch.device("cuda", 1)]
