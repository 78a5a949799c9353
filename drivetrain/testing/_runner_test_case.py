"""A test case with small configs of whole runs."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast
from unittest import TestCase

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from drivetrain.config import Config
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner
from drivetrain.utils import ManagerMixin


class ToyModel(BaseModel):
    """Two linear layers with a summed loss.

    Args:
        data_preprocessor: as for `BaseModel`.
    """

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.linear1 = nn.Linear(2, 2)
        self.linear2 = nn.Linear(2, 1)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Outputs (N, 1), a dict with the loss, or a list of predictions.

        Args:
            inputs: (N, 2), or a list of (2,).
            data_samples: labels, (N,) or a list.
            mode: 'tensor', 'loss' or 'predict'.
        """
        batch, labels = _stacked(inputs), _stacked(data_samples)
        outputs = self.linear2(self.linear1(batch))
        if mode == "loss":
            return {"loss": (labels.reshape(-1, 1) - outputs).sum()}
        return outputs if mode == "tensor" else list(outputs)


class ToyDataset(Dataset[dict[str, Tensor]]):
    """Twelve pairs of random numbers, always the same, and a label of one."""

    METAINFO: dict[str, Any] = {}
    data = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    label = torch.ones(12)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the dataset says of itself: nothing."""
        return self.METAINFO

    def __len__(self) -> int:
        return self.data.size(0)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.data[index], "data_samples": self.label[index]}


class ToyMetric(BaseMetric):
    """Gives the metrics that it was told, whatever the predictions.

    Args:
        collect_device: as for `BaseMetric`.
        dummy_metrics: the metrics to give; an accuracy of 1 by default.
    """

    def __init__(self, collect_device: str = "cpu", dummy_metrics: dict[str, Any] | None = None) -> None:
        super().__init__(collect_device=collect_device)
        self.dummy_metrics = dummy_metrics

    def process(self, data_batch: Any, predictions: Any) -> None:
        """Keep one result for each prediction."""
        self.results.extend({"acc": 1} for _ in predictions)

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """The metrics."""
        return {"acc": 1} if self.dummy_metrics is None else self.dummy_metrics


def _stacked(values: Any) -> Tensor:
    return torch.stack(values) if type(values) in (list, tuple) else values


_LOADER: dict[str, Any] = {"dataset": {"type": ToyDataset}, "batch_size": 3, "num_workers": 0}
_IN_ORDER: dict[str, Any] = {**_LOADER, "sampler": {"type": "DefaultSampler", "shuffle": False}}
_EVALUATION: dict[str, Any] = {
    "val_cfg": {},
    "val_dataloader": _IN_ORDER,
    "val_evaluator": [{"type": ToyMetric}],
    "test_cfg": {},
    "test_dataloader": _IN_ORDER,
    "test_evaluator": [{"type": ToyMetric}],
}
_COMMON: dict[str, Any] = {
    **_EVALUATION,
    "model": {"type": ToyModel},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
    "default_hooks": {"logger": {"type": "LoggerHook", "interval": 1}},
    "custom_hooks": [],
    "env_cfg": {"dist_cfg": {"backend": "nccl"}},
    "experiment_name": "test1",
}
_EPOCH_BASED: dict[str, Any] = {
    **_COMMON,
    "train_dataloader": {**_LOADER, "sampler": {"type": "DefaultSampler", "shuffle": True}},
    "train_cfg": {"by_epoch": True, "max_epochs": 2, "val_interval": 1},
}
_ITER_BASED: dict[str, Any] = {
    **_COMMON,
    "train_dataloader": {**_LOADER, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
    "train_cfg": {"by_epoch": False, "max_iters": 12},
    "log_processor": {"by_epoch": False},
    "default_hooks": {
        "logger": {"type": "LoggerHook", "interval": 1},
        "checkpoint": {"type": "CheckpointHook", "interval": 12, "by_epoch": False},
    },
}


class RunnerTestCase(TestCase):
    """Gives each test two configs of a small run, a temporary work_dir, and a process without traces of other tests.

    Attributes:
        temp_dir: the temporary folder, which is the configs' work_dir.
        epoch_based_cfg: a run of two epochs with validation and test.
        iter_based_cfg: a run of twelve iterations.
        dist_cfg: the environment of a run of one process, for `setup_dist_env`.
    """

    dist_cfg: dict[str, Any] = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 29600,
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
    }

    def setUp(self) -> None:
        """Make the work_dir and the configs."""
        self._managed = {cls: dict(cls._instance_dict) for cls in _managers()}
        self._environment = dict(os.environ)
        self.temp_dir = tempfile.TemporaryDirectory()
        self.epoch_based_cfg = Config({**deepcopy(_EPOCH_BASED), "work_dir": self.temp_dir.name})
        self.iter_based_cfg = Config({**deepcopy(_ITER_BASED), "work_dir": self.temp_dir.name})

    def tearDown(self) -> None:
        """Close log files, forget named instances, leave the process group, and delete the work_dir."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(self._environment)
        for cls in _managers():
            for instance in _without(cls._instance_dict, self._managed.get(cls, {})):
                _close(instance)
        self.temp_dir.cleanup()

    def build_runner(self, cfg: Config) -> Runner:
        """A runner of the config under a new name.

        Args:
            cfg: the config; its `experiment_name` is set.
        """
        cfg.experiment_name = self.experiment_name
        return Runner.from_cfg(cast("Mapping[str, Any]", cfg))

    @property
    def experiment_name(self) -> str:
        """A name that no other run has."""
        return f"{self._testMethodName}_{time.time()} + {uuid.uuid4()}"

    def setup_dist_env(self) -> None:
        """Set the environment of a distributed run of one process, with a port that the last test did not use."""
        cls = type(self)
        cls.dist_cfg = {**cls.dist_cfg, "MASTER_PORT": int(cls.dist_cfg["MASTER_PORT"]) + 1}
        os.environ.update({name: str(value) for name, value in cls.dist_cfg.items()})

    def clear_work_dir(self) -> None:
        """Empty the work_dir."""
        for cls in _managers():
            for instance in cls._instance_dict.values():
                if issubclass(type(instance), logging.Logger):
                    _close(instance)
        self.temp_dir.cleanup()
        os.makedirs(self.temp_dir.name, exist_ok=True)


def _managers(root: Any = ManagerMixin) -> list[Any]:
    """A class and all its subclasses."""
    return [root, *(leaf for child in root.__subclasses__() for leaf in _managers(child))]


def _without(table: dict[str, Any], kept: dict[str, Any]) -> list[Any]:
    """Take out of a table of instances those that are not to be kept."""
    return [table.pop(name) for name in list(table) if name not in kept]


def _close(instance: Any) -> None:
    for handler in list(getattr(instance, "handlers", ())):
        handler.close()
        instance.removeHandler(handler)
