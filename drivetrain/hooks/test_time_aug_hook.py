"""Test with augmented views: wrap the model for the test, and build a runner that does."""

from __future__ import annotations

import copy
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.model import is_model_wrapper
from drivetrain.registry import HOOKS, MODELS, RUNNERS
from drivetrain.typing import RunnerLike

from .hook import Hook


@HOOKS.register_module()
class PrepareTTAHook(Hook):
    """Wraps the model in a test-time augmentation model while a test runs.

    Before the test, when the weights are loaded, `runner.model` becomes `MODELS.build(tta_cfg)` around the model;
    afterwards it is the model again.

    Args:
        tta_cfg: config of a `BaseTTAModel` without its `module`.

    Raises:
        ArgumentTypeError: `tta_cfg` is no config.
        ArgumentError: it has no `type`.
    """

    def __init__(self, tta_cfg: dict[str, Any]) -> None:
        if not hasattr(tta_cfg, "items"):
            raise ArgumentTypeError(f"tta_cfg takes the config of a BaseTTAModel, got {tta_cfg!r}.")
        if "type" not in tta_cfg:
            raise ArgumentError(f"tta_cfg={dict(tta_cfg)!r} needs a type: the class of the BaseTTAModel.")
        self.tta_cfg = tta_cfg
        self._plain: Any = None
        self._wrapped: Any = None

    def before_test(self, runner: RunnerLike) -> None:
        """Wrap the model."""
        if self._wrapped is not None and runner.model is self._wrapped:
            return
        model = runner.model
        inner = model.module if is_model_wrapper(model) else model
        self._plain = model
        self._wrapped = runner.model = MODELS.build({**self.tta_cfg, "module": inner})

    def after_test(self, runner: RunnerLike) -> None:
        """Put the model itself back."""
        if runner.model is self._wrapped:
            runner.model = self._plain
        self._plain = self._wrapped = None


def build_runner_with_tta(cfg: dict[str, Any]) -> Any:
    """A runner whose `test()` predicts augmented views and merges them.

    Args:
        cfg: a runner's config with two more keys: `tta_model`, the config of a `BaseTTAModel` without its `module`, and
            `tta_pipeline`, which takes the place of the test dataset's `pipeline`. It is left as it is.

    Returns:
        The `Runner`, with a `PrepareTTAHook`.

    Raises:
        NotFoundError: one of the two is missing.
        ArgumentError: the config has no test dataset with a pipeline.
    """
    for key in ("tta_model", "tta_pipeline"):
        if key not in cfg:
            near = did_you_mean(key, [name for name in cfg if name.startswith("t")])
            raise NotFoundError(f"test-time augmentation needs {key!r} in the config, which has none.{near}")
    cfg = copy.deepcopy(cfg)
    dataset = (cfg.get("test_dataloader") or {}).get("dataset")
    if not _set_pipeline(dataset, cfg["tta_pipeline"]):
        raise ArgumentError(
            "test-time augmentation replaces the pipeline of test_dataloader.dataset, and there is none to replace: "
            f"dataset={dataset!r}. Give the test dataset as a config with a pipeline."
        )
    cfg["custom_hooks"] = [*(cfg.get("custom_hooks") or []), {"type": "PrepareTTAHook", "tta_cfg": cfg["tta_model"]}]
    return RUNNERS.build(cfg)


def _set_pipeline(dataset: Any, pipeline: Any) -> int:
    """Replace the pipeline of a dataset's config, inside wrappers such as RepeatDataset too; returns how many."""
    if type(dataset) in (list, tuple):
        return sum(_set_pipeline(part, pipeline) for part in dataset)
    if not hasattr(dataset, "items"):
        return 0
    inner = [dataset[key] for key in ("dataset", "datasets") if key in dataset]
    if inner:
        return sum(_set_pipeline(part, pipeline) for part in inner)
    dataset["pipeline"] = copy.deepcopy(pipeline)
    return 1
