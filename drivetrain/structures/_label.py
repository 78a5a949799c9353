"""`LabelData`: the labels of a whole sample, as indices or one-hot."""

from __future__ import annotations

import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._base import BaseDataElement


class LabelData(BaseDataElement):
    """Labels of a sample (one class or several), any fields.

    Example:
        >>> LabelData.label_to_onehot(torch.tensor([0, 2]), num_classes=4)
        tensor([1, 0, 1, 0])
    """

    __module__ = "drivetrain.structures"

    @staticmethod
    def onehot_to_label(onehot: torch.Tensor) -> torch.Tensor:
        """Indices of the ones.

        Args:
            onehot: zeros and ones, shape (num_classes,); several ones are several labels.

        Returns:
            int64, shape (number of ones,).

        Raises:
            ArgumentTypeError: no tensor.
            ArgumentError: not of one dimension, or with other values than 0 and 1.
        """
        _check_tensor(onehot, "onehot")
        if onehot.dim() != 1 or not bool(((onehot == 0) | (onehot == 1)).all()):
            raise ArgumentError(f"onehot must be of one dimension and hold zeros and ones only, got {onehot}.")
        return onehot.nonzero().flatten()

    @staticmethod
    def label_to_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Ones at the labels, zeros elsewhere.

        Args:
            label: integers in [0, num_classes), of one dimension (a single label may be a scalar).
            num_classes: number of classes.

        Returns:
            Same dtype as `label`, shape (num_classes,).

        Raises:
            ArgumentTypeError: no tensor of integers.
            ArgumentError: more than one dimension, or a label outside of [0, num_classes).
        """
        _check_tensor(label, "label")
        if label.is_floating_point() or label.is_complex() or label.dtype is torch.bool:
            raise ArgumentTypeError(f"label must hold integers, got {label.dtype}.")
        if label.dim() > 1:
            raise ArgumentError(f"label must be of one dimension, got shape {tuple(label.shape)}.")
        if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < num_classes:
            raise ArgumentError(f"labels must lie in [0, {num_classes}), got {label.tolist()}.")
        onehot = label.new_zeros(num_classes)
        onehot[label.long()] = 1
        return onehot


def _check_tensor(value: object, what: str) -> None:
    if not issubclass(type(value), torch.Tensor):
        raise ArgumentTypeError(f"{what} must be a tensor, got {type(value).__name__}.")
