"""Parts of a run for the tests of the command line: registered once, under names that nothing else has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel, BaseTTAModel
from drivetrain.registry import DATASETS, METRICS, MODELS, TRANSFORMS, Registry

CLI_SHAPES = Registry("model", parent=MODELS, scope="clishapes")


@CLI_SHAPES.register_module()
class CliSquare(nn.Module):
    """A model of another scope."""


@MODELS.register_module()
class CliHead(nn.Module):
    def __init__(self, classes: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.fc = nn.Linear(width, classes, bias=bias)

    def forward(self, features):
        return self.fc(features)


@MODELS.register_module()
class CliNeck(nn.Module):
    def __init__(self, width: int, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1), got {rate}")
        self.drop = nn.Dropout(rate)

    def forward(self, features):
        return self.drop(features)


@MODELS.register_module()
class CliNet(BaseModel):
    """Adds `width` to what its head is built from, as detectors do: the config does not give it."""

    built = 0

    def __init__(self, width: int = 8, head=None, neck=None, data_preprocessor=None, init_cfg=None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        type(self).built += 1
        self.stem = nn.Linear(2, width)
        self.neck = MODELS.build({**neck, "width": width}) if neck else nn.Identity()
        self.head = MODELS.build({**head, "width": width})

    def forward(self, inputs, labels=None, mode="tensor"):
        logits = self.head(self.neck(self.stem(inputs).relu()))
        if mode == "loss":
            return {"loss": functional.cross_entropy(logits, labels)}
        return (logits, labels) if mode == "predict" else logits


@MODELS.register_module()
class CliMeanOfViews(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        logits, labels = data_samples_list
        return sum(logits) / len(logits), labels[0]


class _Rows(Dataset):
    METAINFO = {"classes": ("a", "b", "c")}
    metainfo = METAINFO

    def __init__(self, size: int, pipeline=(), data_root="", ann_file="") -> None:
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(size, 2, generator=generator)
        self.labels = torch.randint(3, (size,), generator=generator)
        self.steps = [TRANSFORMS.build(step) for step in pipeline if step["type"] == "CliTwoViews"]

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        sample = {"inputs": self.points[index], "labels": self.labels[index]}
        for step in self.steps:
            sample = step(sample)
        return sample


@DATASETS.register_module()
class CliPoints(_Rows):
    """Hands its other arguments on; counts how often one is made."""

    made = 0

    def __init__(self, scale: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        type(self).made += 1


@DATASETS.register_module()
class CliOpenPoints(_Rows):
    """Takes any argument, and looks at them."""

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault("size", 8)
        super().__init__(**kwargs)


@TRANSFORMS.register_module()
class CliJitter:
    def __init__(self, scale: float = 0.1, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")


@TRANSFORMS.register_module()
class CliTwoViews:
    def __call__(self, sample):
        return {"inputs": [sample["inputs"], -sample["inputs"]], "labels": [sample["labels"]] * 2}


@METRICS.register_module()
class CliHits(BaseMetric):
    def __init__(self, topk: int = 1, prefix=None) -> None:
        super().__init__(prefix=prefix)

    def process(self, data_batch, data_samples):
        logits, labels = data_samples
        self.results += (logits.argmax(1) == labels).tolist()

    def compute_metrics(self, results):
        return {"accuracy": sum(results) / len(results)}


GOOD = """\
model = dict(
    type="CliNet",
    width=8,
    head=dict(type="CliHead", classes=3),
    data_preprocessor=dict(type="BaseDataPreprocessor"),
)
train_pipeline = [dict(type="CliJitter", scale=0.1, prob=0.5)]
train_dataloader = dict(
    dataset=dict(type="CliPoints", size=32, pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    batch_size=8,
)
val_dataloader = dict(
    dataset=dict(type="CliPoints", size=16),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    batch_size=8,
)
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
val_evaluator = [dict(type="CliHits")]
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type="MultiStepLR", milestones=[1], by_epoch=True),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=2),
    checkpoint=dict(type="CheckpointHook", interval=1),
)
custom_hooks = [dict(type="EMAHook", priority="HIGH")]
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
log_processor = dict(window_size=5)
randomness = dict(seed=0)
test_dataloader = val_dataloader
test_cfg = dict()
test_evaluator = val_evaluator
"""


def good_with(changes: dict[int, str]) -> str:
    """The config above, with other texts on some lines (counted from 1); an empty one leaves the line empty."""
    lines = GOOD.splitlines()
    for number, text in changes.items():
        lines[number - 1] = text
    return "\n".join(lines) + "\n"


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, in the current folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=environment, check=False
    )
