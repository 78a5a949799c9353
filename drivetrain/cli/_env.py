"""`drivetrain env`."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata

from drivetrain.version import __version__

_OPTIONAL = (
    "torchvision", "torchmetrics", "tensorboard", "matplotlib", "pillow", "opencv-python", "wandb", "mlflow",
    "mmcv", "mmcv-lite", "mmengine", "mmdet", "mmsegmentation", "mmpretrain",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command: it has none."""
    parser.epilog = "Put its output into a bug report."


def run(_options: argparse.Namespace) -> int:
    """Print the environment; returns the exit code."""
    from drivetrain.device import collect_env, get_device

    folder = importlib.import_module("drivetrain").__path__[0]
    facts = {"drivetrain": f"{__version__} in {folder}", "Device of a run": get_device(), **collect_env()}
    facts.update({f"{name} (optional)": version_of(name) for name in _OPTIONAL})
    width = max(map(len, facts))
    for name, value in facts.items():
        first, *rest = str(value).splitlines() or [""]
        print("\n".join([f"{name:<{width}}  {first}", *(" " * (width + 2) + line for line in rest)]))
    return 0


def version_of(distribution: str) -> str:
    """The version of a distribution, or that it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
