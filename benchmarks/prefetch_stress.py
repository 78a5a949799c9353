"""Is copying ahead right, and does it hide the copies? Needs an accelerator with streams, such as a CUDA GPU.

    PYTHONPATH=. python benchmarks/prefetch_stress.py

1. 10,000 steps of the prefetcher over batches of random structure, size and memory (pinned or not), with passes that
   end early or fail, a device that lags behind the host by random times, and a model that keeps old batches: every
   checksum must be that of the synchronous path. A control without the waits must fail, or the stress proves nothing.
2. 50 epochs through the Runner, images of many sizes: reserved memory flat, losses those of `prefetch=False`.
3. `torch.cuda.set_sync_debug_mode("error")` stays silent between log points, in both.
4. The step of a residual network on images of 224 pixels, batch 256, uint8 from workers, against the same steps on a
   batch that lies on the device already (the model time).

Prints a table and exits with 1 if something is not as wanted.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.device import Prefetcher, Streams
from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.optim import AmpOptimWrapper
from drivetrain.runner import Runner
from drivetrain.structures import BaseDataElement
from drivetrain.tensors import cast, map_tensors

LOG_EVERY = 20
DTYPES = (torch.uint8, torch.float32, torch.int64, torch.bool)


class Failure(Exception):
    """What the random loader raises."""


# 1. The prefetcher alone


class RandomBatches:
    """Passes over batches of random structure, the same for the same seed. A batch begins with its number."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.bytes = torch.randint(256, (1 << 23,), dtype=torch.uint8, generator=generator)
        self.made = 0

    def one_pass(self) -> tuple[Iterator[Any], int]:
        """The batches of a pass, and after how many steps it is left."""
        size = self.chance.randrange(1, 120)
        failing = self.chance.choice((-1, -1, -1, self.chance.randrange(size)))
        left_at = self.chance.choice((10**9, 10**9, self.chance.randrange(1, size + 1)))
        plan = [(self.chance.random(), self.made + place) for place in range(size)]
        self.made += size
        return self._batches(plan, failing), left_at

    def _batches(self, plan: list[tuple[float, int]], failing: int) -> Iterator[Any]:
        for place, (seed, number) in enumerate(plan):
            if place == failing:
                raise Failure
            chance = random.Random(seed)
            yield {"number": number, "data": self._nest(chance, depth=0), "first": self._tensor(chance)}

    def _nest(self, chance: random.Random, depth: int) -> Any:
        kind = chance.randrange(6) if depth < 3 else 5
        if kind == 0:
            return {str(key): self._nest(chance, depth + 1) for key in range(chance.randrange(4))}
        if kind == 1:
            return [self._nest(chance, depth + 1) for _ in range(chance.randrange(4))]
        if kind == 2:
            return (self._nest(chance, depth + 1), "text", None, chance.random())
        if kind == 3:
            return BaseDataElement(value=self._tensor(chance), metainfo={"path": "image.png"})
        return self._tensor(chance)

    def _tensor(self, chance: random.Random) -> Tensor:
        size = 8 * int(2 ** chance.uniform(0, 14 if chance.random() < 0.95 else 19))
        start = 8 * chance.randrange((len(self.bytes) - size) // 8)
        content = self.bytes[start : start + size].clone()
        dtype = chance.choice(DTYPES)
        tensor = content > 127 if dtype is torch.bool else content.view(dtype)
        return tensor.pin_memory() if chance.random() < 0.7 else tensor


class Checksums:
    """The model: checksums of a batch before and after a random pause, and of a batch it keeps from earlier."""

    def __init__(self, steps: int, device: str, pause: bool) -> None:
        self.results = torch.zeros(steps, dtype=torch.int64, device=device)
        self.kept: deque[Any] = deque(maxlen=3)
        self.chance, self.pause = random.Random(1), pause
        self.steps: list[int] = []

    def step(self, batch: Any) -> None:
        """One step."""
        place = len(self.steps)
        self.steps.append(batch["number"])
        total = self._sum(batch)
        cycles = self.chance.choice((0, 0, 200_000, 1_000_000, 3_000_000))
        if self.pause and cycles:
            torch.cuda._sleep(cycles)
        total = total * 31 + self._sum(batch)
        if self.chance.random() < 0.1:
            self.kept.append(batch)
        if self.kept and self.chance.random() < 0.3:
            total = total * 31 + self._sum(self.kept[0])
        self.results[place] = total

    def _sum(self, batch: Any) -> Tensor:
        sums: list[Tensor] = []

        def add(tensor: Tensor) -> Tensor:
            values = tensor.view(torch.int32) if tensor.dtype is torch.float32 else tensor
            sums.append(values.sum(dtype=torch.int64))
            return tensor

        map_tensors(batch, add)
        return torch.stack(sums).sum()


class NoWaits:
    """Streams between which nobody waits: the control."""

    def __init__(self, device: torch.device) -> None:
        self.stream = Streams(device).copying
        self.copying = self.computing = self

    def wait_stream(self, stream: Any) -> None:
        """Nothing."""

    def wait_event(self, event: Any) -> None:
        """Nothing."""

    def record_event(self) -> None:
        """Nothing."""

    def __enter__(self) -> None:
        self.stream.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        self.stream.__exit__(*exc_info)


def stress(steps: int, device: str, prefetcher: Prefetcher | None) -> tuple[Checksums, list[int]]:
    """The checksums of so many steps, and memory reserved over time."""
    batches, model = RandomBatches(seed=3), Checksums(steps, device, pause=prefetcher is not None)
    reserved: list[int] = []
    while len(model.steps) < steps:
        made, left_at = batches.one_pass()
        taken = made if prefetcher is None else prefetcher.ahead(made)
        done = 0
        try:
            while done < left_at and len(model.steps) < steps:
                batch = next(taken)
                model.step(cast(batch, device) if prefetcher is None else prefetcher.moved(batch))
                done += 1
        except StopIteration:
            pass
        except Failure:
            model.steps[-1:] = [-abs(step) for step in model.steps[-1:]]
        if len(reserved) < len(model.steps) * 10 // steps:
            reserved.append(torch.cuda.memory_reserved())
    return model, reserved


def check_stress(steps: int, device: str) -> list[tuple[str, str, str, bool]]:
    def move(batch: Any) -> Any:
        return cast(batch, device, non_blocking=True)

    expected, _ = stress(steps, device, None)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.set_sync_debug_mode("error")
    got, reserved = stress(steps, device, Prefetcher(device, move))
    torch.cuda.set_sync_debug_mode("default")
    few = min(steps, 2000)
    control, _ = stress(few, device, Prefetcher(device, move, streams=NoWaits(torch.device(device))))
    equal = int((got.results == expected.results).sum())
    wrong = int((control.results != expected.results[:few]).sum())
    order = got.steps == expected.steps
    return [
        ("stressed steps equal to the synchronous path", f"{equal} of {steps}", f"{steps}", equal == steps and order),
        ("  the same without waiting (control)", f"{wrong} of {few} wrong", "> 0", wrong > 0),
        ("  reserved in each tenth of them, MiB", " ".join(str(size >> 20) for size in reserved), "", True),
    ]


# 2. and 3. Epochs of images of many sizes


class ManySizes(Dataset):
    """Images (3, 40-96, 40-96), uint8; the same in every epoch."""

    def __len__(self) -> int:
        return 320

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        height, width = torch.randint(40, 97, (2,), generator=generator).tolist()
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        return {"inputs": image, "data_samples": torch.tensor(index % 10)}


class Net(BaseModel):
    """A residual network: `depth` blocks in each of four stages."""

    def __init__(self, width: int, depth: int) -> None:
        preprocessor = {"type": "ImgDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3, "pad_size_divisor": 32}
        super().__init__(data_preprocessor=preprocessor)
        layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.AvgPool2d(3, 2, 1))
        for stage in range(4):
            for place in range(depth):
                inside = width * 2 ** max(0, stage - (place == 0))
                layers.append(Block(inside, width * 2**stage, 2 if stage and place == 0 else 1))
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width * 8, 10)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        logits = self.head(self.layers(inputs).mean((2, 3)))
        if mode != "loss":
            return logits
        labels = data_samples if torch.is_tensor(data_samples) else torch.stack(list(data_samples))
        return {"loss": functional.cross_entropy(logits, labels)}


