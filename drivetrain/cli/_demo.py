"""`drivetrain demo`: a whole training run on data that comes with the package."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from drivetrain.errors import require_package
from drivetrain.runner import Runner

from ._digits import Accuracy, Digits, SmallResNet

_WORK_DIR = "work_dirs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--work-dir", default=_WORK_DIR, help="where logs and checkpoints go (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs to train (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="worker processes that load data (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work dir")


def run(options: argparse.Namespace) -> int:
    """Train, draw the curves, and say what to try next; returns the exit code, 130 after Ctrl-C."""
    runner = build_runner(options)
    start = time.perf_counter()
    try:
        runner.train()
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with: drivetrain demo --resume{_changed(options)}", file=sys.stderr)
        return 130
    seconds = time.perf_counter() - start
    curve = read_curve(runner)
    print(f"\n{runner.epoch} epochs trained; this start took {seconds:.0f} s.")
    if curve["accuracy"]:
        values = [100 * value for _, value in curve["accuracy"]]
        print(f"Validation accuracy: {values[-1]:.1f} % (best {max(values):.1f} %).")
    picture = draw_curve(curve, Path(runner.work_dir) / "curve.png")
    print(f"\nCurves:           {picture}")
    print(f"Best checkpoint:  {runner.message_hub.get_info('best_ckpt', 'none')}")
    print(f"Log and scalars:  {runner.log_dir}\n")
    print(suggestions(options))
    return 0


def build_runner(options: argparse.Namespace) -> Runner:
    """The run: every part is an object or a plain dict."""

    def loader(train: bool) -> dict[str, Any]:
        return {
            "dataset": Digits(train=train),
            "sampler": {"type": "DefaultSampler", "shuffle": train},
            "batch_size": 64,
            "num_workers": options.workers,
            "collate_fn": {"type": "default_collate"},
        }

    return Runner(
        # A config rather than an object: the runner builds it after seeding, so that one seed gives one run.
        model={
            "type": SmallResNet,
            "data_preprocessor": {"type": "ImgDataPreprocessor", "mean": [4.9], "std": [6.0]},
        },
        work_dir=options.work_dir,
        train_dataloader=loader(train=True),
        val_dataloader=loader(train=False),
        train_cfg={"by_epoch": True, "max_epochs": options.epochs},
        val_cfg={},
        val_evaluator=Accuracy(),
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
            "clip_grad": {"max_norm": 5.0},
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 20},
            {"type": "CosineAnnealingLR", "by_epoch": True, "convert_to_iter_based": True},
        ],
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2, "save_best": "accuracy"}
        },
        resume=options.resume,
        randomness={"seed": options.seed},
        experiment_name="demo",
    )


def read_curve(runner: Runner) -> dict[str, list[tuple[int, float]]]:
    """Loss by step and accuracy by epoch, over all starts in the work dir: each takes over from its first step on."""
    curve: dict[str, list[tuple[int, float]]] = {"loss": [], "accuracy": []}
    for file in sorted(Path(runner.work_dir).glob("*/vis_data/scalars.json")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for name, points in curve.items():
            new = [(row["step"], row[name]) for row in rows if name in row]
            curve[name] = [point for point in points if not new or point[0] < new[0][0]] + new
    return curve


def draw_curve(curve: dict[str, list[tuple[int, float]]], path: Path) -> Path:
    """Draw the curves to a PNG; returns its path.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise require_package("matplotlib", "Drawing the curve", "vision") from error
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name, label in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("step", "epoch"), strict=True):
        axes.plot(*zip(*curve[name], strict=True) if curve[name] else ([], []), color="#2a6f97")
        axes.set(title={"loss": "training loss", "accuracy": "validation accuracy"}[name], xlabel=label)
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return path


def suggestions(options: argparse.Namespace) -> str:
    """What to try after the demo, with the options that this start was given."""
    changed = _changed(options)
    return "\n".join(
        [
            "What to try next:",
            f"  drivetrain demo --workers 2{changed}",
            "      the same numbers, loaded by two processes",
            f"  drivetrain demo --resume --epochs {options.epochs + 8}{changed}",
            "      go on where this run ended, at the learning rate where its schedule ended",
            "  docs/first-run.md",
            "      write this run yourself",
            "  examples/fashion_mnist.py",
            "      the same on 60,000 images",
        ]
    )


def _changed(options: argparse.Namespace) -> str:
    return "" if options.work_dir == _WORK_DIR else f" --work-dir {shlex.quote(str(options.work_dir))}"
