"""Wrappers, conversions of batch norm, test-time augmentation, and the search for unused parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from drivetrain.errors import (
    ArgumentError,
    ArgumentTypeError,
    BatchError,
    MissingAttributeError,
    MissingPackageError,
    NotSupportedError,
)
from drivetrain.logging import MMLogger
from drivetrain.model import (
    BaseModel,
    BaseTTAModel,
    MMDistributedDataParallel,
    convert_sync_batchnorm,
    detect_anomalous_params,
    is_model_wrapper,
    revert_sync_batchnorm,
)
from drivetrain.registry import MODEL_WRAPPERS, MODELS, Registry


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(1, 1)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor, mode: str = "tensor") -> Any:  # type: ignore[override]
        out = self.used(x)
        return {"loss": out.mean()} if mode == "loss" else out

    def val_step(self, data: Any) -> Any:
        return "own", super().val_step(data)


class Wrapper:
    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def optim_context(self, model: nn.Module) -> Any:
        self.context_of = model
        return nullcontext()

    def update_params(self, loss: Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch_dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch_dist.destroy_process_group()


def test_the_distributed_wrapper_steps_like_the_model(group: None) -> None:
    torch.manual_seed(0)
    plain, inner = Model(), Model()
    inner.load_state_dict(plain.state_dict())
    wrapped = MMDistributedDataParallel(inner, find_unused_parameters=True)
    ours, theirs = Wrapper(inner), Wrapper(plain)
    for _ in range(3):
        logs = wrapped.train_step([torch.ones(2, 1)], ours)
        assert torch.equal(logs["loss"], plain.train_step([torch.ones(2, 1)], theirs)["loss"])
    assert ours.context_of is wrapped
    assert torch.equal(inner.used.weight, plain.used.weight)
    assert wrapped.val_step([torch.ones(2, 1)])[0] == "own"
    assert torch.equal(wrapped.test_step({"x": torch.ones(2, 1)}), plain(torch.ones(2, 1)))


def test_the_distributed_wrapper_names_a_misfit_of_the_model_inside(group: None) -> None:
    wrapped = MMDistributedDataParallel(Model())
    with pytest.raises(BatchError, match=r"Model.forward: .*Did you mean 'x'"):
        wrapped.train_step({"xs": torch.ones(1, 1)}, Wrapper(wrapped))
    with pytest.raises(BatchError, match="BaseDataPreprocessor returned"):
        wrapped.train_step(torch.ones(1, 1), Wrapper(wrapped))


def test_the_distributed_wrapper_logs_unused_parameters_on_request(group: None, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    MMLogger.get_instance("anomalous", log_file=str(log))
    wrapped = MMDistributedDataParallel(Model(), detect_anomalous_params=True)
    wrapped.train_step([torch.ones(1, 1)], Wrapper(wrapped))
    assert "module.unused.weight with shape torch.Size([1, 1]) is not in the computational graph" in log.read_text()
    assert "module.used" not in log.read_text()


def test_frozen_parameters_are_not_anomalous(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    MMLogger.get_instance("anomalous", log_file=str(log))
    model = Model()
    model.unused.requires_grad_(False)
    detect_anomalous_params(model(torch.ones(1, 1)).sum(), model)
    assert log.read_text() == ""


def test_the_search_walks_deep_graphs() -> None:
    value = torch.ones(1, requires_grad=True)
    for _ in range(5000):
        value = value * 1.0
    detect_anomalous_params(value, nn.Module())


def test_wrappers_are_what_is_registered_as_such() -> None:
    assert {"DistributedDataParallel", "DataParallel", "MMDistributedDataParallel"} <= set(MODEL_WRAPPERS.module_dict)
    assert MODEL_WRAPPERS.get("DistributedDataParallel") is DistributedDataParallel
    assert is_model_wrapper(DataParallel(nn.Linear(1, 1))) and not is_model_wrapper(nn.Linear(1, 1))


def test_wrappers_of_a_child_registry_count_too() -> None:
    child = Registry("model_wrapper", parent=MODEL_WRAPPERS, scope="wrapper_test")
    try:

        @child.register_module()
        class Mine(nn.Module):
            pass

        class Derived(Mine):
            pass

        assert is_model_wrapper(Mine()) and is_model_wrapper(Derived())
        assert not is_model_wrapper(DataParallel(nn.Linear(1, 1)), child)
    finally:
        MODEL_WRAPPERS.children.pop("wrapper_test", None)


def test_sync_batch_norm_becomes_a_plain_one_that_shares_its_tensors() -> None:
    sync = nn.SyncBatchNorm(3, eps=0.1, momentum=0.3).eval()
    sync.qconfig = "kept"
    model = nn.ModuleDict({"bn": sync, "rest": nn.Sequential(nn.SyncBatchNorm(2, affine=False), nn.ReLU())})
    assert revert_sync_batchnorm(model) is model
    plain = model["bn"]
    assert plain.weight is sync.weight and plain.running_var is sync.running_var and plain.qconfig == "kept"
    assert (plain.training, plain.eps, plain.momentum) == (False, 0.1, 0.3)
    for shape in ((4, 3), (4, 3, 2), (4, 3, 2, 2), (4, 3, 2, 2, 2)):
        x = torch.rand(shape)
        expected = nn.functional.batch_norm(x, sync.running_mean, sync.running_var, sync.weight, sync.bias, eps=0.1)
        assert torch.equal(plain(x), expected)
    assert model["rest"][0](torch.rand(4, 2)).shape == (4, 2)


def test_reverting_the_norm_itself_returns_its_replacement() -> None:
    assert not isinstance(revert_sync_batchnorm(nn.SyncBatchNorm(2)), nn.SyncBatchNorm)
    norm = nn.BatchNorm2d(2)
    assert revert_sync_batchnorm(norm) is norm


def test_batch_norms_become_synchronised() -> None:
    converted = convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    assert type(converted[0]) is nn.SyncBatchNorm
    with pytest.raises(ArgumentError, match=r"must be 'torch' or 'mmcv', got 'torhc'. Did you mean 'torch'"):
        convert_sync_batchnorm(nn.BatchNorm2d(3), "torhc")


def test_the_norm_of_mmcv_is_used_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    monkeypatch.setitem(sys.modules, "mmcv", None)
    with pytest.raises(MissingPackageError, match='pip install "mmcv"'):
        convert_sync_batchnorm(nn.BatchNorm2d(3), "mmcv")

    class Theirs(nn.BatchNorm2d):
        pass

    monkeypatch.setitem(sys.modules, "mmcv.ops", SimpleNamespace(SyncBatchNorm=Theirs))
    model = nn.Sequential(nn.BatchNorm1d(3))
    assert type(convert_sync_batchnorm(model, "mmcv")[0]) is Theirs
    assert type(revert_sync_batchnorm(model)[0]) is not Theirs


class Counter(BaseModel):
    """Predicts the sum of each input."""

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        return [float(x.sum()) for x in inputs]


class Mean(BaseTTAModel):
    def merge_preds(self, data_samples_list: list[Any]) -> list[Any]:
        return [sum(views) / len(views) for views in data_samples_list]


VIEWS = [[torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0), torch.tensor(6.0)]]
SAMPLES = [["a1", "a2"], ["b1", "b2"]]


@pytest.mark.parametrize("batch", [{"inputs": VIEWS, "data_samples": SAMPLES}, (VIEWS, SAMPLES), [VIEWS, SAMPLES]])
def test_views_are_predicted_one_by_one_and_merged_by_sample(batch: Any) -> None:
    assert Mean(Counter()).test_step(batch) == [2.0, 4.0]


def test_the_wrapped_model_may_be_a_config() -> None:
    MODELS.register_module(name="TestCounter", module=Counter, force=True)
    try:
        assert type(Mean({"type": "TestCounter"}).module) is Counter
    finally:
        MODELS.module_dict.pop("TestCounter")


def test_augmentation_refuses_what_it_cannot_drive() -> None:
    with pytest.raises(MissingAttributeError, match="Linear has none"):
        Mean(nn.Linear(1, 1))
    with pytest.raises(ArgumentTypeError, match="model or a config dict, got 3"):
        Mean(3)  # type: ignore[arg-type]
    with pytest.raises(BatchError, match="got int"):
        Mean(Counter()).test_step(3)
    with pytest.raises(BatchError, match=r"same number of views, got \[1, 2\]"):
        Mean(Counter()).test_step({"inputs": VIEWS, "data_samples": SAMPLES[:1]})
    with pytest.raises(NotSupportedError, match="call test_step"):
        Mean(Counter()).val_step({"inputs": torch.ones(1)})