class Block(nn.Module):
    """Two convolutions and a short cut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)])
        self.cut = nn.Conv2d(inside, outside, 1, stride, bias=False) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(y)) + self.cut(x))


class Watch(Hook):
    """Losses; memory at the end of epochs; marks of time on the device; syncs forbidden between log points."""

    priority = "VERY_HIGH"

    def __init__(self, steps: int, marks: tuple[int, ...] = (), silent: bool = False) -> None:
        self.losses = torch.zeros(steps, device="cuda")
        self.marks, self.silent = marks, silent
        self.silent_steps = 0
        self.reserved: list[int] = []
        self.events: list[torch.cuda.Event] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        step = runner.iter + 1
        self.losses[step - 1] = outputs["loss"].detach()
        if step in self.marks:
            self.events.append(torch.cuda.Event(enable_timing=True))
            self.events[-1].record()
        if self.silent and step > 3:
            self.silent_steps += torch.cuda.get_sync_debug_mode() == 2
            torch.cuda.set_sync_debug_mode("error" if step % LOG_EVERY else "default")

    def after_train_epoch(self, runner: Any) -> None:
        self.reserved.append(torch.cuda.memory_reserved())

    def milliseconds(self) -> float:
        """Time of a step between the marks."""
        torch.cuda.synchronize()
        return self.events[0].elapsed_time(self.events[1]) / (self.marks[1] - self.marks[0])


def train(model: BaseModel, dataloader: dict[str, Any], epochs: int, watch: Watch, **arguments: Any) -> None:
    dataloader["sampler"] = {"type": "DefaultSampler", "shuffle": False}
    optimizer = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "fused": True}
    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model,
            folder,
            train_dataloader=dataloader,
            train_cfg={"by_epoch": True, "max_epochs": epochs},
            optim_wrapper={"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": optimizer},
            default_hooks={"checkpoint": None, "logger": {"type": "LoggerHook", "interval": LOG_EVERY}},
            custom_hooks=[watch],
            log_level="WARNING",
            **arguments,
        ).train()


def check_epochs(epochs: int) -> list[tuple[str, str, str, bool]]:
    watches, dataset = [], ManySizes()
    steps = epochs * LOG_EVERY
    for prefetch in (False, True):
        torch.manual_seed(0)
        torch.cuda.empty_cache()
        watch = Watch(steps, silent=prefetch)
        loader = {"dataset": dataset, "batch_size": len(dataset) // LOG_EVERY, "num_workers": 2}
        train(Net(16, 1), loader, epochs, watch, prefetch=prefetch, randomness={"seed": 1, "deterministic": True})
        watches.append(watch)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    plain, ahead = watches
    equal = int((plain.losses == ahead.losses).sum())
    sizes = [size >> 10 for size in ahead.reserved]
    flat = max(sizes) == sizes[min(2, epochs - 1)]
    return [
        ("losses equal to those of prefetch=False, bit by bit", f"{equal} of {steps}", f"{steps}", equal == steps),
        (f"reserved over {epochs} epochs, KiB", f"{sizes[:4]} ... {sizes[-1]}, most {max(sizes)}",
         "flat from the third", flat),
        ("  of prefetch=False", f"... {plain.reserved[-1] >> 10}", "", True),
        ("steps under set_sync_debug_mode('error')", f"{ahead.silent_steps}", "silent", ahead.silent_steps > 0),
    ]  # fmt: skip


# 4. The time of a step


class WholeBatches(Dataset):
    """Batches (batch, 3, 224, 224), uint8, and labels; cheap to make."""

    def __init__(self, batches: int, batch: int) -> None:
        self.batches, self.batch = batches, batch
        self.images = torch.randint(256, (batch + 64, 3, 224, 224), dtype=torch.uint8)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = index % 64
        labels = torch.arange(index, index + self.batch) % 10
        return {"inputs": self.images[start : start + self.batch].clone(), "data_samples": labels}


def check_time(steps: int, batch: int, workers: int, rounds: int) -> list[tuple[str, str, str, bool]]:
    dataset = WholeBatches(steps, batch)
    times: dict[str, list[float]] = {"model": [], "ahead": [], "not ahead": []}
    for _ in range(rounds):
        times["model"].append(model_time(dataset, steps))
        for name, prefetch in (("ahead", True), ("not ahead", False)):
            watch = Watch(steps, marks=(steps // 3, steps - 1))
            loader = {"dataset": dataset, "batch_size": None, "num_workers": workers}
            train(big_net(), loader, 1, watch, prefetch=prefetch, channels_last=True, randomness={"seed": 1})
            times[name].append(watch.milliseconds())
    model = statistics.median(times["model"])
    ratios = {
        name: statistics.median(time / base for time, base in zip(measured, times["model"], strict=True))
        for name, measured in times.items()
    }
    return [
        (f"model time (batch of {batch} on the device), ms", f"{model:.2f}", "", True),
        ("step copied ahead / model time", f"{ratios['ahead']:.3f}", "<= 1.03", ratios["ahead"] <= 1.03),
        ("step with prefetch=False / model time", f"{ratios['not ahead']:.3f}", "", True),
    ]


def big_net() -> Net:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    return Net(64, 2)


def model_time(dataset: WholeBatches, steps: int) -> float:
    model = big_net().to(device="cuda", memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    wrapper = AmpOptimWrapper(dtype="bfloat16", optimizer=optimizer)
    batch = cast(dataset[0], "cuda")
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    for step in range(1, steps + 1):
        model.train_step(batch, wrapper)
        if step in (steps // 3, steps - 1):
            events[step == steps - 1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1]) / (steps - 1 - steps // 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--timed-steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=("stress", "epochs", "time"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run (no device)")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n\n| | measured | wanted | |\n|---|---|---|---|")
    checks = {
        "stress": lambda: check_stress(options.steps, "cuda"),
        "epochs": lambda: check_epochs(options.epochs),
        "time": lambda: check_time(options.timed_steps, options.batch, options.workers, options.rounds),
    }
    fine = True
    for name in options.only or checks:
        start = time.perf_counter()
        for what, measured, wanted, is_fine in checks[name]():
            print(f"| {what} | {measured} | {wanted} | {'' if is_fine else 'NOT AS WANTED'} |", flush=True)
            fine = fine and is_fine
        print(f"| ({name}: {time.perf_counter() - start:.0f} s) | | | |", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
