"""The process that trains: `python -m drivetrain.cli.verify._child PLAN` starts the user's run as a plan says."""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import random
import runpy
import sys
from typing import Any

import numpy as np
import torch

from drivetrain.cli._alias import offer_alias
from drivetrain.cli._load import load_config
from drivetrain.cli._run import build_runner
from drivetrain.hooks import CheckpointHook
from drivetrain.runner import Runner

from ._examine import examine
from ._plan import CONFIG, DEMO, Plan
from ._steps import StepRecorder


def main(path: str) -> None:
    """Train as the plan in the file at `path` says."""
    plan = Plan.read(path)
    # Not as an engine would have it: a script may draw before it makes its runner, and all starts shall draw the same.
    random.seed(plan.seed)
    np.random.seed(plan.seed)
    torch.manual_seed(plan.seed)
    change_runners(plan)
    start(plan)


def start(plan: Plan) -> None:
    """Start what the plan names."""
    if plan.kind == CONFIG:
        cfg = load_config(argparse.Namespace(config=plan.target, cfg_options=plan.cfg_options))
        cfg.work_dir = plan.work_dir
        build_runner(cfg).train()
        return
    offer_alias()
    if plan.kind == DEMO:
        from drivetrain.cli import main as command

        command(["demo", *plan.arguments])
        return
    sys.argv = [plan.target, *plan.arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(plan.target)))
    runpy.run_path(plan.target, run_name="__main__")


def change_runners(plan: Plan) -> None:
    """Let every runner of this process save where the plan says, write down its steps, and end where it is told to."""
    made = Runner.__init__

    @functools.wraps(made)
    def init(self: Runner, *args: Any, **kwargs: Any) -> None:
        made(self, **changed(inspect.signature(made).bind(self, *args, **kwargs).arguments, plan))
        recorder = StepRecorder(plan)
        recorder.watch_loaders()
        self.register_hook(recorder)

    setattr(Runner, "__init__", init)  # noqa: B010
    if plan.examine:
        setattr(Runner, "train", functools.partialmethod(_examined, plan=plan))  # noqa: B010


def changed(given: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The arguments of a runner, changed: nothing of the user's own folder is written, resumed or uploaded."""
    arguments = {name: value for name, value in given.items() if name != "self"}
    hooks = dict(arguments.get("default_hooks") or {})
    hooks["checkpoint"] = CheckpointHook(interval=plan.interval, by_epoch=False, max_keep_ckpts=3)
    randomness = dict(arguments.get("randomness") or {})
    if randomness.get("seed") is None:
        randomness["seed"] = plan.seed
    arguments |= {"default_hooks": hooks, "randomness": randomness, "work_dir": plan.work_dir}
    arguments |= {"visualizer": None, "capsule": False, "signals": False, "max_time": None}
    if plan.resume:
        arguments |= {"resume": True, "load_from": None}
    return arguments


def _examined(runner: Any, plan: Plan) -> None:
    """In the place of training: look at how samples are made."""
    examine(runner, plan)
    raise SystemExit(0)


if __name__ == "__main__":
    main(sys.argv[1])
