"""A run that cannot be resumed exactly: its dataset counts what was fetched, and makes samples harder as it goes.

    drivetrain verify-resume examples/verify_resume/stateful_dataset.py

names the dataset and the counter. With `--mended` behind a `--`, the model makes the inputs harder, by a counter that
it keeps in a buffer and that is saved with it, and the command finds no difference.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.model import BaseModel
from drivetrain.runner import Runner


class Points(Dataset[dict[str, Tensor]]):
    """Points of the plane, and whether they lie within the unit circle; the more were fetched, the more noise."""

    def __init__(self, counts: bool) -> None:
        self.points = np.random.default_rng(0).normal(0, 1, (120, 2)).astype(np.float32)
        self.counts = counts
        self.fetched = 0

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        point = torch.from_numpy(self.points[index])
        noise = torch.randn(2)
        if self.counts:
            self.fetched += 1
            point = point + noise * self.fetched / 1000
        return {"inputs": point, "noise": noise, "labels": torch.tensor(int(point @ point < 1))}


class Net(BaseModel):
    """Two layers; adds noise that grows with its steps, if asked to.

    Args:
        counts: whether it does.
    """

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.counts = counts
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, inputs: Tensor, noise: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Loss, or scores (N, 2)."""
        if self.counts and mode == "loss":
            self.steps += 1
            inputs = inputs + noise * self.steps * len(inputs) / 1000
        scores = self.layers(inputs)
        return {"loss": functional.cross_entropy(scores, labels)} if mode == "loss" else scores


def main(mended: bool) -> None:
    """Train for four epochs."""
    Runner(
        model=Net(counts=mended),
        work_dir="work_dirs/stateful_dataset",
        train_dataloader={
            "dataset": Points(counts=not mended),
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": 8,
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": 4},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        randomness={"seed": 0},
    ).train()


if __name__ == "__main__":
    main(mended="--mended" in sys.argv)
