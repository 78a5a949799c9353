"""The command line: one sub-command a module."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from drivetrain.errors import DrivetrainError, did_you_mean
from drivetrain.version import __version__

_COMMANDS = {"demo": ("drivetrain.cli._demo", "train a small ResNet on handwritten digits, in half a minute on a CPU")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: the command's own, or 1 after an error that was explained on stderr."""
    parser = argparse.ArgumentParser(prog="drivetrain", description="A training engine for PyTorch.")
    parser.add_argument("--version", action="version", version=f"drivetrain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        # A command's module may import torch: only the one that was asked for is loaded.
        if name in arguments:
            importlib.import_module(module).add_arguments(command)
    _refuse_unknown(parser, arguments)
    options = parser.parse_args(arguments)
    try:
        code: int = importlib.import_module(_COMMANDS[options.command][0]).run(options)
    except (DrivetrainError, OSError) as error:
        print(f"drivetrain {options.command}: {error}", file=sys.stderr)
        return 1
    return code


def _refuse_unknown(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Answer a misspelt command with the nearest one; argparse would only list them."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in _COMMANDS:
        parser.error(
            f"there is no command {first!r}.{did_you_mean(first, _COMMANDS)} Commands: {', '.join(_COMMANDS)}."
        )
