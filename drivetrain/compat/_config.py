"""Names of deep modules of MMEngine that no room of drivetrain needs and that load no torch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from drivetrain.config import MODULE2PACKAGE

PKG2PROJECT = {package: package for package in MODULE2PACKAGE.values()}
"""Name of the project to install for a package; the same as the package for each that is known."""

ENV_MMENGINE_HOME = "MMENGINE_HOME"
"""Environment variable: the folder for downloaded weights and the user's own tables of models."""

ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
"""Environment variable: the folder that caches lie in."""

DEFAULT_CACHE_DIR = os.path.join("~", ".cache")
"""The folder that caches lie in when no environment variable says so."""


def add_args(parser: argparse.ArgumentParser, cfg: Mapping[str, Any], prefix: str = "") -> argparse.ArgumentParser:
    """Add an option to `parser` for each value of a config: `--optimizer.lr` for `cfg['optimizer']['lr']`.

    Args:
        parser: is changed and returned.
        cfg: str, int, float and bool values become options of that type, lists of them options that repeat the type
            of their first item; dicts are entered; other values get no option.
        prefix: what the names of the options begin with.
    """
    for key, value in cfg.items():
        option = f"--{prefix}{key}"
        if hasattr(value, "items"):
            add_args(parser, value, f"{prefix}{key}.")
        elif type(value) is bool:
            parser.add_argument(option, action="store_true")
        elif type(value) in (str, int, float):
            parser.add_argument(option, type=type(value))
        elif type(value) in (list, tuple) and value:
            parser.add_argument(option, type=type(value[0]), nargs="+")
    return parser
