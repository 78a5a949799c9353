"""Switches of the Runner that help without an accelerator, each on and off in one run.

    python benchmarks/switches.py

`channels_last`: a small residual network on images, the fastest window of steps counts. `collect_garbage_every`: a hook
keeps a few hundred small records of every step, as metrics and debugging aids do, and the slowest step counts.
`time_split`: a tiny step, the fastest window counts. Each pair runs ROUNDS times by turns; the table shows medians.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

ROUNDS = 5


class Same(Dataset):
    """One batch over and over."""

    def __init__(self, batch: tuple[torch.Tensor, ...], steps: int) -> None:
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return self.batch


class Net(BaseModel):
    """Any layers under the contract of models."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
        logits = self.layers(inputs)
        return {"loss": functional.cross_entropy(logits, labels)} if mode == "loss" else logits


class Residual(nn.Module):
    """Two convolutions with a way around."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.body(x))


class Keeper(Hook):
    """Keeps records of every step."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.records.append([{"step": batch_idx, "box": [float(i)] * 4} for i in range(300)])


class Clock(Hook):
    """The time at the end of each step, in process time, which other processes disturb least."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.marks: list[float] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.marks.append(time.process_time())


def steps_of(
    layers: Callable[[], nn.Module], batch: tuple[torch.Tensor, ...], steps: int, *hooks: Hook, **switches: Any
) -> list:
    """Seconds of each step but the first tenth."""
    clock = Clock()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(open(os.devnull, "w", encoding="utf-8")):
        Runner(
            model=Net(layers()),
            work_dir=folder,
            train_dataloader=DataLoader(Same(batch, steps), batch_size=None),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
            default_hooks={"logger": {"type": "LoggerHook", "interval": 50}},
            custom_hooks=[clock, *hooks],
            **switches,
        ).train()
    times = [end - begin for begin, end in zip(clock.marks, clock.marks[1:], strict=False)]
    return times[steps // 10 :]


def fastest_window(times: list[float], size: int) -> float:
    return min(sum(times[begin : begin + size]) / size for begin in range(0, len(times) - size + 1, size))


def compare(name: str, measure: Callable[..., float], unit: float, off: dict[str, Any], on: dict[str, Any]) -> None:
    pairs = [(measure(**off), measure(**on)) for _ in range(ROUNDS)]
    plain, switched = (unit * statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"| {name} | {plain:.2f} | {switched:.2f} | {ratio:.2f} |", flush=True)


def images(**switches: Any) -> float:
    def layers() -> nn.Module:
        stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        return nn.Sequential(stem, Residual(64), Residual(64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    batch = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    return fastest_window(steps_of(layers, batch, 60, **switches), 10)


def slowest(**switches: Any) -> float:
    batch = torch.randn(8, 16), torch.randint(10, (8,))
    return max(steps_of(lambda: nn.Linear(16, 10), batch, 2000, Keeper(), **switches))


def tiny(**switches: Any) -> float:
    batch = torch.randn(32, 64), torch.randint(10, (32,))
    return fastest_window(steps_of(lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), batch,
                                   3000, **switches), 100)  # fmt: skip


def main() -> int:
    torch.set_num_threads(1)
    print("| switch | off | on | on / off |\n|---|---|---|---|")
    compare("channels_last, ms a step", images, 1e3, {}, {"channels_last": True})
    compare("time_split, us a step", tiny, 1e6, {}, {"time_split": True})
    compare("collect_garbage_every=5000, slowest of 2000 steps, ms", slowest, 1e3, {}, {"collect_garbage_every": 5000})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
