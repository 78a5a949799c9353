"""`drivetrain demo`: a whole training run on data that comes with the package."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from drivetrain.errors import require_package
from drivetrain.runner import Runner

from ._digits import Accuracy, Digits, SmallResNet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--work-dir", default="work_dirs/demo", help="where logs and checkpoints go (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs to train (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="worker processes that load data (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work dir")


def run(options: argparse.Namespace) -> None:
    """Train, draw the curves, and say what to try next."""
    runner = build_runner(options)
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    curve = read_curve(runner)
    print(f"\nTrained {len(curve['accuracy'])} epochs in {seconds:.0f} s.")
    if curve["accuracy"]:
        values = [100 * value for _, value in curve["accuracy"]]
        print(f"Validation accuracy: {values[-1]:.1f} % (best {max(values):.1f} %).")
    picture = draw_curve(curve, Path(runner.work_dir) / "curve.png")
    print(_farewell(runner, picture))


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
        model=SmallResNet(
            data_preprocessor={"type": "ImgDataPreprocessor", "mean": [4.9], "std": [6.0]},
        ),
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
    """Loss by step and accuracy by epoch, over all starts of this run in its work dir."""
    curve: dict[str, list[tuple[int, float]]] = {"loss": [], "accuracy": []}
    for file in sorted(Path(runner.work_dir).glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for name, points in curve.items():
                if name in row:
                    points.append((row["step"], row[name]))
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
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return path


def _farewell(runner: Runner, picture: Path) -> str:
    work_dir = Path(runner.work_dir)
    best = sorted(work_dir.glob("best_accuracy_*.pth"))
    return "\n".join(
        [
            "",
            f"Curves:           {picture}",
            f"Best checkpoint:  {best[-1] if best else 'none'}",
            f"Log and scalars:  {runner.log_dir}",
            "",
            "What to try next:",
            "  drivetrain demo --resume --epochs 20        go on where this run ended",
            "  drivetrain demo --workers 2                 the same numbers, loaded by two processes",
            "  docs/first-run.md                           write this run yourself, in forty lines",
            "  examples/fashion_mnist.py                   the same on 60,000 images",
        ]
    )
