"""Images augmented in a second: on the device, batch by batch, against torchvision's transforms in worker processes.

    python benchmarks/augment.py [--device cuda] [--workers 8] [--batch 256] [--size 224] [--rounds 5]

Both sides flip half of the images, erase a rectangle of half of them, and mix each batch by MixUp or CutMix.

- drivetrain: `BatchAugments` on a normalised batch that is on the device, with the labels. On a GPU under
  `torch.cuda.set_sync_debug_mode("error")`, so an augmentation that reads from the device ends the benchmark; the clock
  stops when the device is done with all batches.
- torchvision.transforms.v2: flips and erasing for each sample in the workers, MixUp and CutMix in their collate
  function, on images that lie in memory. Workers are warm: the first batches are not counted.

The table shows medians over rounds in which both sides take turns, and the ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from drivetrain.model import (
    BatchAugmentChoice,
    BatchAugments,
    BatchCutMix,
    BatchMixUp,
    BatchRandomErase,
    BatchRandomFlip,
)

CLASSES = 1000


class Images(Dataset[tuple[Tensor, Tensor]]):
    """uint8 images in memory, flipped and erased by torchvision."""

    def __init__(self, count: int, size: int) -> None:
        from torchvision.transforms import v2

        self.images = torch.randint(0, 256, (64, 3, size, size), dtype=torch.uint8)
        self.count = count
        steps = [v2.RandomHorizontalFlip(0.5), v2.ToDtype(torch.float32, scale=True), v2.RandomErasing(0.5)]
        self.transform = v2.Compose(steps)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index % 64]), torch.tensor(index % CLASSES)


class Mixing:
    """Stacks samples and mixes them by torchvision."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        self.mix = v2.RandomChoice([v2.MixUp(num_classes=CLASSES), v2.CutMix(num_classes=CLASSES)])

    def __call__(self, samples: Any) -> Any:
        images, labels = zip(*samples, strict=True)
        return self.mix(torch.stack(images), torch.stack(labels))


def in_workers(options: argparse.Namespace, batches: int) -> float:
    """Images in a second that come out of the workers."""
    warm = 2 * max(options.workers, 1)
    data = Images((batches + warm) * options.batch, options.size)
    loader: DataLoader[Any] = DataLoader(data, options.batch, num_workers=options.workers, collate_fn=Mixing())
    begin = 0.0
    for number, _ in enumerate(loader, 1):
        if number == warm:
            begin = time.perf_counter()
    return batches * options.batch / (time.perf_counter() - begin)


def on_device(options: argparse.Namespace, batches: int) -> float:
    """Images in a second that the augmentations change on the device."""
    mixing = BatchAugmentChoice([BatchMixUp(num_classes=CLASSES), BatchCutMix(num_classes=CLASSES)])
    augment = BatchAugments([BatchRandomFlip(), BatchRandomErase(0.5), mixing])
    images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    labels = torch.randint(CLASSES, (options.batch,), device=options.device)
    for _ in range(3):
        augment(images, labels)
    waits = options.device.startswith("cuda")
    if waits:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    begin = time.perf_counter()
    for _ in range(batches):
        augment(images, labels)
    if waits:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
    return batches * options.batch / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=30, help="of a round in the workers; on a GPU ten times as many")
    options = parser.parse_args()
    times = 10 if options.device != "cpu" else 1
    rounds = []
    for number in range(options.rounds):
        rounds.append((in_workers(options, options.batches), on_device(options, options.batches * times)))
        print(f"round {number + 1} of {options.rounds} done", flush=True)
    workers, device = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in rounds)
    name = torch.cuda.get_device_name() if options.device != "cpu" else platform.machine()
    print(
        f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, batches of {options.batch} at {options.size} px\n"
    )
    print("| side | images/s | ratio |\n|---|---|---|")
    print(f"| torchvision v2, {options.workers} workers | {workers:,.0f} | 1.0 |")
    print(f"| drivetrain, {options.device} | {device:,.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
