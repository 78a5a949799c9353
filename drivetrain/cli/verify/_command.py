"""The command: one run without a stop, the same killed and resumed, and what differs between the two."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drivetrain.cli._load import add_cfg_options
from drivetrain.cli._text import shown_path
from drivetrain.errors import ArgumentError

from ._plan import CONFIG, SCRIPT, Plan, kind_of
from ._record import FIELDS, Difference, Record
from ._start import Kill, StartFailed

_EPILOG = """\
Some steps of your own training are made twice, in folders of their own: once without a stop; and once killed (SIGKILL,
workers too) at random moments, each time resumed from its newest checkpoint. Of every step the ids of its samples, its
batch, losses, weights, averages, optimizer, learning rates and random states are compared, and at the end the two
newest checkpoints, bit by bit. The first difference is named, and what probably makes it.

Nothing is written to the work dir of your run, nothing is uploaded, and its checkpoints are left alone. A run without a
seed is given one, since two runs with different seeds differ.

Exit codes: 0 equal; 1 a difference, or the run itself failed.

examples:
  drivetrain verify-resume configs/resnet50.py
  drivetrain verify-resume configs/resnet50.py --kills 5 --steps 100 --cfg-options train_dataloader.num_workers=2
  drivetrain verify-resume train.py -- --data /data --epochs 3      a script, and what it takes
  drivetrain verify-resume demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "target",
        metavar="CONFIG|SCRIPT",
        help="config, script that trains, or 'demo'; arguments for a script stand last, behind --",
    )
    parser.add_argument("--kills", type=int, default=2, metavar="N", help="how often it is killed (%(default)s)")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps to make; by default an epoch and some, if an epoch is short"
    )
    parser.add_argument("--interval", type=int, default=5, metavar="N", help="steps between saves (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="chooses when to kill (%(default)s)")
    parser.add_argument("--keep", metavar="DIR", help="keep records, logs and checkpoints in this folder")
    add_cfg_options(parser)


def run(options: argparse.Namespace) -> int:
    """Train twice and compare; returns the exit code: 1 where something differs.

    Raises:
        ArgumentError: a count is too small, or options do not fit the target.
        MissingFileError: there is no such file.
        StartFailed: the run itself ended with an error.
    """
    kind = kind_of(options.target)
    _check(options, kind)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="drivetrain_verify_")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        kind,
        str(Path(options.target).absolute()) if kind in (CONFIG, SCRIPT) else options.target,
        arguments=list(options.passed_on),
        cfg_options=options.cfg_options or {},
        interval=options.interval,
        steps=options.steps,
    )
    try:
        return verify(plan, folder, options.kills, options.seed)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _check(options: argparse.Namespace, kind: str) -> None:
    for name, least in (("kills", 1), ("steps", 4), ("interval", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ArgumentError(f"--{name} must be at least {least}, got {value}.")
    if options.passed_on and kind == CONFIG:
        raise ArgumentError(
            f"{options.target!r} is a config and takes no arguments, got {' '.join(options.passed_on)!r}. Values over "
            "those of the config go behind --cfg-options."
        )
    if options.cfg_options and kind != CONFIG:
        raise ArgumentError("--cfg-options is for configs; arguments of a script go behind --.")
    if options.keep is not None and Path(options.keep).is_dir() and any(Path(options.keep).iterdir()):
        raise ArgumentError(f"--keep {options.keep!r}: the folder is not empty. Name a new one.")


def verify(plan: Plan, folder: Path, kills: int, seed: int) -> int:
    """Make the two runs, print what there is to say; returns the exit code.

    Args:
        plan: what both start.
        folder: for their files; it is empty.
        kills: how often the second is killed.
        seed: chooses when.
    """
    from . import _record, _start

    began = time.monotonic()
    whole = _start.run(_at(plan, folder, "whole"), "whole")
    last = max(whole.rows, default=0)
    _check_length(last, kills, plan.interval)
    print(f"Without a stop: {last} steps, saved every {plan.interval} ({time.monotonic() - began:.1f} s).", flush=True)
    parts: list[Record] = []
    for number, kill in enumerate([*_kills(last, kills, seed), None]):
        wait = 0 if kill is None else kill.step + plan.interval + 1
        start = dataclasses.replace(_at(plan, folder, "cut", number), resume=number > 0, wait_at=wait)
        parts.append(_start.run(start, f"cut_{number}", kill))
        print(_told(parts[-1], number), flush=True)
        difference = _record.first_difference(whole, parts)
        if difference is not None:
            return _report(difference, plan, folder)
    return _compare_ends(folder, last, parts)


def _at(plan: Plan, folder: Path, name: str, number: int = 0) -> Plan:
    return dataclasses.replace(
        plan, work_dir=str(folder / name), record=str(folder / f"steps_{name}_{number}.jsonl")
    )  # fmt: skip


def _check_length(last: int, kills: int, interval: int) -> None:
    if last == 0:
        raise StartFailed("the run ended without a training step of a Runner. Give what calls `runner.train()`.")
    if last < kills + 2:
        raise StartFailed(
            f"the run made {last} steps, too few to be killed {kills} times in between. Train for longer, or give "
            "fewer --kills."
        )
    if last < interval:
        raise StartFailed(
            f"the run made {last} steps and is saved every {interval}: there is nothing to resume from. Give a smaller "
            "--interval, or more --steps."
        )


def _kills(last: int, count: int, seed: int) -> Iterator[Kill]:
    """Random moments, in order: not before the first step is made, nor after the last."""
    draws = random.Random(seed)
    for step in sorted(draws.sample(range(1, last), count)):
        yield Kill(step, draws.random())


def _told(part: Record, number: int) -> str:
    last = max(part.rows, default=part.begun_at)
    begun = f"Resumed behind step {part.begun_at}" if part.begun_at else "Resumed, nothing saved yet"
    if number == 0:
        begun = "Started again"
    return f"{begun}: {'made the rest' if part.ended else f'killed behind step {last}'}."


def _report(difference: Difference, plan: Plan, folder: Path) -> int:
    """Say what differs first and why; returns the exit code."""
    from ._cause import cause_of

    when = (
        "before any kill: two starts of this run differ"
        if difference.start == 0
        else f"made after the resume behind step {difference.begun_at}"
    )
    print(f"\nDIFFERENT at step {difference.step}, {when}.")
    for name in difference.fields:
        paths = difference.paths(name)
        more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
        print(f"  {FIELDS[name]}: {', '.join(map(_named(difference, name), paths[:4]))}{more}")

    def examine(index: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        one, other = (_examined(plan, folder, index, name) for name in ("one", "other"))
        return one, other

    print("\nLikely cause:")
    for paragraph in cause_of(difference, examine):
        indent = "    " if paragraph.startswith(" ") else "  "
        print(textwrap.fill(paragraph.strip(), 110, initial_indent=indent, subsequent_indent=indent))
    return 1


def _named(difference: Difference, name: str) -> Any:
    """How a path of a field is shown: with both values where they are numbers."""

    def shown(path: str) -> str:
        values = [row["values"].get(path) for row in (difference.found, difference.expected)]
        told = name == "outputs" and None not in values
        return f"{path} {values[0]} instead of {values[1]}" if told else path or name

    return shown


def _examined(plan: Plan, folder: Path, index: int, name: str) -> Mapping[str, Any]:
    """What a fresh process sees when it makes a sample."""
    from . import _start

    start = dataclasses.replace(_at(plan, folder, f"examined_{name}"), examine=[index])
    _start.run(start, f"examined_{name}")
    seen: Mapping[str, Any] = json.loads(Path(start.record).read_text(encoding="utf-8").splitlines()[-1])
    return seen


def _compare_ends(folder: Path, last: int, parts: list[Record]) -> int:
    """Compare the newest checkpoints of both runs, and say how all went; returns the exit code."""
    from drivetrain.checkpoint import find_good_checkpoint

    from ._record import differing_state

    paths = [find_good_checkpoint(folder / name) for name in ("whole", "cut")]
    found = differing_state(str(paths[0]), str(paths[1]))
    if found:
        print(f"\nDIFFERENT in the newest checkpoint: {', '.join(found[:8])}.")
        print(f"  {shown_path(str(paths[0]))} and {shown_path(str(paths[1]))}; --keep DIR keeps them.")
        return 1
    made = sum(len(part.rows) for part in parts)
    print(
        f"\nEqual, bit by bit: samples, batches, losses, weights, averages, optimizer, settings and random states of "
        f"{last} steps ({made - last} made twice), and the newest checkpoints."
    )
    return 0
