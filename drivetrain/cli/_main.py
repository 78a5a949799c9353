"""The command line: one sub-command a module."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from drivetrain.errors import DrivetrainError
from drivetrain.version import __version__

_COMMANDS = {"demo": ("drivetrain.cli._demo", "train a small ResNet on handwritten digits, in half a minute on a CPU")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 1 after an error that was explained on stderr."""
    parser = argparse.ArgumentParser(prog="drivetrain", description="A training engine for PyTorch.")
    parser.add_argument("--version", action="version", version=f"drivetrain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        # A command's module may import torch: only the one that was asked for is loaded.
        if name in arguments:
            importlib.import_module(module).add_arguments(command)
    options = parser.parse_args(arguments)
    try:
        importlib.import_module(_COMMANDS[options.command][0]).run(options)
    except DrivetrainError as error:
        print(f"drivetrain {options.command}: {error}", file=sys.stderr)
        return 1
    return 0
