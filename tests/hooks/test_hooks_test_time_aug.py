"""PrepareTTAHook and build_runner_with_tta: views of each sample are predicted and merged, in the test alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.evaluator import BaseMetric
from drivetrain.hooks import PrepareTTAHook, build_runner_with_tta
from drivetrain.model import BaseModel, BaseTTAModel
from drivetrain.registry import DATASETS, METRICS, MODELS
from drivetrain.runner import Runner


class Doubles(BaseModel):
    """Predicts twice the sum of each input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Any, mode: str = "tensor") -> Any:
        return [float((self.scale * x).sum().detach()) for x in inputs]


class Mean(BaseTTAModel):
    def merge_preds(self, data_samples_list: Any) -> Any:
        return [sum(views) / len(views) for views in data_samples_list]


class Views(Dataset[Any]):
    """Samples 0, 1, 2, 3; each times every number in the pipeline, which is no list of views if it is one number."""

    metainfo: dict[str, Any] = {}

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        views = [factor * torch.full((2,), float(index)) for factor in self.pipeline]
        return {"inputs": views if len(views) > 1 else views[0]}


class Wrapped(Views):
    """A dataset around a dataset."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(DATASETS.build(dataset).pipeline)


class Total(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"total": sum(results)}


@pytest.fixture(autouse=True)
def registered() -> Any:
    named = [(MODELS, Mean), (DATASETS, Views), (DATASETS, Wrapped), (METRICS, Total), (MODELS, Doubles)]
    for registry, cls in named:
        registry.register_module(name=f"Tta{cls.__name__}", module=cls)
    yield
    for registry, cls in named:
        registry._module_dict.pop(f"Tta{cls.__name__}")


def config(tmp_path: Any, **changes: Any) -> dict[str, Any]:
    return {
        "model": {"type": "TtaDoubles"},
        "work_dir": str(tmp_path),
        "test_dataloader": {"dataset": {"type": "TtaViews", "pipeline": [1.0]}, "batch_size": 2,
                            "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "test_cfg": {},
        "test_evaluator": {"type": "TtaTotal"},
        "tta_model": {"type": "TtaMean"},
        "tta_pipeline": [1.0, 3.0],
        "log_level": "ERROR",
        **changes,
    }  # fmt: skip


def test_a_test_merges_the_views_and_then_the_model_is_itself_again(tmp_path: Any) -> None:
    cfg = config(tmp_path)
    assert Runner.from_cfg(cfg).test()["total"] == 24.0
    runner = build_runner_with_tta(cfg)
    model = runner.model
    assert type(runner) is Runner and type(model) is Doubles
    assert runner.test()["total"] == runner.test()["total"] == 48.0
    assert runner.model is model


def test_the_config_stays_as_it_is(tmp_path: Any) -> None:
    cfg = config(tmp_path, custom_hooks=[{"type": "EmptyCacheHook"}])
    hooks = [type(hook).__name__ for hook in build_runner_with_tta(cfg).hooks]
    assert "PrepareTTAHook" in hooks and "EmptyCacheHook" in hooks
    assert cfg["test_dataloader"]["dataset"]["pipeline"] == [1.0] and len(cfg["custom_hooks"]) == 1


def test_the_pipeline_is_replaced_inside_a_wrapper_too(tmp_path: Any) -> None:
    cfg = config(tmp_path)
    cfg["test_dataloader"]["dataset"] = {"type": "TtaWrapped", "dataset": cfg["test_dataloader"]["dataset"]}
    assert build_runner_with_tta(cfg).test()["total"] == 48.0


def test_loaded_weights_are_those_of_the_model_inside(tmp_path: Any) -> None:
    torch.save({"state_dict": {"scale": torch.tensor(4.0)}}, tmp_path / "weights.pth")
    cfg = config(tmp_path, load_from=str(tmp_path / "weights.pth"))
    assert build_runner_with_tta(cfg).test()["total"] == 96.0


@pytest.mark.parametrize("key", ["tta_model", "tta_pipeline"])
def test_a_missing_key_is_named(tmp_path: Any, key: str) -> None:
    cfg = config(tmp_path)
    cfg[key.replace("_", "")] = cfg.pop(key)
    with pytest.raises(NotFoundError, match=f"needs '{key}'.*Did you mean '{key.replace('_', '')}'"):
        build_runner_with_tta(cfg)


def test_a_dataset_that_is_built_already_is_refused(tmp_path: Any) -> None:
    cfg = config(tmp_path)
    cfg["test_dataloader"]["dataset"] = Views([1.0])
    with pytest.raises(ArgumentError, match="as a config with a pipeline"):
        build_runner_with_tta(cfg)


@pytest.mark.parametrize("given", [None, [], "TtaMean"])
def test_a_tta_cfg_that_is_no_config_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="tta_cfg takes the config"):
        PrepareTTAHook(given)


def test_a_tta_cfg_without_a_type_is_refused() -> None:
    with pytest.raises(ArgumentError, match="needs a type"):
        PrepareTTAHook({"module": 1})


def test_a_second_wrapping_of_a_wrapped_model_is_left_out() -> None:
    hook, runner = PrepareTTAHook({"type": "TtaMean"}), SimpleNamespace(model=Doubles())
    hook.before_test(runner)
    first = runner.model
    hook.before_test(runner)
    assert runner.model is first and type(first) is Mean and type(first.module) is Doubles


def test_a_model_wrapper_is_taken_off() -> None:
    from drivetrain.registry import MODEL_WRAPPERS

    class Shell(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    MODEL_WRAPPERS.register_module(name="TtaShell", module=Shell)
    try:
        inner = Doubles()
        hook, runner = PrepareTTAHook({"type": "TtaMean"}), SimpleNamespace(model=Shell(inner))
        hook.before_test(runner)
        assert runner.model.module is inner
        hook.after_test(runner)
        assert type(runner.model) is Shell
    finally:
        MODEL_WRAPPERS._module_dict.pop("TtaShell")
