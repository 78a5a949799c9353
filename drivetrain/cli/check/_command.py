"""The command around the check: its options and its report."""

from __future__ import annotations

import argparse
import re
import textwrap
import time
from typing import TYPE_CHECKING

from drivetrain.cli._load import add_cfg_options, add_config_argument, load_config
from drivetrain.cli._text import shown_path
from drivetrain.config import Origin
from drivetrain.errors import DrivetrainError

from ._fault import SOURCE, Fault

if TYPE_CHECKING:
    from drivetrain.config import Config

_EPILOG = """\
What is checked: names of all registries, arguments of all constructors, misspelt keys, parts that belong together,
schedules, files. The model, the optimizer, the schedules and the steps of the pipelines are really built, without
weights and without data. All faults are reported, each with its file and line; notes may be meant so.

Exit codes: 0 no faults; 1 faults.

examples:
  drivetrain config check configs/resnet50.py
  drivetrain config check configs/resnet50.py --cfg-options model.depth=101
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_config_argument(parser)
    add_cfg_options(parser)
    parser.add_argument("--no-notes", action="store_true", help="report faults only")


def run(options: argparse.Namespace) -> int:
    """Check a config and print the report; returns the exit code: 1 where there are faults."""
    start = time.perf_counter()
    found = find_faults(options)
    faults = [fault for fault in found if not fault.note]
    notes = [] if options.no_notes else [fault for fault in found if fault.note]
    for fault in [*faults, *notes]:
        print(rendered(fault))
    seconds = time.perf_counter() - start
    counts = f"{_count(faults, 'fault')}{', ' + _count(notes, 'note') if notes else ''}"
    print(f"{shown_path(options.config)}: {counts} ({seconds:.1f} s)")
    return int(bool(faults))


def find_faults(options: argparse.Namespace) -> list[Fault]:
    """All faults of the config that the options name; one that cannot be read has just that fault."""
    try:
        cfg: Config = load_config(options, import_custom_modules=False)
    except DrivetrainError as error:
        place = re.search(r"([^\s'()]+\.(?:py|ya?ml|json)):(\d+)", str(error))
        return [Fault("", Origin(place[1], int(place[2])) if place else None, str(error), SOURCE)]
    from ._whole import check_config

    return check_config(cfg)


def rendered(fault: Fault) -> str:
    """A fault as the report has it: `file:line: key [cause]`, and below what is wrong."""
    where = f"{shown_path(str(fault.origin))}: " if fault.origin is not None else ""
    head = f"{where}{fault.path or 'the config'} [{'note: ' if fault.note else ''}{fault.cause}]"
    return f"{head}\n{textwrap.fill(fault.text, 110, initial_indent='    ', subsequent_indent='    ')}\n"


def _count(faults: list[Fault], noun: str) -> str:
    return f"{len(faults) or 'no'} {noun}{'' if len(faults) == 1 else 's'}"
