"""Throughput on one GPU: drivetrain's Runner against the best hand-written loop, both in one run.

    PYTHONPATH=. python benchmarks/throughput.py [--only mlp resnet18 resnet50] [--rounds 2] [--seconds 6]

Workloads: a tiny MLP (launch-bound), ResNet-18 on 32 px (batch 512), ResNet-50 on 224 px images (batch 256);
the ResNets in bf16 and channels_last, bytes loaded by workers and normalised on the device. The loop by hand copies
the next batch on a side stream, normalises, runs forward under autocast, backward and a fused SGD; with compile, its
forward and loss are compiled. Rates are medians of windows; ratios compare medians of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

MEAN, STD = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
WORKERS = 14


class Bytes(Dataset[dict[str, Any]]):
    """Images as bytes that lie ready in memory: the loader's own work is collating."""

    def __init__(self, pixels: int, size: int = 5_000_000) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (256, 3, pixels, pixels), dtype=torch.uint8, generator=generator)
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.images[index % 256], "labels": index % 1000}


class Vectors(Dataset[dict[str, Any]]):
    """Batches of 64 vectors, ready made."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            {
                "inputs": torch.randn(64, 32, generator=generator),
                "labels": torch.randint(10, (64,), generator=generator),
            }
            for _ in range(64)
        ]

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batches[index % 64]


def network(name: str) -> nn.Module:
    if name == "mlp":
        layers = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, 10))
    import torchvision

    if name == "resnet18":
        net = torchvision.models.resnet18(num_classes=1000)
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        return net
    return torchvision.models.resnet50()


WORK = {"mlp": (None, 64, False), "resnet18": (32, 512, True), "resnet50": (224, 256, True)}


class Net(BaseModel):
    """A classifier; images are normalised by the data preprocessor."""

    def __init__(self, name: str) -> None:
        images = {"type": "ImgDataPreprocessor", "mean": MEAN, "std": STD}
        super().__init__(data_preprocessor=images if name != "mlp" else None)
        self.net = network(name)

    def forward(self, inputs: Tensor, labels: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        logits = self.net(inputs)
        return {"loss": functional.cross_entropy(logits, labels)} if mode == "loss" else logits


def make_loader(name: str) -> DataLoader[Any]:
    pixels, batch, _ = WORK[name]
    if pixels is None:
        return DataLoader(Vectors(), batch_size=None, pin_memory=True)
    return DataLoader(
        Bytes(pixels), batch_size=batch, num_workers=WORKERS, pin_memory=True, drop_last=True, prefetch_factor=4
    )


class Clock:
    """Counts steps; after a warm-up, times windows until the seconds are over. Synchronises at windows' ends only."""

    def __init__(self, warmup: int, window: int, seconds: float) -> None:
        self.warmup, self.window, self.seconds = warmup, window, seconds
        self.steps, self.spans = 0, []
        self.start = self.mark = 0.0

    def tick(self) -> bool:
        """Count a step; True when the time is over."""
        self.steps += 1
        done = self.steps - self.warmup
        if done < 0 or done % self.window:
            return False
        torch.cuda.synchronize()
        now = time.perf_counter()
        if done == 0:
            self.start = now
        else:
            self.spans.append((now - self.mark) / self.window)
        self.mark = now
        return done > 0 and now - self.start >= self.seconds

    @property
    def median(self) -> float:
        return statistics.median(self.spans)


class ClockHook(Hook):
    """Ticks after each step and ends the run when the time is over."""

    priority = "LOWEST"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.clock.tick():
            runner.train_loop.stop_training = True


def by_hand(name: str, clock: Clock, compiled: bool) -> None:
    """The best loop we can write for the same work."""
    _, _, images = WORK[name]
    model = network(name).cuda()
    if images:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    mean, std = (torch.tensor(value, device="cuda").view(1, 3, 1, 1) for value in (MEAN, STD))

    def loss_of(inputs: Tensor, labels: Tensor) -> Tensor:
        if images:
            inputs = ((inputs.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        return functional.cross_entropy(model(inputs), labels)

    step = torch.compile(loss_of) if compiled else loss_of
    side = torch.cuda.Stream()

    def fetch(iterator: Any) -> Any:
        batch = next(iterator)
        with torch.cuda.stream(side):
            return {key: value.cuda(non_blocking=True) for key, value in batch.items()}

    iterator = iter(make_loader(name))
    following = fetch(iterator)
    while True:
        torch.cuda.current_stream().wait_stream(side)
        batch = following
        for value in batch.values():
            value.record_stream(torch.cuda.current_stream())
        following = fetch(iterator)
        with torch.autocast("cuda", torch.bfloat16, enabled=images):
            loss = step(batch["inputs"], batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if clock.tick():
            return


def by_runner(name: str, clock: Clock, **switches: Any) -> None:
    """The same work through the Runner, with default hooks, saving left out."""
    _, _, images = WORK[name]
    wrapper: dict[str, Any] = {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "fused": True}}
    if images:
        wrapper |= {"type": "AmpOptimWrapper", "dtype": "bfloat16"}
    with tempfile.TemporaryDirectory() as work_dir:
        runner = Runner(
            model=Net(name),
            work_dir=work_dir,
            train_dataloader=make_loader(name),
            train_cfg={"by_epoch": False, "max_iters": 10_000_000},
            optim_wrapper=wrapper,
            default_hooks={"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 50}},
            custom_hooks=[ClockHook(clock)],
            channels_last=images,
            randomness={"seed": 0},
            log_level="ERROR",
            **switches,
        )
        runner.train()
        del runner.train_loop.dataloader_iterator._iterator


def variants(name: str) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "by hand": lambda clock: by_hand(name, clock, False),
        "Runner": lambda clock: by_runner(name, clock),
    }
    if name == "mlp":
        rows["Runner graph=True"] = lambda clock: by_runner(name, clock, graph=True)
        return rows
    rows["by hand, compiled"] = lambda clock: by_hand(name, clock, True)
    rows["Runner compile=True"] = lambda clock: by_runner(name, clock, compile=True)
    return rows


def measure(name: str, rounds: int, seconds: float) -> None:
    batch = WORK[name][1]
    window, warmup = (200, 400) if name == "mlp" else (20, 60)
    medians: dict[str, list[float]] = {}
    for _ in range(rounds):
        for row, run in variants(name).items():
            clock = Clock(warmup, window, seconds)
            try:
                run(clock)
                medians.setdefault(row, []).append(clock.median)
                print(f"  {name} {row}: {1e6 * clock.median:.0f} us/step", flush=True)
            except Exception as error:
                print(f"  {name} {row}: {type(error).__name__}: {error}", flush=True)
            torch.cuda.empty_cache()
    print(f"\n{name}: median of {rounds} rounds")
    for row, values in medians.items():
        base = medians.get("by hand, compiled" if "compile" in row else "by hand", values)
        ratios = [there / here for there, here in zip(base, values, strict=False)]
        rate = batch / statistics.median(values)
        micro = 1e6 * statistics.median(values)
        print(f"  {row:22} {micro:10.0f} us/step {rate:12,.0f} samples/s   x{statistics.median(ratios):.3f} of by hand")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(WORK), default=list(WORK))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run (no device)")
        return
    warnings.simplefilter("ignore")
    torch.backends.cudnn.benchmark = True
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name in options.only:
        measure(name, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
