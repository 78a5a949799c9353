"""Options that every command with a config has, and the config that they lead to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from drivetrain.config import Config, DictAction

from ._alias import offer_alias


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """The positional argument."""
    parser.add_argument("config", metavar="CONFIG", help="config file (.py, .yaml, .yml or .json)")


def add_cfg_options(parser: argparse._ActionsContainer) -> None:
    """`--cfg-options`."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="values over those of the config, by dotted path: optim_wrapper.optimizer.lr=0.01 "
        "train_pipeline.0.prob=0.5 'model.stages=[1,2]'",
    )


def load_config(options: argparse.Namespace, import_custom_modules: bool = True) -> Config:
    """The config of the command, with `--cfg-options` over it.

    What the config imports is also looked for in the current folder, after everywhere else: a folder there that happens
    to have a package's name does not hide it.
    """
    offer_alias()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    cfg = Config.fromfile(options.config, import_custom_modules=import_custom_modules)
    if options.cfg_options:
        cfg.merge_from_dict(options.cfg_options)
    return cfg
