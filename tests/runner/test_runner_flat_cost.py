"""A step late in the run costs what an early one costs: the same calls, the same memory."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from toy import ToyNet, build, only_training

from drivetrain.hooks import Hook

PERIOD = 1024
"""Steps after which log lines (every 64th) and full histories (every 256th entry) have had their turns alike."""
STEPS = 8 * PERIOD


class Endless(Dataset[torch.Tensor]):
    """One batch over and over."""

    batch = torch.zeros(1)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.batch


class Idle(ToyNet):
    """Returns what a step returns, and computes nothing: what is left of a step is the engine's."""

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        return {"loss": self.head.bias.sum(), "norm": self.head.bias.detach()[0]}


class Meter(Hook):
    """Counts the calls, of Python and of C, in the second and in the last period of the run, and what they allocate."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.kilobytes: list[float] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == PERIOD:
            tracemalloc.start()
        if runner.iter in (PERIOD, STEPS - PERIOD):
            self.calls.append(0)
            sys.setprofile(self._count)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 in (2 * PERIOD, STEPS):
            sys.setprofile(None)
            self.kilobytes.append(tracemalloc.get_traced_memory()[0] / 1024)

    def after_run(self, runner: Any) -> None:
        tracemalloc.stop()

    def _count(self, frame: Any, event: str, arg: Any) -> None:
        if event in ("call", "c_call"):
            self.calls[-1] += 1


def metered(tmp_path: Any, *hooks: Hook, **changes: Any) -> Meter:
    meter = Meter()
    build(
        tmp_path,
        model=Idle(),
        **only_training(),
        train_dataloader=DataLoader(Endless(), batch_size=None),
        train_cfg={"by_epoch": False, "max_iters": STEPS},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 500},
            {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 500},
            {"type": "CosineAnnealingMomentum", "by_epoch": False},
        ],
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": 64, "interval_exp_name": PERIOD},
            "checkpoint": None,
        },
        custom_hooks=[{"type": "EMAHook"}, meter, *hooks],
        **changes,
    ).train()
    return meter


def check_flat(meter: Meter) -> None:
    early, late = meter.calls
    assert late == pytest.approx(early, rel=0.001), f"{early} calls in early steps, {late} in late ones"
    growth = meter.kilobytes[1] - meter.kilobytes[0]
    assert growth < 32, f"{growth:.0f} KiB more after {STEPS - 2 * PERIOD} steps"


@pytest.mark.parametrize("changes", [{}, {"time_split": True}], ids=["plain", "time split"])
def test_calls_and_memory_of_a_step_do_not_grow_with_the_run(tmp_path, changes):
    check_flat(metered(tmp_path, **changes))


def test_a_list_that_grows_is_seen(tmp_path):
    class Remembers(Hook):
        def __init__(self) -> None:
            self.all: list[float] = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.all.append(float(batch_idx))

    with pytest.raises(AssertionError, match="KiB more"):
        check_flat(metered(tmp_path, Remembers()))


def test_work_that_grows_is_seen(tmp_path):
    class LooksBack(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx % 100 == 0:
                for step in range(batch_idx // 100):
                    abs(step)

    with pytest.raises(AssertionError, match="in late ones"):
        check_flat(metered(tmp_path, LooksBack()))
