"""Train a small ResNet on Fashion-MNIST: three epochs, two CPU cores, above 91 % on the test set.

    python examples/fashion_mnist.py --data-root path/to/fashion-mnist

`--data-root` holds the four original files (`train-images-idx3-ubyte.gz` and so on, packed or unpacked).
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def read_idx(root: Path, name: str) -> Tensor:
    """One IDX file as a uint8 tensor: four bytes of magic (the last counts the dimensions), the sizes, the data."""
    packed = root / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (root / name).read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=dimensions, offset=4)
    array = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(array.reshape(shape).copy())


class FashionMNIST(Dataset[dict[str, Any]]):
    """Images uint8 (1, 28, 28); in training, half of them are mirrored, unless `flip` is off."""

    METAINFO = {"classes": CLASSES}

    def __init__(self, root: str, train: bool, flip: bool = True) -> None:
        part = "train" if train else "t10k"
        self.images = read_idx(Path(root), f"{part}-images-idx3-ubyte").unsqueeze(1)
        self.labels = read_idx(Path(root), f"{part}-labels-idx1-ubyte").long()
        self.flips = train and flip

    @property
    def metainfo(self) -> dict[str, Any]:
        return self.METAINFO

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index]
        if self.flips and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return {"inputs": image, "labels": self.labels[index]}


def conv(channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(channels)
    )


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels_in, channels, stride=stride), conv(channels, channels)
        self.shortcut = nn.Identity() if channels_in == channels else conv(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


class SmallResNet(BaseModel):
    """Bytes come in, are moved to the device as bytes and normalised there by the data preprocessor."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(data_preprocessor={"type": "ImgDataPreprocessor", "mean": [72.9], "std": [90.0]})
        self.stem = conv(1, width)
        self.stages = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head = nn.Linear(4 * width, len(CLASSES))

    def forward(self, inputs: Tensor, labels: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        logits = self.head(self.stages(functional.relu(self.stem(inputs))).mean((2, 3)))
        if mode == "loss":
            return {"loss": functional.cross_entropy(logits, labels)}
        return (logits, labels) if mode == "predict" else logits


class Accuracy(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        logits, labels = data_samples
        self.results.append(((logits.argmax(1) == labels).sum(), len(labels)))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"accuracy": 100 * int(sum(hits for hits, _ in results)) / sum(size for _, size in results)}


def build_runner(options: argparse.Namespace) -> Runner:
    def loader(train: bool) -> dict[str, Any]:
        return {
            "dataset": FashionMNIST(options.data_root, train),
            "sampler": {"type": "DefaultSampler", "shuffle": train},
            "batch_size": 128 if train else 500,
            "num_workers": options.workers,
            "persistent_workers": options.workers > 0,
            "collate_fn": {"type": "default_collate"},
        }

    return Runner(
        model={"type": SmallResNet},  # built by the runner, after seeding
        work_dir=options.work_dir,
        train_dataloader=loader(train=True),
        val_dataloader=loader(train=False),
        train_cfg={"by_epoch": True, "max_epochs": options.epochs},
        val_cfg={},
        val_evaluator=Accuracy(),
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 200},
            {"type": "CosineAnnealingLR", "by_epoch": True, "convert_to_iter_based": True},
        ],
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": 100},
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "accuracy", "max_keep_ckpts": 1},
        },
        custom_hooks=[{"type": "EMAHook", "momentum": 0.02, "update_buffers": True}] if options.ema else None,
        randomness={"seed": options.seed},
        precision=options.precision,
        experiment_name="fashion_mnist",
    )


@torch.no_grad()
def raw_accuracy(runner: Runner) -> float:
    """Test accuracy in percent of the weights in training, where validation sees their average."""
    runner.model.eval()
    for batch in runner.val_dataloader:
        runner.val_evaluator.process(data_samples=runner.model.val_step(batch), data_batch=batch)
    return float(runner.val_evaluator.evaluate(len(runner.val_dataloader.dataset))["accuracy"])


def main(arguments: list[str] | None = None) -> float:
    """Train; returns the test accuracy in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder with the four files of Fashion-MNIST")
    parser.add_argument("--work-dir", default="work_dirs/fashion_mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ema", action="store_true", help="validate an average of the weights, and show both")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    options = parser.parse_args(arguments)
    runner = build_runner(options)
    start = time.perf_counter()
    runner.train()
    accuracy = float(runner.message_hub.get_scalar("val/accuracy").current())
    took = f"{options.epochs} epochs, {time.perf_counter() - start:.0f} s"
    print(f"seed {options.seed}, {options.precision}: {accuracy:.2f} % after {took}")
    if options.ema:
        print(f"  of the average: {accuracy:.2f} %, of the weights in training: {raw_accuracy(runner):.2f} %")
    return accuracy


if __name__ == "__main__":
    main()
