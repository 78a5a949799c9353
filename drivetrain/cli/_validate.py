"""`drivetrain val CONFIG [CHECKPOINT]`."""

from __future__ import annotations

import argparse

from ._run import add_run_arguments, run_config, set_checkpoint

_EPILOG = """\
examples:
  drivetrain val configs/resnet50.py work_dirs/resnet50/epoch_12.pth
  drivetrain val configs/resnet50.py --cfg-options load_from=weights.pth val_dataloader.batch_size=64
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_run_arguments(parser)
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="weights; without it those of the config's load_from"
    )


def run(options: argparse.Namespace) -> int:
    """Validate; returns the exit code."""
    return run_config(options, lambda cfg: set_checkpoint(cfg, options.checkpoint), lambda runner: runner.val())
