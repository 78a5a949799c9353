"""A run that cannot be resumed exactly: one of its transforms draws numbers that no seed governs.

    drivetrain verify-resume examples/verify_resume/unseeded_transform.py

names the transform and the line. With `--mended` behind a `--`, the transform draws from NumPy's global generator,
which the run seeds for every sample, and the command finds no difference.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from drivetrain.dataset import BaseDataset
from drivetrain.model import BaseModel
from drivetrain.runner import Runner


class Noise:
    """Adds noise, from a generator that takes its seed from the system at every call."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        generator = np.random.default_rng()
        sample["points"] = sample["points"] + generator.normal(0, 0.1, 2)
        return sample


class SeededNoise:
    """Adds noise, from the generator that the run seeds."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        sample["points"] = sample["points"] + np.random.normal(0, 0.1, 2)
        return sample


class ToTensors:
    """Makes the tensors that the model takes."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        points = torch.as_tensor(sample["points"], dtype=torch.float32)
        return {"inputs": points, "labels": torch.tensor(sample["label"])}


class Points(BaseDataset):
    """Points of the plane, and whether they lie within the unit circle."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """120 points from a generator with a seed, drawn once."""
        points = np.random.default_rng(0).normal(0, 1, (120, 2))
        return [{"points": point, "label": int(point @ point < 1)} for point in points]


class Net(BaseModel):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Loss, or scores (N, 2)."""
        scores = self.layers(inputs)
        return {"loss": functional.cross_entropy(scores, labels)} if mode == "loss" else scores


def main(mended: bool) -> None:
    """Train for four epochs."""
    Runner(
        model=Net(),
        work_dir="work_dirs/unseeded_transform",
        train_dataloader={
            "dataset": Points(pipeline=[SeededNoise() if mended else Noise(), ToTensors()]),
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": 8,
            "num_workers": 2,
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": 4},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        randomness={"seed": 0},
    ).train()


if __name__ == "__main__":
    main(mended="--mended" in sys.argv)
