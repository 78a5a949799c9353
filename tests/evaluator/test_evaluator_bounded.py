"""Validation with a streaming metric leaves nothing behind for the batches that passed."""

from __future__ import annotations

import gc

import torch
from torch import nn
from torchmetrics import classification

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

BATCHES = 1200


class Scores(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, inputs, labels, mode="tensor"):
        return self.linear(inputs), labels


class Counting(Hook):
    """Objects alive after the 200th batch and after the last one."""

    def __init__(self):
        self.alive = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx in (200, BATCHES - 1):
            gc.collect()
            kinds = [type(item) for item in gc.get_objects()]
            self.alive.append((len(kinds), sum(issubclass(kind, torch.Tensor) for kind in kinds)))


def test_a_thousand_batches_leave_no_objects(tmp_path):
    counting = Counting()
    data = [{"inputs": torch.ones(4, 2), "labels": torch.zeros(4, dtype=torch.long)}] * BATCHES
    runner = Runner(
        Scores(),
        str(tmp_path),
        val_dataloader=torch.utils.data.DataLoader(data, batch_size=None),
        val_cfg={},
        val_evaluator=classification.MulticlassAccuracy(num_classes=3, validate_args=False),
        custom_hooks=[counting],
    )
    runner.val()
    (objects, tensors), (later, more) = counting.alive
    assert more - tensors <= 2 and later - objects < 100
