"""ResNet-50 on CIFAR-10: the whole job of MMEngine's first tutorial, under the import root of drivetrain.

    python examples/cifar10_resnet50.py                                        # downloads CIFAR-10
    python examples/cifar10_resnet50.py --data fashion-mnist --data-root ROOT  # without a network

With `--data fashion-mnist`, ROOT holds the four files of Fashion-MNIST, packed or not, or torchvision's layout of them.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch.nn.functional as F
import torchvision
import torchvision.transforms as transforms
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset, Subset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner


class MMResNet50(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.resnet = torchvision.models.resnet50()

    def forward(self, imgs: Tensor, labels: Tensor, mode: str) -> Any:
        x = self.resnet(imgs)
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        if mode == "predict":
            return x, labels
        return x


class Accuracy(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        score, gt = data_samples
        self.results.append({"batch_size": len(gt), "correct": (score.argmax(dim=1) == gt).sum().cpu()})

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        total_correct = sum(item["correct"] for item in results)
        total_size = sum(item["batch_size"] for item in results)
        return {"accuracy": float(100 * total_correct / total_size)}


def cifar10(root: str, train: bool) -> Dataset[Any]:
    norm_cfg = {"mean": [0.491, 0.482, 0.447], "std": [0.202, 0.199, 0.201]}
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if train else []
    pipeline = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize(**norm_cfg)])
    return torchvision.datasets.CIFAR10(root, train=train, download=True, transform=pipeline)


def fashion_mnist(root: str, train: bool) -> Dataset[Any]:
    augment = (
        [transforms.RandomCrop(32, padding=2), transforms.RandomHorizontalFlip()] if train else [transforms.Pad(2)]
    )
    pipeline = transforms.Compose(
        [transforms.Grayscale(3), *augment, transforms.ToTensor(), transforms.Normalize([0.286] * 3, [0.353] * 3)]
    )
    return torchvision.datasets.FashionMNIST(in_torchvision_layout(Path(root)), train=train, transform=pipeline)


def in_torchvision_layout(root: Path) -> Path:
    """A folder with `FashionMNIST/raw/` under it; the packed files are unpacked into a temporary one if need be."""
    if (root / "FashionMNIST" / "raw").is_dir():
        return root
    layout = Path(tempfile.gettempdir()) / "drivetrain-fashion-mnist"
    raw = layout / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for packed in root.glob("*-ubyte.gz"):
        with gzip.open(packed) as source, open(raw / packed.stem, "wb") as target:
            shutil.copyfileobj(source, target)
    for plain in root.glob("*-ubyte"):
        shutil.copy(plain, raw)
    return layout


def main(arguments: list[str] | None = None) -> float:
    """Train; returns the accuracy in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["cifar10", "fashion-mnist"], default="cifar10")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--work-dir", default="work_dirs/cifar10_resnet50")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=None, help="train and validate on so many images only")
    options = parser.parse_args(arguments)

    make = cifar10 if options.data == "cifar10" else fashion_mnist
    datasets = {train: make(options.data_root, train) for train in (True, False)}
    if options.images is not None:
        datasets = {train: Subset(data, range(options.images)) for train, data in datasets.items()}

    runner = Runner(
        model=MMResNet50(),
        work_dir=options.work_dir,
        train_dataloader=DataLoader(datasets[True], batch_size=32, shuffle=True, num_workers=2),
        optim_wrapper={"optimizer": {"type": SGD, "lr": 0.001, "momentum": 0.9}},
        train_cfg={"by_epoch": True, "max_epochs": options.epochs, "val_interval": 1},
        val_dataloader=DataLoader(datasets[False], batch_size=32, shuffle=False, num_workers=2),
        val_cfg={},
        val_evaluator={"type": Accuracy},
    )
    runner.train()
    return float(runner.message_hub.get_scalar("val/accuracy").current())


if __name__ == "__main__":
    main()
