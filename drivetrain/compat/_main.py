"""The command `python -m drivetrain.compat`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from drivetrain.errors import DrivetrainError

from ._run import check_script, run_module, run_script
from ._shim import install_shim, remove_shim

_COMMANDS = {
    "install-shim": "Write the tiny package mmengine into an environment.",
    "remove-shim": "Take the tiny package mmengine out of an environment.",
}

USAGE = """\
usage: python -m drivetrain.compat SCRIPT [ARGUMENT ...]
       python -m drivetrain.compat -m MODULE [ARGUMENT ...]
       python -m drivetrain.compat install-shim [--force] [--target FOLDER]
       python -m drivetrain.compat remove-shim [--target FOLDER]

Runs code that was written for MMEngine on drivetrain, unchanged.

  SCRIPT, -m MODULE  run as Python does, with `mmengine` and all below it found in drivetrain; so do the processes that
                     are started from there (data loading workers, subprocesses, torchrun).
  install-shim       write a tiny package `mmengine` into this environment, so that every program in it finds
                     drivetrain under that name, and pip lists it. MMEngine itself must not be installed.
  remove-shim        take that package out again (pip uninstall mmengine does too).
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code (a script's own goes to the caller, as SystemExit).

    Args:
        argv: arguments after `python -m drivetrain.compat`.
    """
    if not argv or argv[0] in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return 0 if argv else 2
    first, *rest = argv
    if first in _COMMANDS:
        return _explained(lambda: _manage(first, rest))
    if first == "-m":
        return _run_module(rest)
    if first.startswith("-"):
        return _refuse(f"there is no option {first}. The script comes first, its own options after it")
    failed = _explained(lambda: check_script(first))
    if not failed:
        run_script(first, rest)
    return failed


def _run_module(rest: Sequence[str]) -> int:
    if not rest:
        return _refuse("-m needs the name of a module")
    run_module(rest[0], rest[1:])
    return 0


def _manage(command: str, rest: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m drivetrain.compat {command}", description=_COMMANDS[command])
    parser.add_argument("--target", type=Path, help="site-packages folder to use (default: this environment's)")
    if command == "install-shim":
        parser.add_argument(
            "--force", action="store_true", help="write it anew, over a folder mmengine that no package owns as well"
        )
        options = parser.parse_args(rest)
        sys.stdout.write(f"{install_shim(options.target, force=options.force)}\n")
    else:
        sys.stdout.write(f"{remove_shim(parser.parse_args(rest).target)}\n")


def _explained(action: Callable[[], None]) -> int:
    """0, or 1 after an error of ours or of the file system was told on stderr."""
    try:
        action()
    except (DrivetrainError, OSError) as error:
        return _refuse(str(error), code=1)
    return 0


def _refuse(message: str, code: int = 2) -> int:
    sys.stderr.write(f"drivetrain.compat: {message}\n")
    return code
