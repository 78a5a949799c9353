"""When an optimizer of torch uses its fused kernel unasked; the meta device stands in for an accelerator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.optim import build_optim_wrapper
from drivetrain.optim.optimizer import _fused


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a device that is taken for an accelerator."""
    monkeypatch.setattr(_fused, "is_fusing", lambda device: device.type == "meta")
    return "meta"


def fused_of(model: nn.Module, kind: Any = "AdamW", paramwise_cfg: Any = None, **arguments: Any) -> Any:
    cfg = {"optimizer": {"type": kind, "lr": 0.1, **arguments}, "paramwise_cfg": paramwise_cfg}
    optimizer = build_optim_wrapper(model, cfg).optimizer
    [fused] = {group["fused"] for group in optimizer.param_groups}
    assert fused is optimizer.defaults["fused"]
    return fused


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", torch.optim.AdamW])
@pytest.mark.parametrize("paramwise_cfg", [None, {"bias_lr_mult": 2.0}, {"freeze": "0"}])
def test_on_an_accelerator_fused_is_the_default(accelerator: str, kind: Any, paramwise_cfg: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).to(accelerator)
    assert fused_of(model, kind, paramwise_cfg) is True


@pytest.mark.parametrize("choice", [{"fused": False}, {"fused": None}, {"foreach": True}, {"foreach": False}])
def test_the_config_decides_where_it_says_something(accelerator: str, choice: dict[str, Any]) -> None:
    assert not fused_of(nn.Linear(2, 2, device=accelerator), **choice)


def test_on_the_cpu_it_is_used_on_request_only() -> None:
    assert fused_of(nn.Linear(2, 2)) is None
    assert fused_of(nn.Linear(2, 2), fused=True) is True


def test_parameters_on_two_devices_or_with_other_dtypes_or_sparse_gradients_are_left_alone(accelerator: str) -> None:
    layer = nn.Linear(2, 2, device=accelerator)
    assert fused_of(nn.Sequential(layer, nn.Linear(2, 2))) is None
    assert fused_of(nn.Linear(2, 2, device=accelerator, dtype=torch.complex64), "SGD") is None
    assert fused_of(nn.Sequential(layer, nn.Embedding(2, 2, sparse=True, device=accelerator)), "SGD") is None


def test_other_optimizers_and_subclasses_are_left_alone(accelerator: str) -> None:
    class MySGD(torch.optim.SGD):
        pass

    assert fused_of(nn.Linear(2, 2, device=accelerator), MySGD) is None
    wrapper = build_optim_wrapper(nn.Linear(2, 2, device=accelerator), {"optimizer": {"type": "RMSprop", "lr": 0.1}})
    assert "fused" not in wrapper.defaults


def test_differentiable_updates_are_left_alone(accelerator: str) -> None:
    assert fused_of(nn.Linear(2, 2, device=accelerator), "SGD", differentiable=True) is None


@pytest.mark.parametrize(
    ("kind", "expected"), [("cpu", False), ("meta", False), ("cuda", True), ("xpu", True), ("mps", True)]
)
def test_kinds_of_devices_with_fused_kernels(kind: str, expected: bool) -> None:
    assert _fused.is_fusing(torch.device(kind)) is expected


@pytest.mark.parametrize("fused", [True, False])
def test_a_skipped_fp16_update_is_noticed_with_a_fused_kernel_too(fused: bool) -> None:
    model = nn.Linear(2, 2)
    optimizer = {"type": "AdamW", "lr": 0.1, "fused": fused}
    wrapper: Any = build_optim_wrapper(model, {"type": "AmpOptimWrapper", "dtype": "float16", "optimizer": optimizer})
    before = model.weight.detach().clone()
    seen = []
    for factor in (1.0, float("inf"), 1.0):
        wrapper.update_params(model.weight.square().sum() * factor)
        seen.append((wrapper.updated, wrapper.step_skipped, wrapper.updates, torch.equal(before, model.weight)))
        before = model.weight.detach().clone()
    assert seen == [(True, False, 1, False), (False, True, 1, True), (True, False, 2, False)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_fused_update_is_that_of_the_plain_kernels() -> None:
    weights = []
    for choice in ({}, {"fused": False}):
        torch.manual_seed(0)
        model = nn.Linear(8, 8, device="cuda")
        cfg = {"optimizer": {"type": "AdamW", "lr": 0.1, **choice}}
        wrapper = build_optim_wrapper(model, cfg)
        assert wrapper.defaults["fused"] is (not choice)
        for _ in range(5):
            wrapper.update_params(model(torch.ones(4, 8, device="cuda")).square().mean())
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)
