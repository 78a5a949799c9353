"""`drivetrain config diff A B`."""

from __future__ import annotations

import argparse
from typing import Any

from drivetrain.config import Config

from ._keys import children
from ._load import add_cfg_options, load_config
from ._show import plain
from ._text import shown_path, shown_value

_EPILOG = """\
Each line is a value that is in one config only (-, +) or differs. The exit code is 0 where there is none, else 1.

examples:
  drivetrain config diff configs/resnet50.py configs/resnet101.py
  drivetrain config diff configs/resnet50.py work_dirs/resnet50/resnet50.py     what has changed since that run
  drivetrain config diff --text configs/resnet50.py configs/resnet101.py        as a diff of sources
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("first", metavar="A", help="a config")
    parser.add_argument("second", metavar="B", help="another one")
    parser.add_argument(
        "--text", action="store_true", help="compare the sources of the merged configs, as a unified diff"
    )
    add_cfg_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the differences; returns the exit code: 0 where there are none."""
    first, second = (
        load_config(argparse.Namespace(config=file, cfg_options=options.cfg_options), import_custom_modules=False)
        for file in (options.first, options.second)
    )
    text = Config.diff(first, second) if options.text else "\n".join(differences(first, second))
    if text:
        print(text)
    return int(bool(text))


def differences(first: Config, second: Config) -> list[str]:
    """A line for each value that differs, with the places that set it."""
    found: list[str] = []
    _compare(first, second, first._cfg_dict, second._cfg_dict, "", found)
    return found


def _compare(first: Config, second: Config, a: Any, b: Any, path: str, found: list[str]) -> None:
    here, there = dict(children(a)), dict(children(b))
    if type(a) is not type(b) or not (here or there) or (type(a) in (list, tuple) and len(a) != len(b)):
        if plain(a) != plain(b):
            where = f"{_place(first, path)} -> {_place(second, path)}"
            found.append(f"  {path}: {shown_value(plain(a))} -> {shown_value(plain(b))}  ({where})")
        return
    for part in {**here, **there}:
        inner = f"{path}.{part}" if path else part
        if part not in there:
            found.append(f"- {inner} = {shown_value(plain(here[part]))}  ({_place(first, inner)})")
        elif part not in here:
            found.append(f"+ {inner} = {shown_value(plain(there[part]))}  ({_place(second, inner)})")
        else:
            _compare(first, second, here[part], there[part], inner, found)


def _place(cfg: Config, path: str) -> str:
    origins = cfg.origins(path)
    return shown_path(str(origins[-1])) if origins else "computed"
