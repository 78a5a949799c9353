"""Tiny data sets of generated images in the formats that the packages' shipped configs read.

``make(root)`` writes, with fixed contents: ImageNet (folders and an annotation file), COCO (boxes, polygons, a json),
ADE20K, Cityscapes and DRIVE (images and label maps). Shapes of constant colour on noise, so that losses have something
to learn and metrics are not all zero.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN, VAL = 20, 4
"""Images of each training and each validation part."""

_COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_NAMES = _COCO_NAMES.split(",")
"""The 80 classes that the shipped models predict; objects are drawn of the first five."""


def make(root: Path) -> None:
    """Write all data sets under `root` (nothing is done where they are already)."""
    if (root / "done").exists():
        return
    for number, (split, count) in enumerate([("train", TRAIN), ("val", VAL)]):
        rng = np.random.default_rng(number)
        pictures = [_picture(rng) for _ in range(count)]
        _imagenet(root / "imagenet", split, pictures)
        _coco(root / "coco", f"{split}2017", pictures)
        _segmentation(root, split, pictures)
    (root / "done").touch()


def _picture(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, list[int]]]]:
    """An image, uint8 (H, W, 3), and its objects: a class from 0 to 4 and a box [x, y, width, height] in pixels."""
    height, width = int(rng.integers(110, 150)), int(rng.integers(120, 180))
    image = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
    objects = []
    for _ in range(int(rng.integers(2, 5))):
        kind = int(rng.integers(0, 5))
        w, h = int(rng.integers(30, 70)), int(rng.integers(30, 70))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        image[y : y + h, x : x + w] = np.uint8(40) * np.array([kind, 5 - kind, kind % 3 + 1], np.uint8)
        objects.append((kind, [x, y, w, h]))
    return image, objects


def _imagenet(root: Path, split: str, pictures: list) -> None:
    folder, meta = root / split, root / "meta"
    folder.mkdir(parents=True)
    meta.mkdir(exist_ok=True)
    lines = []
    for i, (image, objects) in enumerate(pictures):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
        lines.append(f"{i:03d}.png {objects[-1][0]}")
    (meta / f"{split}.txt").write_text("\n".join(lines) + "\n")


def _coco(root: Path, split: str, pictures: list) -> None:
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for i, (image, objects) in enumerate(pictures):
        Image.fromarray(image).save(root / split / f"{i:012d}.jpg", quality=95)
        images.append({"id": i, "file_name": f"{i:012d}.jpg", "height": image.shape[0], "width": image.shape[1]})
        for kind, (x, y, w, h) in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": kind + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(COCO_NAMES, 1)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(whole))


def _segmentation(root: Path, split: str, pictures: list) -> None:
    part = {"train": "training", "val": "validation"}[split]
    for i, (image, objects) in enumerate(pictures):
        labels = np.zeros(image.shape[:2], np.uint8)
        for kind, (x, y, w, h) in objects:
            labels[y : y + h, x : x + w] = kind + 1
        vessels = np.minimum(labels, 1)
        _save(root / "ade", "images", part, f"{i:03d}.jpg", image)
        _save(root / "ade", "annotations", part, f"{i:03d}.png", labels + 1)
        _save(root / "cityscapes", "leftImg8bit", f"{split}/town", f"{i:03d}_leftImg8bit.png", image)
        _save(root / "cityscapes", "gtFine", f"{split}/town", f"{i:03d}_gtFine_labelTrainIds.png", labels)
        _save(root / "drive", "images", part, f"{i:03d}.png", image)
        _save(root / "drive", "annotations", part, f"{i:03d}_manual1.png", vessels)


def _save(root: Path, kind: str, part: str, name: str, array: np.ndarray) -> None:
    (root / kind / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(root / kind / part / name)
