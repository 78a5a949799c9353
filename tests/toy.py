"""A tiny training run for tests: a conv-BN net with dropout on random images that each sample shifts by itself."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner


class ToyData(Dataset[dict[str, Any]]):
    """Images (3, 6, 6) with noise from all three generators; counts how often samples are fetched."""

    METAINFO = {"classes": ("a", "b", "c", "d")}

    def __init__(self, size: int = 20, noise: bool = True) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(size, 3, 6, 6, generator=generator)
        self.labels = torch.randint(4, (size,), generator=generator)
        self.noise = noise
        self.fetched: list[int] = []

    @property
    def metainfo(self) -> dict[str, Any]:
        return self.METAINFO

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.fetched.append(int(index))
        image = self.images[index]
        if self.noise:
            image = image + 0.1 * torch.randn(3, 6, 6) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return {"inputs": image, "labels": self.labels[index], "id": int(index)}


class ToyNet(BaseModel):
    """conv, batch norm, dropout, linear."""

    def __init__(self, dropout: float = 0.2, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(4, 4)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, id: Any = None, mode: str = "tensor") -> Any:
        logits = self.head(self.drop(functional.relu(self.norm(self.conv(inputs))).mean((2, 3))))
        if mode == "loss":
            return {"loss_ce": functional.cross_entropy(logits, labels), "spread": logits.detach().std()}
        return (logits, labels) if mode == "predict" else logits


class ToyAccuracy(BaseMetric):
    """Share of hits, in percent of one."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        logits, labels = data_samples
        self.results.append((int((logits.argmax(1) == labels).sum()), len(labels)))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"accuracy": sum(hit for hit, _ in results) / sum(size for _, size in results)}


class Recorder(Hook):
    """Writes down every point it is called at, and the losses and ids of training steps."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.points: list[str] = []
        self.losses: list[Tensor] = []
        self.ids: list[Any] = []
        self.metrics: list[Any] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.points.append("after_train_iter")
        self.losses.append(outputs["loss"].detach().clone())
        self.ids.append([int(i) for i in data_batch["id"]])

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.points.append("after_val_epoch")
        self.metrics.append(metrics)


def _record(point: str) -> Any:
    def method(self: Recorder, runner: Any, **kwargs: Any) -> None:
        self.points.append(point)

    return method


for _point in Hook.stages:
    if _point not in vars(Recorder):
        setattr(Recorder, _point, _record(_point))


def loader(data: Any = None, batch_size: int = 4, shuffle: bool = True, **other: Any) -> dict[str, Any]:
    return {
        "dataset": data if data is not None else ToyData(),
        "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
        "batch_size": batch_size,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
        **other,
    }


def parts(**changes: Any) -> dict[str, Any]:
    """The arguments of a runner that trains 3 epochs of 5 steps and validates after each; the weights are always the same."""
    torch.manual_seed(0)
    chosen: dict[str, Any] = {
        "model": ToyNet(),
        "train_dataloader": loader(),
        "val_dataloader": loader(ToyData(8, noise=False), shuffle=False),
        "train_cfg": {"by_epoch": True, "max_epochs": 3},
        "val_cfg": {},
        "val_evaluator": ToyAccuracy(),
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4},
            {"type": "MultiStepLR", "milestones": [2], "by_epoch": True},
        ],
        "randomness": {"seed": 7},
        "log_level": "ERROR",
    }
    chosen.update(changes)
    return {name: value for name, value in chosen.items() if value is not None}


def build(work_dir: Path, **changes: Any) -> Runner:
    return Runner(work_dir=str(work_dir), **parts(**changes))


def only_training() -> dict[str, Any]:
    return {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


def weights_of(runner: Runner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def assert_same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs by {(value - second[name]).abs().max()}"
