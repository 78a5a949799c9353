"""`drivetrain train CONFIG`."""

from __future__ import annotations

import argparse

from drivetrain.config import Config
from drivetrain.errors import ArgumentError

from ._run import add_run_arguments, need, options_file, run_config

_EPILOG = """\
examples:
  drivetrain train configs/resnet50.py
  drivetrain train configs/resnet50.py --work-dir runs/a --seed 0 --amp
  drivetrain train configs/resnet50.py --resume                    from the newest checkpoint in the work dir
  drivetrain train configs/resnet50.py --resume runs/a/epoch_3.pth
  drivetrain train configs/resnet50.py --cfg-options train_dataloader.batch_size=16 optim_wrapper.optimizer.lr=0.01
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_run_arguments(parser)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="go on from the checkpoint PATH; without PATH from the newest in the work dir, from the start if there "
        "is none",
    )
    group.add_argument("--amp", action="store_true", help="mixed precision: AmpOptimWrapper with a dynamic loss scale")
    group.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate to the batch size, by auto_scale_lr"
    )
    group.add_argument("--no-validate", action="store_true", help="leave validation out")
    group = parser.add_argument_group("random numbers")
    group.add_argument("--seed", type=int, metavar="N", help="seed of the run")
    group.add_argument("--diff-rank-seed", action="store_true", help="another seed in each process")
    group.add_argument("--deterministic", action="store_true", help="ask torch for deterministic algorithms")


def run(options: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    return run_config(options, lambda cfg: apply(cfg, options), lambda runner: runner.train())


def apply(cfg: Config, options: argparse.Namespace) -> None:
    """Put the options into the config."""
    if options.resume is not None:
        cfg.resume = True
        cfg.load_from = None if options.resume == "auto" else options.resume
    if options.amp:
        use_amp(cfg)
    if options.auto_scale_lr:
        enable_scaling(cfg)
    if options.no_validate:
        for part in ("val_dataloader", "val_cfg", "val_evaluator"):
            cfg[part] = None
    set_randomness(cfg, options)


def use_amp(cfg: Config) -> None:
    """Train in mixed precision.

    Raises:
        ArgumentError: the config has no `optim_wrapper`, or one of another class than `OptimWrapper`.
    """
    wrapper = need(cfg, "optim_wrapper", "--amp", "dict(optimizer=dict(type='SGD', lr=0.1))")
    kind = wrapper.get("type", "OptimWrapper")
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    if name == "AmpOptimWrapper":
        return
    if name != "OptimWrapper":
        raise ArgumentError(
            f"--amp puts AmpOptimWrapper in the place of OptimWrapper, and {options_file(cfg)} has "
            f"optim_wrapper.type={name!r}. Drop --amp, and set the precision in the config."
        )
    wrapper.type = "AmpOptimWrapper"
    wrapper.setdefault("loss_scale", "dynamic")


def enable_scaling(cfg: Config) -> None:
    """Let the runner scale learning rates to the batch size.

    Raises:
        ArgumentError: the config does not say for which batch size the learning rate was set.
    """
    example = "dict(base_batch_size=256)"
    scale = need(cfg, "auto_scale_lr", "--auto-scale-lr", example)
    if "base_batch_size" not in scale:
        raise ArgumentError(
            f"--auto-scale-lr needs to know for which batch size the learning rate was set, and auto_scale_lr of "
            f"{options_file(cfg)} has no 'base_batch_size'. Set auto_scale_lr={example}."
        )
    scale.enable = True


def set_randomness(cfg: Config, options: argparse.Namespace) -> None:
    """Put the seed and what goes with it into `randomness`; what was not asked for stays as the config has it."""
    given = {"seed": options.seed} if options.seed is not None else {}
    for key in ("diff_rank_seed", "deterministic"):
        if getattr(options, key):
            given[key] = True
    if given:
        cfg.randomness = {**(cfg.get("randomness") or {}), **given}
