"""Kills a process at random moments of saving and rotating, goes on from what is left, and counts what was found.

    python kill_loop.py FOLDER KILLS [SEED]

Every second process saves in the background. Prints a JSON object: kills, how many found a file of the step that was announced last ("same") or a later one, how often a
half written file was left, and "lost", of which there must be none: no file, a damaged or mixed one, or an older one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from drivetrain.checkpoint import _load_checkpoint, find_good_checkpoint, save_checkpoint, verify_checkpoint
from drivetrain.hooks import CheckpointHook
from drivetrain.logging import MessageHub


class Run:
    """A run whose every tensor holds the number of its step."""

    def __init__(self, folder: Path) -> None:
        self.work_dir, self.logger = str(folder), logging.getLogger("kill-loop")
        self.epoch, self.iter, self.max_iters = 0, 0, 10**9
        self.message_hub = MessageHub("kill-loop")
        self.train_loop, self.val_loop = SimpleNamespace(stop_training=False), object()
        self.tensors = {f"w{number}": torch.zeros(50_000) for number in range(6)}

    def save_checkpoint(self, out_dir: str, filename: str, meta: Any = None, **_: Any) -> None:
        content = {
            "meta": {"epoch": self.epoch, "iter": self.iter + 1, **(meta or {})},
            "state_dict": self.tensors,
            "message_hub": self.message_hub.state_dict(),
        }
        save_checkpoint(content, os.path.join(out_dir, filename))

    def resume(self, path: str) -> None:
        content = _load_checkpoint(path, logger="silent")
        self.iter = content["meta"]["iter"]
        self.message_hub.load_state_dict(content["message_hub"])

    def train(self, background: bool, announce: int) -> None:
        """Train until killed; the step of each complete save is announced."""
        hook = CheckpointHook(
            interval=1, by_epoch=False, max_keep_ckpts=2, save_best="acc", keep_best=2, async_save=background
        )
        hook.before_train(self)
        record = Path(self.work_dir, "last_checkpoint")
        while True:
            for tensor in self.tensors.values():
                tensor.fill_(self.iter + 1)
            hook.after_train_iter(self, 0)
            self.iter += 1
            if self.iter % 3 == 0:
                hook.after_val_epoch(self, {"acc": random.random()})
            if record.exists():
                os.write(announce, f"{_step_in(record.read_text())}\n".encode())


def _step_in(path: str) -> int:
    return int(Path(path).stem.rpartition("_")[2])


def killed(folder: Path, background: bool, seconds: float) -> int:
    """Start a process that goes on with the run, kill it after so many seconds; the step it announced last, or 0."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        run = Run(folder)
        found = find_good_checkpoint(folder)
        if found:
            run.resume(found)
        run.train(background, writes)
    os.close(writes)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(reads) as announced:
        steps = [int(line) for line in announced if line.endswith("\n")]
    return max(steps, default=0)


def found_step(folder: Path) -> int:
    """The step of what a run would go on from.

    Raises:
        RuntimeError: the file is damaged, or its tensors are not all of one step.
    """
    path = find_good_checkpoint(folder)
    if path is None:
        return 0
    content = _load_checkpoint(path, logger="silent")
    step = content["meta"]["iter"]
    if any(not torch.equal(value, torch.full_like(value, step)) for value in content["state_dict"].values()):
        raise RuntimeError(f"{path} is mixed")
    return int(step)


def loop(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    counts: dict[str, Any] = {"kills": kills, "same": 0, "later": 0, "half_written": 0, "damaged": 0, "lost": []}
    reached = 0
    for number in range(kills):
        reached = max(reached, killed(folder, number % 2 == 1, draw.uniform(0.02, 0.2)))
        step = found_step(folder)
        counts["same" if step == reached else "later"] += 1
        if step < reached:
            counts["lost"].append((number, step, reached))
        reached = step
        counts["half_written"] += bool(list(folder.glob(".*.tmp")))
        counts["damaged"] += sum(not verify_checkpoint(path).ok for path in folder.glob("*.pth"))
        for half in folder.glob(".*.tmp"):
            half.unlink()
    counts["steps"] = reached
    counts["files"] = len(list(folder.glob("*.pth")))
    return counts


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    work_dir = Path(sys.argv[1])
    work_dir.mkdir(parents=True, exist_ok=True)
    json.dump(loop(work_dir, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0), sys.stdout)
