"""Load a checkpoint, or part of one, into a model."""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from drivetrain.errors import CheckpointError, WeightsMismatchError, did_you_mean

from ._loader import CheckpointLoader
from ._match import ENOUGH
from ._read import MapLocation
from ._weights import load_state_dict

_Logger = logging.Logger | str | None


def load_checkpoint(
    model: nn.Module,
    filename: str | Path,
    map_location: MapLocation = None,
    strict: bool = False,
    logger: _Logger = None,
    revise_keys: Iterable[tuple[str, str]] = [(r"^module\.", "")],
    *,
    trusted: bool = False,
    min_match: float = ENOUGH,
) -> dict[str, Any]:
    """Load the weights of a file into a model; nothing in the file is run.

    Args:
        model: takes the weights; wrappers are looked through.
        filename: a local path, an `http(s)://`, `s3://`, `gs://` or `torchvision://` address, or one with a prefix that
            `CheckpointLoader` knows.
        map_location: where tensors go, as in `torch.load`.
        strict: raise unless names and shapes match exactly.
        logger: where reports go, as in `print_log`; None is the current logger.
        revise_keys: pairs (regular expression, replacement) applied to the file's names, in order.
        trusted: run whatever code the file asks for. Only for files that you or your people wrote.
        min_match: the least share of the file's entries that must match.

    Returns:
        The whole checkpoint, as it was saved.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it cannot be read, needs code to be run, or is no dict.
        WeightsMismatchError: the weights do not fit; the model is as it was.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger, trusted=trusted)
    if not hasattr(checkpoint, "items"):
        raise CheckpointError(
            f"{os.fspath(filename)!r} holds a {type(checkpoint).__name__}; "
            "expected a dict with a state_dict, or a state_dict."
        )
    return _load_checkpoint_to_model(model, checkpoint, strict, logger, revise_keys, min_match=min_match)


def _load_checkpoint(
    filename: str | Path, map_location: MapLocation = None, logger: _Logger = None, *, trusted: bool = False
) -> Any:
    """Read a checkpoint from wherever its path points; arguments as in `load_checkpoint`."""
    return CheckpointLoader.load_checkpoint(
        filename, map_location, "current" if logger is None else logger, trusted=trusted
    )


def _load_checkpoint_to_model(
    model: nn.Module,
    checkpoint: Any,
    strict: bool = False,
    logger: _Logger = None,
    revise_keys: Iterable[tuple[str, str]] = [(r"^module\.", "")],
    *,
    min_match: float = ENOUGH,
) -> Any:
    """Load the weights of a checkpoint that was read already; arguments as in `load_checkpoint`."""
    weights = _revised(_weights_of(checkpoint), revise_keys)
    try:
        load_state_dict(model, weights, strict, logger, min_match=min_match)
    except WeightsMismatchError as error:
        raise WeightsMismatchError(f"{error}{_elsewhere(checkpoint)}") from None
    return checkpoint


def _weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    return checkpoint.get("state_dict", checkpoint)


def _revised(weights: Mapping[str, Any], revise_keys: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
    """The weights with their names rewritten, and `_metadata` with them."""
    rules = list(revise_keys)
    revised = OrderedDict((_rewrite(name, rules), value) for name, value in weights.items())
    metadata = getattr(weights, "_metadata", None) or {}
    # The metadata's keys are names of modules: without the dot at their end that the rules may look for.
    revised._metadata = OrderedDict(  # type: ignore[attr-defined]
        (_rewrite(f"{name}.", rules).rstrip("."), value) for name, value in metadata.items()
    )
    return revised


def _rewrite(name: Any, rules: list[tuple[str, str]]) -> Any:
    if type(name) is not str:
        return name
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _elsewhere(checkpoint: Mapping[str, Any]) -> str:
    """A line that names a key of the file with weights under it, when there is no `state_dict`."""
    if "state_dict" in checkpoint:
        return ""
    holders = [repr(key) for key, value in checkpoint.items() if hasattr(value, "values") and _holds_tensors(value)]
    if not holders:
        return ""
    return f"\n  the file has no 'state_dict', and tensors under {', '.join(holders)}: hand those to load_state_dict"


def _holds_tensors(value: Mapping[str, Any]) -> bool:
    return not issubclass(type(value), Tensor) and any(issubclass(type(item), Tensor) for item in value.values())


def load_checkpoint_with_prefix(
    prefix: str, filename: str | Path, map_location: MapLocation = None, *, trusted: bool = False
) -> OrderedDict[str, Any]:
    """The weights under one prefix of a file, such as `backbone`, without it.

    Args:
        prefix: what the names begin with; a dot at its end may be left out.
        filename: as in `load_checkpoint`.
        map_location: as in `load_checkpoint`.
        trusted: as in `load_checkpoint`.

    Returns:
        Tensors by what is left of their names.

    Raises:
        WeightsMismatchError: no name has the prefix; the prefixes that there are, are listed.
    """
    weights = _weights_of(_load_checkpoint(filename, map_location, trusted=trusted))
    start = prefix if prefix.endswith(".") else f"{prefix}."
    found = OrderedDict((name[len(start) :], value) for name, value in weights.items() if name.startswith(start))
    if not found:
        there = sorted({name.partition(".")[0] for name in weights})
        raise WeightsMismatchError(
            f"no entry of {os.fspath(filename)!r} begins with {start!r}.{did_you_mean(prefix, there)} "
            f"Its entries begin with: {', '.join(there[:20])}."
        )
    return found


_load_checkpoint_with_prefix = load_checkpoint_with_prefix
