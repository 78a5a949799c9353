"""`drivetrain checkpoint convert FILE OUT`."""

from __future__ import annotations

import argparse
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentError

from ._checkpoint import (
    SAFETENSORS,
    check_target,
    chosen_weights,
    mapping,
    read,
    units,
    weights_of,
    write,
    write_safetensors,
)

_FORMATS = ("safetensors", "mmengine", "torch")

_EPILOG = """\
formats:
  safetensors  the weights, and what `meta` says as strings; needs the package safetensors. Ends in .safetensors
  mmengine     a whole checkpoint that MMEngine 0.10 loads and resumes: without what it has no place for (random states,
               positions of loaders, states of hooks, the history of logged values)
  torch        the weights alone, as torch.save(model.state_dict()) writes them: every program reads them

examples:
  drivetrain checkpoint convert epoch_12.pth resnet50.safetensors
  drivetrain checkpoint convert epoch_12.pth for_mmengine.pth --to mmengine
  drivetrain checkpoint convert resnet50.safetensors resnet50.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", help="a checkpoint of drivetrain or MMEngine, weights, or .safetensors")
    parser.add_argument("out", metavar="OUT", help="the file to write; it appears whole or not at all")
    parser.add_argument("--to", choices=_FORMATS, help="the format; without it by OUT's ending")
    add_choice_of_weights(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")


def add_choice_of_weights(parser: argparse.ArgumentParser) -> None:
    """`--ema` and `--raw`."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--ema", action="store_true", help="the averaged weights of EMAHook; an error where the run averaged none"
    )
    choice.add_argument("--raw", action="store_true", help="the weights in training, where the run averaged them")


def run(options: argparse.Namespace) -> int:
    """Write the file in the other format; returns the exit code.

    Raises:
        ArgumentError: OUT's ending and the format contradict each other.
        DuplicateError: OUT is there already.
    """
    target = format_of(options)
    check_target(options.out, options.file, options.force)
    content = read(options.file)
    if target == "mmengine":
        write(for_mmengine(content, options), options.out)
    else:
        weights = chosen_weights(content, options.file, options.ema, options.raw)
        if target == "safetensors":
            write_safetensors(_tensors_of(weights), _strings(content.get("meta")), options.out)
        else:
            write(_plain(weights), options.out)
    before, after = (units(os.path.getsize(path)) for path in (options.file, options.out))
    print(f"{options.file} ({before}) -> {options.out} ({after}), {target}")
    return 0


def format_of(options: argparse.Namespace) -> str:
    """The format to write.

    Raises:
        ArgumentError: OUT's ending says another.
    """
    named = options.out.endswith(SAFETENSORS)
    target = options.to or ("safetensors" if named else "torch")
    if named != (target == "safetensors"):
        raise ArgumentError(
            f"--to {target} and OUT={options.out!r} do not fit together: files of the format safetensors, and only "
            f"these, end in {SAFETENSORS}."
        )
    return str(target)


def for_mmengine(content: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint in MMEngine's own layout, of objects that its reader knows."""
    weights_of(content, options.file)
    if options.raw or options.ema:
        chosen = chosen_weights(content, options.file, options.ema, options.raw)
        content = {key: value for key, value in content.items() if key != "ema_state_dict"} | {"state_dict": chosen}
    kept = {key: _plain(value) for key, value in content.items() if key not in ("drivetrain", "capsule", "batch")}
    hub = kept.get("message_hub")
    if type(hub) is dict:
        hub["log_scalars"] = OrderedDict()  # histories are objects of a class, here ours, there theirs
        there = mapping(hub.get("runtime_info"))
        hub["resumed_keys"] = {key: value for key, value in mapping(hub.get("resumed_keys")).items() if key in there}
    if type(kept.get("meta")) is dict:
        kept["meta"].pop("drivetrain_version", None)
    return kept


def _plain(value: Any) -> Any:
    """`value` of tensors, containers, numbers, strings and arrays alone; of what is none of these, its text."""
    import numpy as np
    import torch

    if torch.is_tensor(value):
        return value
    if hasattr(value, "items"):
        plain: Any = (OrderedDict if hasattr(value, "move_to_end") else dict)(
            (_plain(key), _plain(item)) for key, item in value.items()
        )
        if hasattr(value, "_metadata"):
            plain._metadata = _plain(value._metadata)
        return plain
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_plain(item) for item in value)
    if issubclass(type(value), np.generic):
        return value.item()
    known = type(value) in (bool, int, float, str, bytes, type(None), np.ndarray, torch.Size, torch.dtype)
    return value if known else str(value)


def _tensors_of(weights: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {str(name): value for name, value in weights.items() if torch.is_tensor(value)}


def _strings(meta: Any) -> dict[str, str]:
    """The facts of `meta` as strings, containers among them as JSON."""
    if not hasattr(meta, "items"):
        return {}
    return {
        str(key): value if type(value) is str else json.dumps(_plain(value), default=str) for key, value in meta.items()
    }
