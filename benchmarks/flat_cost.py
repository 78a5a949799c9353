"""A step at 1,000 and at 1,000,000, without the model: what loop, hub, histories, timers, schedules and hooks cost.

    python benchmarks/flat_cost.py --steps 1000000

One process, one thread. The model's step returns two values to log and computes nothing else; the log is written every
50 steps, three schedules and an average of the weights are on. A window of WINDOW steps counts in process time; the
early figure is the fastest tenth of the windows right after step 1,000, the late one that of the last ones. Memory is
what the process has in RAM at both places.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

WINDOW, FIRST, COUNTED = 500, 1000, 100


class Endless(Dataset):
    """One batch over and over."""

    def __init__(self, steps: int) -> None:
        self.steps, self.batch = steps, torch.zeros(1)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.batch


class Idle(BaseModel):
    """Returns what a step returns, without the step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.values = {"loss": torch.ones(()), "norm": torch.ones(())}

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> Any:
        return self.layer(inputs)

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        return self.values


class Clock(Hook):
    """Notes process time at every WINDOW-th step, and the process's memory where the early windows end."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.megabytes: list[float] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        made = runner.iter + 1
        if made >= FIRST and made % WINDOW == 0:
            self.marks.append(time.process_time())
            if len(self.marks) == COUNTED:
                self.megabytes.append(resident())

    def after_train(self, runner: Any) -> None:
        self.megabytes.append(resident())


def resident() -> float:
    """Megabytes that this process has in RAM (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        stdout, sys.stdout = sys.stdout, nowhere
        try:
            Runner(
                model=Idle(),
                work_dir=folder,
                train_dataloader=DataLoader(Endless(steps), batch_size=None),
                train_cfg={"by_epoch": False, "max_iters": steps},
                optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
                param_scheduler=[
                    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 500},
                    {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 500},
                    {"type": "CosineAnnealingMomentum", "by_epoch": False},
                ],
                default_hooks={"logger": {"type": "LoggerHook", "interval": 50}, "checkpoint": None},
                custom_hooks=[{"type": "EMAHook"}, clock],
            ).train()
        finally:
            sys.stdout = stdout
    windows = [1e6 * (end - begin) / WINDOW for begin, end in zip(clock.marks, clock.marks[1:], strict=False)]
    early, late = (statistics.quantiles(part, n=10)[0] for part in (windows[:COUNTED], windows[-COUNTED:]))
    print(f"us a step: {early:.1f} from step {FIRST:,} on, {late:.1f} up to step {steps:,}: ratio {late / early:.3f}")
    print(f"memory: {clock.megabytes[0]:.1f} MB and {clock.megabytes[1]:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
