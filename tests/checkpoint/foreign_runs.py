"""Small runs that MMEngine and drivetrain make alike: one saves in the middle, and either goes on from there.

`benchmarks/parity/resume.py` runs them under both engines; the files in `data/` were written by it under MMEngine.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

CASES = ("epochs", "two_optimizers", "amp")
SAVED = {"epochs": "epoch_2.pth", "two_optimizers": "iter_7.pth", "amp": "epoch_2.pth"}
"""The file in the middle of each run."""
LAST = {"epochs": "epoch_4.pth", "two_optimizers": "iter_14.pth", "amp": "epoch_4.pth"}


class Points(Dataset):
    """24 points of 4 numbers in 3 classes."""

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.points = torch.randn(24, 4, generator=generator)
        self.labels = torch.randint(3, (24,), generator=generator)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.points[index], "labels": self.labels[index]}


def make_parts(engine: str) -> dict[str, Any]:
    """Model classes, metric and hook, on the base classes of `engine` ('mmengine' or 'drivetrain')."""
    model_room = importlib.import_module(f"{engine}.model")
    evaluator_room = importlib.import_module(f"{engine}.evaluator")
    hooks_room = importlib.import_module(f"{engine}.hooks")

    class Net(model_room.BaseModel):
        """Linear, batch norm, linear."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 5)
            self.norm = nn.BatchNorm1d(5)
            self.head = nn.Linear(5, 3)

        def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
            logits = self.head(functional.relu(self.norm(self.body(inputs))))
            if mode == "loss":
                return {"loss": functional.cross_entropy(logits, labels)}
            return (logits, labels) if mode == "predict" else logits

    class TwoSteps(Net):
        """Body and head have optimizers of their own."""

        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            data = self.data_preprocessor(data, True)
            logs = {}
            for name in ("body", "head"):
                optim_wrapper.zero_grad()
                with optim_wrapper[name].optim_context(self):
                    loss = self(**data, mode="loss")["loss"]
                optim_wrapper[name].update_params(loss)
                logs[f"loss_{name}"] = loss
            return logs

    class Accuracy(evaluator_room.BaseMetric):
        def process(self, data_batch: Any, data_samples: Any) -> None:
            logits, labels = data_samples
            self.results.append((int((logits.argmax(1) == labels).sum()), len(labels)))

        def compute_metrics(self, results: Any) -> dict[str, float]:
            return {"accuracy": sum(hit for hit, _ in results) / sum(size for _, size in results)}

    class Losses(hooks_room.Hook):
        """Writes the losses of all steps down, by the number of the step."""

        priority = "LOWEST"

        def __init__(self) -> None:
            self.rows: dict[int, list[float]] = {}

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            rates = runner.optim_wrapper.get_lr()
            lr = [float(value) for name in sorted(rates) for value in rates[name]]
            self.rows[runner.iter] = [float(value.detach()) for value in outputs.values()] + lr

    return {"Net": Net, "TwoSteps": TwoSteps, "Accuracy": Accuracy, "Losses": Losses}


def loader(shuffle: bool) -> dict[str, Any]:
    """The config of a loader with 4 batches of 6."""
    return {
        "dataset": Points(),
        "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
        "batch_size": 6,
        "num_workers": 0,
        "collate_fn": {"type": "default_collate"},
    }


