"""`drivetrain checkpoint verify FILE|FOLDER ...`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from drivetrain.errors import DrivetrainError

from ._checkpoint import SAFETENSORS, kind_of, mapping, read, units
from ._text import shown_path

_SUFFIXES = (".pth", ".pt", ".ckpt", ".capsule", SAFETENSORS)

_EPILOG = """\
Each file is read to its end and decoded, and nothing in it is run. For a folder the last line says which file a run
there would resume from. The exit code is 1 where a file is damaged or cannot be read.

examples:
  drivetrain checkpoint verify work_dirs/resnet50/epoch_12.pth
  drivetrain checkpoint verify work_dirs/resnet50 work_dirs/resnet101
"""


@dataclass(frozen=True)
class Verdict:
    """What was found about a file.

    Attributes:
        path: of the file.
        is_good: whether it can be read whole.
        text: what it holds, or why it cannot be read.
    """

    path: str
    is_good: bool
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("paths", nargs="+", metavar="FILE", help="checkpoints, or folders with checkpoints in them")


def run(options: argparse.Namespace) -> int:
    """Print a verdict for each file; returns the exit code: 1 where one is damaged."""
    all_good = True
    for path in options.paths:
        verdicts = [judge(file) for file in files_in(path)]
        for verdict in verdicts:
            print(f"{'ok     ' if verdict.is_good else 'DAMAGED'}  {shown_path(verdict.path)}: {verdict.text}")
        if os.path.isdir(path):
            print(_resumed_from(path) if verdicts else f"{path} holds no checkpoints.")
        all_good = all_good and all(verdict.is_good for verdict in verdicts)
    return int(not all_good)


def files_in(path: str) -> list[str]:
    """The file itself, or the checkpoints of a folder, the oldest first."""
    if not os.path.isdir(path):
        return [path]
    with os.scandir(path) as entries:
        files = [entry for entry in entries if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".")]
    return [entry.path for entry in sorted(files, key=lambda entry: (_written(entry), entry.name))]


def judge(path: str) -> Verdict:
    """Read a file to its end."""
    from drivetrain.checkpoint import verify_checkpoint

    try:
        if not path.endswith(SAFETENSORS):
            report = verify_checkpoint(path)
            if report.problem is not None:
                return Verdict(path, False, report.problem)
        content = read(path)
    except (DrivetrainError, OSError) as error:
        text = str(error).replace(f"{path!r} ", "").partition(" The newest other checkpoint")[0]
        return Verdict(path, False, text)
    meta = mapping(content.get("meta"))
    position = f", epoch {meta['epoch']}, iter {meta['iter']}" if {"epoch", "iter"} <= meta.keys() else ""
    resumable = "" if "optimizer" in content and position else "; weights can be loaded, training cannot be resumed"
    return Verdict(path, True, f"{kind_of(content)}, {units(os.path.getsize(path))}{position}{resumable}")


def _resumed_from(folder: str) -> str:
    """A line that says which file a run in `folder` goes on from."""
    from drivetrain.checkpoint import find_good_checkpoint

    try:
        path = find_good_checkpoint(folder)
    except DrivetrainError as error:
        return f"A run in {folder} could not be resumed: {error}"
    if path is None:
        return f"A run in {folder} would start anew: it holds no checkpoint that was saved whole."
    return f"A run in {folder} would resume from {shown_path(path)}."


def _written(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:
        return 0
