"""One training run of 100 steps under one engine, for comparison bit by bit. Engines differ by their import root alone.

    python run.py --engine drivetrain --by epoch --workers 0 --out drivetrain.pt

Writes the losses, gradient norms and learning rates of every step, the ids in their order, and the final weights.
"""

from __future__ import annotations

import argparse
import importlib
import random
import tempfile
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

STEPS = 100


class Noisy(Dataset):
    """60 images; each fetch adds noise from all three generators."""

    METAINFO = {"classes": list("abcd")}
    metainfo = METAINFO

    def __init__(self, size):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(size, 3, 12, 12, generator=generator)
        self.labels = torch.randint(4, (size,), generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        noise = 0.1 * torch.randn(3, 12, 12) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return {"inputs": self.images[index] + noise, "labels": self.labels[index], "ids": int(index)}


def make_classes(engine):
    model_room = importlib.import_module(f"{engine}.model")
    evaluator_room = importlib.import_module(f"{engine}.evaluator")
    hooks_room = importlib.import_module(f"{engine}.hooks")

    class Net(model_room.BaseModel):
        """conv-BN twice, dropout, linear; initialised by init_cfg."""

        def __init__(self):
            super().__init__(init_cfg=[{"type": "Kaiming", "layer": "Conv2d"}, {"type": "Xavier", "layer": "Linear"}])
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            )  # fmt: skip
            self.drop = nn.Dropout(0.1)
            self.head = nn.Linear(16, 4)

        def forward(self, inputs, labels, ids=None, mode="tensor"):
            logits = self.head(self.drop(self.body(inputs).mean((2, 3))))
            if mode == "loss":
                return {"loss_ce": functional.cross_entropy(logits, labels), "loss_reg": [1e-3 * logits.square()]}
            return (logits, labels) if mode == "predict" else logits

    class Accuracy(evaluator_room.BaseMetric):
        def process(self, data_batch, data_samples):
            logits, labels = data_samples
            self.results.append((int((logits.argmax(1) == labels).sum()), len(labels)))

        def compute_metrics(self, results):
            return {"accuracy": sum(hit for hit, _ in results) / sum(size for _, size in results)}

    class Record(hooks_room.Hook):
        priority = "LOWEST"

        def __init__(self):
            self.rows, self.metrics = [], []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            hub = runner.message_hub
            norm = hub.get_scalar("train/grad_norm").current() if "train/grad_norm" in hub.log_scalars else 0.0
            lr = runner.optim_wrapper.get_lr()["lr"][0]
            ids = [int(i) for i in data_batch["ids"]]
            self.rows.append((outputs["loss"].item(), outputs["loss_ce"].item(), float(norm), lr, ids))

        def after_val_epoch(self, runner, metrics=None):
            self.metrics.append(dict(metrics))

    return Net, Accuracy, Record


def train(engine, by, workers, work_dir):
    runner_class = importlib.import_module(f"{engine}.runner").Runner
    net, accuracy, record = make_classes(engine)
    torch.set_num_threads(1)
    recorder = record()

    def loader(shuffle):
        return {
            "dataset": Noisy(60),
            "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
            "batch_size": 3,
            "num_workers": workers,
            "collate_fn": {"type": "default_collate"},
        }

    by_epoch = by == "epoch"
    randomness = {"seed": 5}
    if engine == "drivetrain":
        randomness["streams"] = "worker"
    runner = runner_class(
        model=net(),
        work_dir=work_dir,
        train_dataloader=loader(True),
        val_dataloader=loader(False),
        val_cfg={},
        val_evaluator=[accuracy()],
        train_cfg={"by_epoch": True, "max_epochs": STEPS // 20, "val_interval": 2}
        if by_epoch
        else {"by_epoch": False, "max_iters": STEPS, "val_interval": 30},
        optim_wrapper={
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
            "accumulative_counts": 3,
            "clip_grad": {"max_norm": 0.5},
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 10},
            {"type": "CosineAnnealingLR", "by_epoch": by_epoch, "T_max": 5 if by_epoch else STEPS, "eta_min": 1e-4},
        ],
        custom_hooks=[recorder],
        randomness=randomness,
        log_level="WARNING",
    )
    runner.train()
    weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
    return {"rows": recorder.rows, "metrics": recorder.metrics, "weights": weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["drivetrain", "mmengine"], required=True)
    parser.add_argument("--by", choices=["epoch", "iter"], default="epoch")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as work_dir:
        torch.save(train(options.engine, options.by, options.workers, work_dir), options.out)


if __name__ == "__main__":
    main()
