"""What `train`, `val` and `test` share: their options, the work dir, and how a config becomes a runner."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivetrain.config import Config
from drivetrain.errors import ArgumentError

from ._load import add_cfg_options, add_config_argument, load_config

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that starts a run."""
    add_config_argument(parser)
    group = parser.add_argument_group("the config and its place")
    group.add_argument(
        "--work-dir",
        metavar="DIR",
        help="folder for logs and checkpoints; without it that of the config, else ./work_dirs/<name of the config>",
    )
    add_cfg_options(group)
    group = parser.add_argument_group("processes")
    group.add_argument("--launcher", choices=LAUNCHERS, help="what started the processes; that of the config, or none")
    group.add_argument(
        "--local-rank", "--local_rank", type=int, metavar="N", help="given by launchers; goes to LOCAL_RANK"
    )


def run_config(options: argparse.Namespace, change: Callable[[Config], None], start: Callable[[Any], object]) -> int:
    """Load the config, change it as the options say, build the runner and start it.

    Args:
        options: the parsed command line.
        change: puts the command's own options into the config.
        start: called with the runner.

    Returns:
        The exit code: 130 after Ctrl-C.
    """
    cfg = load_config(options)
    set_work_dir(cfg, options)
    set_launcher(cfg, options)
    change(cfg)
    try:
        start(build_runner(cfg))
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_go_on(options, cfg)}".rstrip(), file=sys.stderr)
        return 130
    return 0


def set_work_dir(cfg: Config, options: argparse.Namespace) -> None:
    """The work dir: the command's, else the config's, else `./work_dirs/<stem of the config's file>`."""
    if options.work_dir is not None:
        cfg.work_dir = options.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = os.path.join("./work_dirs", Path(options.config).stem)


def set_launcher(cfg: Config, options: argparse.Namespace) -> None:
    """The launcher, and the rank on this machine that launchers of old hand over as an option."""
    if options.launcher is not None:
        cfg.launcher = options.launcher
    if options.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(options.local_rank))


def build_runner(cfg: Config) -> Any:
    """The runner: of the class that `runner_type` names, else `Runner`."""
    from drivetrain.registry import RUNNERS
    from drivetrain.runner import Runner

    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)  # type: ignore[arg-type]


def set_checkpoint(cfg: Config, checkpoint: str | None) -> None:
    """Take the weights of `checkpoint`: neither the config's `load_from` nor a resume."""
    if checkpoint is not None:
        cfg.load_from = checkpoint
        cfg.resume = False


def need(cfg: Config, key: str, option: str, example: str) -> Any:
    """The value of `key`.

    Raises:
        ArgumentError: the config has none, and `option` needs it.
    """
    value = cfg.get(key)
    if value is None:
        raise ArgumentError(f"{option} needs {key!r}, and {options_file(cfg)} does not set it. Set {key}={example}.")
    return value


def options_file(cfg: Config) -> str:
    """The file of a config, for messages."""
    return cfg.filename or "the config"


def _go_on(options: argparse.Namespace, cfg: Config) -> str:
    if not hasattr(options, "resume"):
        return ""
    work_dir = f" --work-dir {shlex.quote(str(cfg.work_dir))}" if options.work_dir is not None else ""
    return f"Go on with: drivetrain train {shlex.quote(str(options.config))}{work_dir} --resume"
