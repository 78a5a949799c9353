"""Makes the pictures of docs/data-on-the-device.md: a batch of Fashion-MNIST before and after each augmentation.

`python docs/figures/data_on_the_device.py --data-root path/to/fashion-mnist` (needs pillow).
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from drivetrain.model import BatchCutMix, BatchMixUp, BatchMosaic, BatchRandomErase, BatchRandomFlip, BatchRandomResize

HERE = Path(__file__).parent
SAMPLES, SIDE, TEXT = 6, 112, 116
COLOURS = ((230, 85, 60), (60, 140, 230), (70, 170, 90), (200, 150, 30), (150, 90, 200))


def garments(root: Path, count: int) -> Tensor:
    """The first images of the test set, float (count, 1, 28, 28) in [0, 1]."""
    packed = gzip.decompress((root / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(packed, np.uint8, count * 784, 16).reshape(count, 1, 28, 28)
    return torch.from_numpy(pixels.copy()).float() / 255


def with_labels(images: Tensor) -> tuple[Tensor, Tensor]:
    """One garment a sample, tinted by its class, (N, 3, 56, 56), and the classes."""
    labels = torch.arange(SAMPLES) % len(COLOURS)
    tint = torch.tensor(COLOURS)[labels].view(-1, 3, 1, 1) / 255
    large = torch.nn.functional.interpolate(images[:SAMPLES], scale_factor=2)
    return large * (0.4 + 0.6 * tint), labels


def with_boxes(images: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Two to four garments a sample on a ground of its own, (N, 3, 96, 96), and a box for each."""
    generator = torch.Generator().manual_seed(7)
    ground = torch.tensor(COLOURS)[torch.arange(SAMPLES) % len(COLOURS)].view(-1, 3, 1, 1) / 255 * 0.35
    scenes = ground.repeat(1, 1, 96, 96)
    targets, number = [], 0
    for scene in scenes:
        boxes = []
        for quarter in torch.randperm(4, generator=generator)[: 2 + number % 3].tolist():
            size = int(torch.randint(28, 44, (), generator=generator))
            y = quarter // 2 * 48 + int(torch.randint(0, 49 - size, (), generator=generator))
            x = quarter % 2 * 48 + int(torch.randint(0, 49 - size, (), generator=generator))
            garment = torch.nn.functional.interpolate(images[number % len(images)][None], size=(size, size))[0]
            scene[:, y : y + size, x : x + size] = scene[:, y : y + size, x : x + size].maximum(garment)
            boxes.append([x, y, x + size, y + size])
            number += 1
        targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.arange(len(boxes))})
    return scenes, targets


def tile(image: Tensor, target: Any, side: int = SIDE) -> Image.Image:
    """One sample; its boxes, those that are hidden in grey, or its labels as a bar of their shares."""
    pixels = (image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    scale = side / max(pixels.shape[:2])
    height, width = (round(length * scale) for length in pixels.shape[:2])
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    picture.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (0, 0))
    draw = ImageDraw.Draw(picture)
    if type(target) is dict:
        seen = target.get("visible", torch.ones(len(target["boxes"]), dtype=torch.bool))
        pairs = zip((target["boxes"] * scale).tolist(), seen.tolist(), strict=True)
        for box, visible in sorted(pairs, key=lambda pair: pair[1]):
            box = [min(value, limit - 1) for value, limit in zip(box, (width, height) * 2, strict=True)]
            draw.rectangle(box, outline=(90, 230, 90) if visible else (150, 150, 150), width=2 if visible else 1)
        return picture
    shares = target if target.is_floating_point() else torch.nn.functional.one_hot(target, len(COLOURS)).float()
    left = 0.0
    for share, colour in zip(shares.tolist(), COLOURS, strict=True):
        if share > 0.005:
            draw.rectangle([left * SIDE, SIDE - 10, (left + share) * SIDE, SIDE], fill=colour)
        left += share
    return picture


def grid(rows: list[tuple[str, Tensor, Any]]) -> Image.Image:
    """A row for each augmentation, its name on the left."""
    step = SIDE + 6
    picture = Image.new("RGB", (TEXT + SAMPLES * step, len(rows) * step), "white")
    draw = ImageDraw.Draw(picture)
    for row, (name, images, targets) in enumerate(rows):
        draw.text((4, row * step + SIDE // 2 - 8), name, fill="black")
        largest = max(96, *images.shape[-2:]) if images.shape[-1] != 56 else 56
        for column in range(SAMPLES):
            side = round(SIDE * max(images.shape[-2:]) / largest) if largest != 56 else SIDE
            picture.paste(tile(images[column], targets[column], side), (TEXT + column * step, row * step))
    return picture.quantize(128)


def main() -> None:
    """Write both pictures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, type=Path)
    images = garments(parser.parse_args().data_root, 24)
    torch.manual_seed(5)
    batch, labels = with_labels(images)
    scenes, targets = with_boxes(images)
    classes = len(COLOURS)
    of_labels = {
        "BatchMixUp": BatchMixUp(alpha=1.0, num_classes=classes),
        "BatchCutMix": BatchCutMix(num_classes=classes),
        "BatchRandomFlip": BatchRandomFlip(0.5, 0.5),
        "BatchRandomErase": BatchRandomErase(0.8, value=1.0),
    }
    of_boxes = {
        "BatchRandomFlip": BatchRandomFlip(0.5, 0.5),
        "BatchRandomErase": BatchRandomErase(1.0, scale=(0.1, 0.33), value=1.0, min_visible=0.3),
        "BatchRandomResize": BatchRandomResize([(64, 96)]),
        "BatchMosaic": BatchMosaic(scale=(0.7, 0.7), pad_value=0.9, min_visible=0.3),
    }
    rows = [("before", batch, labels)] + [(name, *augment(batch, labels)) for name, augment in of_labels.items()]
    grid(rows).save(HERE / "data-on-the-device-labels.png", optimize=True)
    rows = [("before", scenes, targets)] + [(name, *augment(scenes, targets)) for name, augment in of_boxes.items()]
    grid(rows).save(HERE / "data-on-the-device-boxes.png", optimize=True)


if __name__ == "__main__":
    main()
