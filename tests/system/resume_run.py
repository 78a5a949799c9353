"""A run that can be killed at any step: the program that the matrix of resumes starts, stops by SIGKILL and starts again.

`python resume_run.py` reads runs from stdin, one JSON a line: `folder`, `cell`, and `kill_at`, a step, or -1 for none. For
each step a run appends to steps.jsonl: the step, the ids, checksums of the augmented images and of the loss.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.dataset import default_collate
from drivetrain.hooks import CheckpointHook, EMAHook, Hook
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

STEPS_OF_A_PASS, PASSES = 7, 3


class Data(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return STEPS_OF_A_PASS * 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = random.random() + float(np.random.rand()) + torch.rand(6)
        return {"inputs": torch.full((6,), index / 10) + noise, "labels": torch.tensor(index % 3), "id": int(index)}


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, inputs: Tensor, labels: Tensor, id: Any = None, mode: str = "tensor") -> Any:
        logits = self.layers(inputs)
        return {"loss": functional.cross_entropy(logits, labels)} if mode == "loss" else logits


def checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().contiguous().numpy().tobytes())


class Steps(Hook):
    """Writes each step down, and kills the process at one: before it, so behind the save of the one before."""

    priority = "LOWEST"

    def __init__(self, folder: Path, kill_at: int) -> None:
        self.folder, self.kill_at = folder, kill_at

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = outputs["loss"]
        row = [runner.iter, [int(i) for i in data_batch["id"]], checksum(data_batch["inputs"]), checksum(loss)]
        with open(self.folder / "steps.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def main(folder: str, cell: dict[str, Any], kill_at: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    length = (
        {"by_epoch": True, "max_epochs": PASSES}
        if cell["loop"] == "epoch"
        else {"by_epoch": False, "max_iters": PASSES * STEPS_OF_A_PASS}
    )
    runner = Runner(
        model=Net(),
        work_dir=folder,
        train_dataloader={
            "dataset": Data(),
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": 4,
            "num_workers": cell["workers"],
            "persistent_workers": cell["persistent"],
            "collate_fn": default_collate,
        },
        train_cfg=length,
        optim_wrapper={
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "accumulative_counts": cell["accumulation"],
            "clip_grad": {"max_norm": 1.0},
        },
        param_scheduler=[{"type": "CosineAnnealingLR", "by_epoch": cell["loop"] == "epoch"}],
        default_hooks={"checkpoint": CheckpointHook(interval=cell["interval"], by_epoch=False, max_keep_ckpts=2)},
        custom_hooks=[EMAHook(momentum=0.1), Steps(Path(folder), kill_at)],
        randomness={"seed": 5, "streams": cell["streams"]},
        resume=True,
        log_level="WARNING",
    )
    runner.train()
    hook = next(hook for hook in runner.hooks if type(hook) is EMAHook)
    state = {
        "weights": runner.model.state_dict(),
        "average": hook.ema_model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "random": [torch.get_rng_state(), random.getstate()[1], torch.from_numpy(np.random.get_state()[1])],
    }
    torch.save(state, os.path.join(folder, "end.pth"))


def serve() -> None:
    """Make a process for each run asked for: a line of JSON on stdin, its exit status on stdout.

    The imports are made once, by the process that all others are forked from.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            log = os.open(os.path.join(asked["folder"], "log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = 1
            try:
                main(asked["folder"], asked["cell"], asked["kill_at"])
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
