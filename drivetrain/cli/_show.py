"""`drivetrain config show CONFIG [KEY]`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from drivetrain.config import ConfigDict, dump_python
from drivetrain.fileio import dump

from ._keys import find
from ._load import add_cfg_options, add_config_argument, load_config

_EPILOG = """\
examples:
  drivetrain config show configs/resnet50.py
  drivetrain config show configs/resnet50.py optim_wrapper
  drivetrain config show configs/resnet50.py --json --cfg-options model.depth=101 > merged.json

Modules of custom_imports are not imported, and what a config of the Python dialect imports is printed by its path.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_config_argument(parser)
    parser.add_argument(
        "key", nargs="?", metavar="KEY", help="only this value, by dotted path: train_dataloader.sampler"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON")
    formats.add_argument("--yaml", dest="format", action="store_const", const="yaml", help="print YAML")
    add_cfg_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the config; returns the exit code."""
    cfg = load_config(options, import_custom_modules=False)
    value = cfg.to_dict() if options.key is None else plain(find(cfg, options.key))
    print(in_format(value, options.format, options.key).rstrip("\n"))
    return 0


def plain(value: Any) -> Any:
    """`value` without the types of a config."""
    return ConfigDict({"value": value}).to_dict()["value"]


def in_format(value: Any, kind: str | None, key: str | None = None) -> str:
    """The text of a value: Python source by default, where a part of a config is named after the last of its path."""
    if kind == "json":
        return json.dumps(json.loads(dump(without_tuples(value), file_format="json")), indent=4, ensure_ascii=False)
    if kind == "yaml":
        return str(dump(without_tuples(value), file_format="yaml", sort_keys=False))
    name = (key or "").rpartition(".")[2]
    return dump_python(value if key is None else {name if name.isidentifier() else "value": value})


def without_tuples(value: Any) -> Any:
    """`value` with lists for tuples, which JSON and YAML do not have."""
    if type(value) is dict:
        return {key: without_tuples(item) for key, item in value.items()}
    return [without_tuples(item) for item in value] if type(value) in (list, tuple) else value
