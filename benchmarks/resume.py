"""Resume at step 1,000,000: seconds to the first batch, samples fetched for it, and the size of the checkpoint.

    python benchmarks/resume.py [--steps 1000000] [--rounds 5]

A small model (2 MB of state, most of it a buffer) trains on a synthetic set that it does not come to the end of, and
saves at step 1; and from 1,000 steps before the last on, up to that, and saves there. Then runs start from the
beginning and from the last checkpoint, by turns, with no worker and with two, from a shuffling and from an endless
sampler. The clock runs from the hook point `before_train`, with the checkpoint loaded, to the first
`before_train_iter`. The table shows medians, how many samples were fetched until then in this process, and the size
of the last checkpoint over that of the first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

BATCH, LEAD = 2, 1000


class Numbers(Dataset[Any]):
    """Samples made of their index; counts how many were fetched in this process."""

    def __init__(self, count: int) -> None:
        self.count, self.fetched = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        self.fetched += 1
        return torch.full((4,), float(index % 97))


class Net(BaseModel):
    """One layer, and a buffer that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.register_buffer("rest", torch.zeros(500_000))

    def forward(self, *samples: Tensor, mode: str = "tensor") -> Any:
        return {"loss": self.layer(torch.stack(samples)).square().mean() * 1e-6}


class Left(Exception):
    """The first batch has come."""


class FirstBatch(Hook):
    """Measures the way to the first batch, and leaves."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        self.begin = time.perf_counter()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.seconds = time.perf_counter() - self.begin
        raise Left


class SaveFirst(Hook):
    """Saves behind step 1."""

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter == 0:
            runner.save_checkpoint(runner.work_dir, "first.pth", by_epoch=False)


def build(folder: Path, sampler: str, workers: int, steps: int, hooks: list[Hook], **changes: Any) -> Runner:
    torch.manual_seed(0)
    return Runner(
        model=Net(),
        work_dir=str(folder),
        train_dataloader={
            "dataset": Numbers((steps + 1000) * BATCH),
            "sampler": {"type": sampler, "shuffle": True},
            "batch_size": BATCH,
            "num_workers": workers,
        },
        train_cfg={"by_epoch": False, "max_iters": steps + (500 if "load_from" in changes or not changes else 0)},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 1e-6}},
        custom_hooks=hooks,
        randomness={"seed": 0},
        log_level="ERROR",
        visualizer=None,
        capsule=False,
        **changes,
    )


def trained(folder: Path, sampler: str, steps: int) -> tuple[Path, Path]:
    """The checkpoints behind the first and the last step."""
    last = {"type": "CheckpointHook", "interval": steps, "by_epoch": False}
    hooks = {"checkpoint": last, "logger": {"type": "LoggerHook", "interval": 50}}
    build(folder, sampler, 0, 1, [SaveFirst()], default_hooks={"checkpoint": None}).train()
    runner = build(folder, sampler, 0, steps, [], default_hooks=hooks)
    runner.train_loop.load_position(0, steps - LEAD, None)
    runner.train()
    return folder / "first.pth", folder / f"iter_{steps}.pth"


def way_to_first_batch(folder: Path, sampler: str, workers: int, steps: int, **changes: Any) -> tuple[float, int]:
    """Seconds, and samples fetched."""
    hook = FirstBatch()
    runner = build(folder, sampler, workers, steps, [hook], **changes)
    with contextlib.suppress(Left):
        runner.train()
    data: Any = runner.train_dataloader.dataset
    return hook.seconds, data.fetched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samplers", nargs="+", default=["DefaultSampler", "InfiniteSampler"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, one thread, load {os.getloadavg()[0]:.1f}\n", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for sampler in options.samplers:
            first, last = trained(Path(scratch) / sampler, sampler, options.steps)
            size = os.path.getsize(last) / os.path.getsize(first)
            for workers in (0, 2):
                times: dict[str, list[float]] = {"begin": [], "resumed": []}
                fetched = 0
                for _ in range(options.rounds):
                    place = Path(scratch) / "start"
                    times["begin"].append(way_to_first_batch(place, sampler, workers, options.steps)[0])
                    resumed = {"load_from": str(last), "resume": True}
                    seconds, fetched = way_to_first_batch(place, sampler, workers, options.steps, **resumed)
                    times["resumed"].append(seconds)
                begin, again = (statistics.median(times[name]) for name in ("begin", "resumed"))
                numbers = f"{begin * 1e3:.1f} | {again * 1e3:.1f} | {again / begin:.2f} | {fetched} | {size:.4f}"
                rows.append(f"| {sampler} | {workers} | {numbers} |")
                print(rows[-1], flush=True)
    print(f"\n| sampler | workers | first batch, ms | at step {options.steps:,}, ms | ratio | fetched | file |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
