"""Batch augmentation inside a data preprocessor: find the images' targets in a batch, and put the new ones there."""

from __future__ import annotations

from typing import Any

import torch

from drivetrain.errors import BatchError

from ._base import BatchAugment
from ._together import BatchAugments

_NAMES = ("data_samples", "labels", "label", "targets", "target", "gt_label")


def batch_augmentation(batch_augments: Any) -> BatchAugment | None:
    """The augmentation that an argument `batch_augments` describes.

    Args:
        batch_augments: None, an augmentation, its config, or a list of either.

    Raises:
        ArgumentError: augmentations do not go together.
        ArgumentTypeError: it is something else.
    """
    if batch_augments is None or hasattr(batch_augments, "plan"):
        return batch_augments
    if hasattr(batch_augments, "keys"):
        batch_augments = [batch_augments]
    parts = BatchAugments(batch_augments)
    # One alone needs no sequence around it; its `close_at` and its switch are then the user's own object's.
    return parts.parts[0] if len(parts.parts) == 1 else parts


def augment_batch(augment: BatchAugment, batch: dict[str, Any], came: Any) -> dict[str, Any]:
    """A batch with augmented images and targets.

    Args:
        augment: the augmentation.
        batch: dict with `inputs`, images (N, C, H, W) on their device, and at most one of `data_samples`, `labels`,
            `label`, `targets`, `target`, `gt_label`.
        came: the batch as it came; where its images are a list, they tell what each fills of its canvas.

    Raises:
        BatchError: there are several kinds of targets, or they are of a form that cannot be augmented.
    """
    names = [name for name in _NAMES if batch.get(name) is not None]
    if len(names) > 1:
        raise BatchError(
            f"the batch has targets under {' and '.join(map(repr, names))}, and it is not clear which go with the "
            "augmented images. Put all into data_samples, or call the augmentation yourself: augment(inputs, targets)."
        )
    images = came["inputs"]
    sizes = None if torch.is_tensor(images) else [tuple(image.shape[-2:]) for image in images]
    inputs, targets = augment(batch["inputs"], batch[names[0]] if names else None, sizes=sizes)
    return {**batch, "inputs": inputs, **({names[0]: targets} if names else {})}
