"""The demo's data, model and metric: what a user of the engine writes."""

from __future__ import annotations

import gzip
import io
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel, Sequential

CLASSES = tuple("0123456789")


def load_digits() -> tuple[Tensor, Tensor]:
    """The digits shipped with the package: images uint8 (1797, 1, 8, 8) of 0..16, labels int64 (1797,)."""
    packed = resources.files("drivetrain.cli").joinpath("data/digits.csv.gz").read_bytes()
    table = np.loadtxt(io.StringIO(gzip.decompress(packed).decode()), delimiter=",", dtype=np.int64)
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).reshape(-1, 1, 8, 8)
    return images, torch.from_numpy(table[:, -1])


def split_digits(labels: Tensor, train_share: float = 0.8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices of a training and a validation part, with the same share of every class in both."""
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        cut = round(train_share * len(members))
        parts[0].append(members[:cut])
        parts[1].append(members[cut:])
    return torch.cat(parts[0]), torch.cat(parts[1])


class Digits(Dataset[dict[str, Any]]):
    """One part of the digits; in training, each image is shifted by up to one pixel.

    The shift comes from torch's generator, which the engine seeds for every sample anew: the same sample in the same
    epoch is shifted the same way, whatever the number of workers.

    Args:
        train: the training part, with shifts, or the validation part.
    """

    METAINFO = {"classes": CLASSES}

    def __init__(self, train: bool) -> None:
        images, labels = load_digits()
        chosen = split_digits(labels)[0 if train else 1]
        self.images, self.labels, self.train = images[chosen], labels[chosen], train

    @property
    def metainfo(self) -> dict[str, Any]:
        """The names of the classes."""
        return self.METAINFO

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index]
        if self.train:
            top, left = torch.randint(3, (2,)).tolist()
            image = functional.pad(image, (1, 1, 1, 1))[:, top : top + 8, left : left + 8]
        return {"inputs": image, "labels": self.labels[index]}


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut: the basic block of He et al., "Deep Residual Learning" (2015)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H / stride, W / stride) of (N, channels_in, H, W)."""
        return functional.relu(self.body(x) + self.shortcut(x))


class SmallResNet(BaseModel):
    """A residual network for small images.

    Args:
        in_channels: channels of an image.
        width: channels of the first stage; each of the two further stages doubles them and halves the image.
        classes: number of classes.
        data_preprocessor: what moves and normalises a batch.
    """

    def __init__(
        self, in_channels: int = 1, width: int = 32, classes: int = 10, data_preprocessor: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor, init_cfg={"type": "Kaiming", "layer": "Conv2d", "mode": "fan_out"}
        )
        self.net = Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _Block(width, width, 1),
            _Block(width, 2 * width, 2),
            _Block(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )

    def forward(  # type: ignore[override]
        self, inputs: Tensor, labels: Tensor | None = None, data_samples: Any = None, mode: str = "tensor"
    ) -> Any:
        """Logits, losses or predictions.

        Args:
            inputs: images, float (N, C, H, W).
            labels: classes, int64 (N,).
            data_samples: not used.
            mode: 'loss' gives a dict of losses, 'predict' the pair (logits, labels), 'tensor' the logits.
        """
        logits = self.net(inputs)
        if mode == "loss":
            return {"loss": functional.cross_entropy(logits, labels)}  # type: ignore[arg-type]
        return (logits, labels) if mode == "predict" else logits


class Accuracy(BaseMetric):
    """Share of images whose highest logit is that of their class."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Count the hits of one batch, on the device."""
        logits, labels = data_samples
        self.results.append(((logits.argmax(1) == labels).sum(), len(labels)))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """The share over all batches."""
        hits = sum(int(count) for count, _ in results)
        return {"accuracy": hits / sum(size for _, size in results)}
