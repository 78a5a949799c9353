"""`drivetrain config explain CONFIG KEY`."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

from drivetrain.config import Config, Origin

from ._keys import find
from ._load import add_cfg_options, add_config_argument, load_config
from ._show import in_format, plain
from ._text import shown_path

_WIDEST = 100
_EPILOG = """\
The places are in the order in which they were read: the last one holds.

examples:
  drivetrain config explain configs/resnet50.py optim_wrapper.optimizer.lr
  drivetrain config explain configs/resnet50.py train_pipeline.1.type
  drivetrain config explain configs/resnet50.py lr --cfg-options lr=0.1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_config_argument(parser)
    parser.add_argument("key", metavar="KEY", help="dotted path, with numbers for items of lists")
    add_cfg_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the value and its places; returns the exit code."""
    cfg = load_config(options, import_custom_modules=False)
    print(explain(cfg, options.key, options.cfg_options or {}))
    return 0


def explain(cfg: Config, key: str, options: dict[str, Any]) -> str:
    """The value of `key`, and for each place that set it the line that stands there.

    Raises:
        NotFoundError: there is no such value.
    """
    text = in_format(plain(find(cfg, key)), None, key).rstrip("\n")
    value = text.partition(" = ")[2]
    origins = cfg.origins(key)
    near = {
        name: value
        for name, value in options.items()
        if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")
    }
    rows = [(shown_path(str(origin)), _line_at(origin, near)) for origin in origins]
    width = max((len(place) for place, _ in rows), default=0)
    verbs = ["set"] + ["overridden"] * (len(rows) - 1)
    lines = [
        f"  {verb:<10}  {place:<{width}}  {line}".rstrip() for verb, (place, line) in zip(verbs, rows, strict=True)
    ]
    return "\n".join([f"{key} = {value}", *(lines or ["  set by a computation: no line is known"])])


def _line_at(origin: Origin, options: dict[str, Any]) -> str:
    if not origin.line:
        return " ".join(f"{key}={value}" for key, value in options.items())
    lines = _lines_of(origin.file)
    line = lines[origin.line - 1].strip() if origin.line <= len(lines) else ""
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..."


@cache
def _lines_of(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