def config(case: str, parts: dict[str, Any], optim: Any) -> dict[str, Any]:
    """What differs between the runs; `optim` is the engine's room of that name."""
    by_epoch = case != "two_optimizers"
    evaluation = {"val_dataloader": loader(False), "val_cfg": {}, "val_evaluator": [parts["Accuracy"]()]}
    checkpoint = {"type": "CheckpointHook", "interval": 2 if by_epoch else 7, "by_epoch": by_epoch}
    common = {
        "train_dataloader": loader(True),
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 2}, "checkpoint": checkpoint},
    }
    if case == "epochs":
        checkpoint["save_best"] = "accuracy"
        return {
            **common,
            **evaluation,
            "model": parts["Net"](),
            "train_cfg": {"by_epoch": True, "max_epochs": 4},
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "AdamW", "lr": 0.01},
                "clip_grad": {"max_norm": 1.0},
                "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 0.5}}},
            },
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 6},
                {"type": "CosineAnnealingLR", "T_max": 4, "by_epoch": True, "eta_min": 1e-4},
                {"type": "LinearMomentum", "start_factor": 0.5, "end": 3},
            ],
            "custom_hooks": [{"type": "EMAHook", "momentum": 0.1, "update_buffers": True}],
        }
    if case == "amp":
        model = parts["Net"]()
        return {
            **common,
            "model": model,
            "train_cfg": {"by_epoch": True, "max_epochs": 4},
            "optim_wrapper": amp_wrapper(optim, model),
            "param_scheduler": [{"type": "OneCycleLR", "eta_max": 0.2, "total_steps": 16, "by_epoch": False}],
        }
    model = parts["TwoSteps"]()
    wrappers = {
        name: optim.OptimWrapper(kind(getattr(model, name).parameters(), lr=0.02))
        for name, kind in (("body", torch.optim.Adam), ("head", torch.optim.RMSprop))
    }
    return {
        **common,
        "model": model,
        "train_cfg": {"by_epoch": False, "max_iters": 14},
        "optim_wrapper": optim.OptimWrapperDict(**wrappers),
        "param_scheduler": {
            "body": [{"type": "StepLR", "step_size": 3, "by_epoch": False}],
            "head": [{"type": "PolyLR", "eta_min": 1e-3, "by_epoch": False, "end": 14}],
        },
    }


def amp_wrapper(optim: Any, model: nn.Module) -> Any:
    """bfloat16 on the CPU, under MMEngine with a loss scale that grows every four updates."""
    with contextlib.ExitStack() as stack:
        if optim.__name__.startswith("mmengine"):  # its wrapper makes a scaler where it finds an accelerator
            module = importlib.import_module("mmengine.optim.optimizer.amp_optimizer_wrapper")
            stack.enter_context(mock.patch.object(torch.cuda, "is_available", lambda: True))
            stack.enter_context(mock.patch.object(module, "is_cuda_available", lambda: True, create=True))
        return optim.AmpOptimWrapper(
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            loss_scale={"init_scale": 256.0, "growth_interval": 4},
            dtype="bfloat16",
            accumulative_counts=2,
        )


def train(engine: str, case: str, work_dir: str, resume_from: str | None = None) -> tuple[Any, dict[int, list[float]]]:
    """Train a case to its end, from its beginning or from a file; returns the runner and its losses by step."""
    parts = make_parts(engine)
    optim = importlib.import_module(f"{engine}.optim")
    torch.manual_seed(3)
    cfg = config(case, parts, optim)
    losses = parts["Losses"]()
    cfg["custom_hooks"] = [*cfg.get("custom_hooks", []), losses]
    randomness = {"seed": 5, **({"streams": "worker"} if engine == "drivetrain" else {})}
    runner = importlib.import_module(f"{engine}.runner").Runner(
        work_dir=work_dir,
        randomness=randomness,
        load_from=resume_from,
        resume=resume_from is not None,
        log_level="WARNING",
        experiment_name=f"{case}_{'resumed' if resume_from else 'whole'}",
        **cfg,
    )
    runner.train()
    return runner, losses.rows


def weights_of(runner: Any) -> dict[str, torch.Tensor]:
    """The weights of a run, and their averages if it keeps some, by name."""
    weights = dict(runner.model.state_dict())
    for hook in runner.hooks:
        average = getattr(hook, "ema_model", None)
        if average is not None:
            weights.update({f"average of {name}": value for name, value in average.state_dict().items()})
    return {name: value.clone() for name, value in weights.items()}
