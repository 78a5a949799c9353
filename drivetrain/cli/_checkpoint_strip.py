"""`drivetrain checkpoint strip FILE [OUT]`."""

from __future__ import annotations

import argparse
import os

from drivetrain.errors import NotFoundError, did_you_mean

from ._checkpoint import check_target, chosen_weights, read, units
from ._checkpoint_convert import add_choice_of_weights

_EPILOG = """\
What is left loads with load_from=, `drivetrain test` and torch.load, and cannot be resumed.

examples:
  drivetrain checkpoint strip epoch_12.pth                         writes epoch_12_weights.pth
  drivetrain checkpoint strip epoch_12.pth resnet50.pth --keep meta
  drivetrain checkpoint strip epoch_12.pth resnet50.pth --ema      be sure that these are the averaged weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", help="a checkpoint")
    parser.add_argument("out", nargs="?", metavar="OUT", help="the file to write; without it FILE with _weights added")
    parser.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="KEY",
        help="what to keep beside the weights: meta has the config and the names of classes",
    )
    add_choice_of_weights(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")


def run(options: argparse.Namespace) -> int:
    """Write the weights without the rest; returns the exit code.

    Raises:
        DuplicateError: OUT is there already.
        NotFoundError: the file has no such key to keep.
    """
    from drivetrain.checkpoint import save_checkpoint

    out = options.out or "_weights".join(os.path.splitext(options.file))
    check_target(out, options.file, options.force)
    content = read(options.file)
    before = os.path.getsize(options.file)
    for key in options.keep:
        if key not in content:
            hint = did_you_mean(key, map(str, content))
            raise NotFoundError(f"{options.file!r} has no {key!r}.{hint} Its keys: {', '.join(map(str, content))}.")
    kept = {key: content[key] for key in options.keep}
    kept["state_dict"] = chosen_weights(content, options.file, options.ema, options.raw)
    save_checkpoint(kept, out)
    after = os.path.getsize(out)
    print(f"{options.file} ({units(before)}) -> {out} ({units(after)}, {after / max(before, 1):.0%})")
    return 0
