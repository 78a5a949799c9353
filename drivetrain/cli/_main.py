"""The command line: one sub-command a module."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from drivetrain.errors import DrivetrainError, did_you_mean
from drivetrain.version import __version__

from ._alias import withdraw_alias
from ._text import Help

_Table = Mapping[str, tuple[Any, str]]

_CONFIG: _Table = {
    "show": ("drivetrain.cli._show", "print a config with its bases and options merged"),
    "explain": ("drivetrain.cli._explain", "print a value of a config, and every line that set or overrode it"),
    "diff": ("drivetrain.cli._diff", "compare two configs with their bases and options merged"),
    "check": ("drivetrain.cli.check", "find all faults of a config; no data is read and nothing is trained"),
}
_CHECKPOINT: _Table = {
    "inspect": ("drivetrain.cli._checkpoint_inspect", "say what a checkpoint holds"),
    "verify": ("drivetrain.cli._checkpoint_verify", "read checkpoints to their end, and say which are damaged"),
    "convert": ("drivetrain.cli._checkpoint_convert", "write weights or a checkpoint in another format"),
    "strip": ("drivetrain.cli._checkpoint_strip", "write the weights of a checkpoint without the rest"),
}
_COMMANDS: _Table = {
    "train": ("drivetrain.cli._train", "train the run that a config describes"),
    "val": ("drivetrain.cli._validate", "validate with the validation parts of a config"),
    "test": ("drivetrain.cli._testing", "test a checkpoint with the test parts of a config"),
    "config": (_CONFIG, "show, explain, compare and check configs"),
    "checkpoint": (_CHECKPOINT, "inspect, verify, convert and strip checkpoints"),
    "verify-resume": ("drivetrain.cli.verify", "kill a run, resume it, and compare it with one that was never stopped"),
    "replay": ("drivetrain.cli._replay", "run the training step again that a crash capsule holds"),
    "env": ("drivetrain.cli._env", "say what this environment has: versions, devices, optional packages"),
    "demo": ("drivetrain.cli._demo", "train a small ResNet on handwritten digits, in half a minute on a CPU"),
}

_PASSING_ON = ("verify-resume",)
"""Commands that hand what stands behind `--` to a program of the user's."""

_NOBODY_READS = 128 + 13
"""Exit code of a program that SIGPIPE ended."""

_EPILOG = """\
A run in five commands:

  drivetrain config check configs/my_run.py      find the faults of a config before they cost anything
  drivetrain train configs/my_run.py             train; logs and checkpoints go to work_dirs/my_run
  drivetrain train configs/my_run.py --resume    go on after a stop
  drivetrain val configs/my_run.py work_dirs/my_run/epoch_12.pth
  drivetrain test configs/my_run.py work_dirs/my_run/epoch_12.pth --out predictions.pkl

Exit codes: 0 all went well; 1 an error, or faults or differences were found; 2 the command line was wrong;
130 interrupted. `drivetrain COMMAND --help` tells more. An error takes a line; --traceback shows where it arose.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: the command's own, or 1 after an error that was explained on stderr."""
    parser = argparse.ArgumentParser(
        prog="drivetrain", description="A training engine for PyTorch.", epilog=_EPILOG, formatter_class=Help
    )
    parser.add_argument("--version", action="version", version=f"drivetrain {__version__}")
    arguments = list(sys.argv[1:] if argv is None else argv)
    _add_commands(parser, _COMMANDS, arguments)
    end = arguments.index("--") if arguments[:1] in ([name] for name in _PASSING_ON) and "--" in arguments else None
    options = parser.parse_args(arguments[:end])
    options.passed_on = [] if end is None else arguments[end + 1 :]
    try:
        code: int = importlib.import_module(options.module).run(options)
    except (DrivetrainError, OSError) as error:
        if type(error) is BrokenPipeError and _is_unread(sys.stdout):
            return _NOBODY_READS
        _explain(error, options)
        return 1
    finally:
        withdraw_alias()
    return code


def _add_commands(parser: argparse.ArgumentParser, table: _Table, arguments: Sequence[str]) -> None:
    """Add the commands of a table; only the one that was asked for is loaded, since its module may import torch."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    first = next((place for place, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    asked = arguments[first] if first < len(arguments) else None
    for name, (target, summary) in table.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", formatter_class=Help
        )
        if name == asked and type(target) is not str:
            _add_commands(command, target, arguments[first + 1 :])
        elif name == asked:
            importlib.import_module(target).add_arguments(command)
            command.add_argument("--traceback", action="store_true", help="after an error, show where it arose")
            command.set_defaults(command=command.prog, module=target)
    if asked is not None and asked not in table:
        parser.error(f"there is no command {asked!r}.{did_you_mean(asked, table)} Commands: {', '.join(table)}.")


def _is_unread(stream: TextIO) -> bool:
    """Whether whoever read the output has gone, as `head` does; then nothing more is written to it."""
    if not hasattr(select, "poll"):
        return False
    pipe = select.poll()
    pipe.register(stream.fileno(), 0)
    if not any(state & (select.POLLERR | select.POLLHUP) for _, state in pipe.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes it once more at its end
    return True


def _explain(error: Exception, options: argparse.Namespace) -> None:
    """Say on stderr what went wrong: in a line, or with the traceback where that was asked for."""
    if options.traceback:
        traceback.print_exception(error)
        return
    print(f"{options.command}: {error}", file=sys.stderr)
    if error.__cause__ is not None:
        print("(--traceback shows where it arose.)", file=sys.stderr)
