"""Put the entries of a state dict into a model, and say loudly what did not fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentTypeError, WeightsMismatchError
from drivetrain.logging import print_log

from ._match import ENOUGH, MatchReport, ShapeMismatch, ignorable, match_state_dict
from ._wrappers import unwrapped

_SIZE_MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape (.+?) from checkpoint, the shape in current model is (.+?)\.$"
)


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Any],
    strict: bool = False,
    logger: logging.Logger | str | None = None,
    *,
    min_match: float = ENOUGH,
) -> MatchReport:
    """Copy the entries of `state_dict` into the model, and log on rank 0 what matched and what did not.

    Entries of another shape are left out and reported. Wrappers around and inside the model are looked through. If the
    names differ by one common prefix only (`module.`, `backbone.` ...), it is repaired and reported.

    Args:
        module: the model.
        state_dict: tensors by name; `_metadata` on it (versions of the modules) is used if there.
        strict: accept nothing but an exact match; no prefix is repaired then.
        logger: where the report goes, as in `print_log`; None is the current logger.
        min_match: the least share of the file's entries that must match, 0 to 1.

    Returns:
        What matched and what did not.

    Raises:
        WeightsMismatchError: `strict` and something differs, or fewer than `min_match` of the entries match. The model
            is as it was before the call.
        ArgumentTypeError: `state_dict` is no mapping of names.
    """
    if not hasattr(state_dict, "items"):
        raise ArgumentTypeError(f"state_dict must map names to tensors, got {type(state_dict).__name__}.")
    report = match_state_dict(module, state_dict)
    renamed = state_dict if strict else report.rename(state_dict)
    # Hooks with which a module adapts old files can make names fit that do not fit as they stand: only loading shows.
    tentative = not _acceptable(report, strict, min_match)
    if tentative and not _adapts_files(module):
        raise _mismatch(report, strict, min_match)
    before = _Snapshot(module) if tentative else None
    report = _load(module, renamed, report)
    if before is not None and not _acceptable(report, strict, min_match):
        before.restore()
        raise _mismatch(report, strict, min_match)
    _log(report, logger)
    return report


def _acceptable(report: MatchReport, strict: bool, min_match: float) -> bool:
    return report.exact if strict else report.share >= min_match


def _adapts_files(module: nn.Module) -> bool:
    """Whether any part of the model has its own way to load, or hooks that change what is loaded."""
    return any(
        part._load_state_dict_pre_hooks or not type(part)._load_from_state_dict.__module__.startswith("torch.")
        for part in module.modules()
    )


class _Outcome(NamedTuple):
    missing: list[str]
    unexpected: list[str]
    errors: list[str]


def _load(module: nn.Module, state_dict: Mapping[str, Any], expected: MatchReport) -> MatchReport:
    """Load for good, and correct the report that was made from the names alone."""
    outcome = _Outcome([], [], [])
    state = dict(state_dict)
    with torch.no_grad():
        _load_into(module, state, getattr(state_dict, "_metadata", None) or {}, "", outcome)
    mis_shaped = tuple(_shape_mismatch(found) for found in map(_SIZE_MISMATCH.match, outcome.errors) if found)
    left = {*outcome.unexpected, *(entry.name for entry in mis_shaped)}
    return replace(
        expected,
        matched=tuple(name for name in state_dict if name not in left),
        missing=tuple(name for name in dict.fromkeys(outcome.missing) if not ignorable(name)),
        unexpected=tuple(dict.fromkeys(outcome.unexpected)),
        mis_shaped=mis_shaped,
        rivals=(),
        notes=tuple(text for text in outcome.errors if not _SIZE_MISMATCH.match(text)),
    )


def _load_into(
    module: nn.Module, state: dict[str, Any], metadata: Mapping[str, Any], prefix: str, outcome: _Outcome
) -> None:
    """Torch's own loading of one module, then of its children, with wrappers left out of the names."""
    module = unwrapped(module)
    local = dict(metadata.get(prefix[:-1], {}))
    module._load_from_state_dict(state, prefix, local, True, *outcome)
    for name, child in module._modules.items():
        if child is not None:
            below = f"{prefix}{name}."
            inside = {key: value for key, value in state.items() if key.startswith(below)}
            _load_into(child, inside, metadata, below, outcome)
    incompatible = _IncompatibleKeys(outcome.missing, outcome.unexpected)
    for hook in module._load_state_dict_post_hooks.values():
        hook(module, incompatible)


def _shape_mismatch(found: re.Match[str]) -> ShapeMismatch:
    in_file, in_model = (tuple(map(int, re.findall(r"\d+", shape))) for shape in found.groups()[1:])
    return ShapeMismatch(found[1], in_file, in_model)


class _Snapshot:
    """The parameters and buffers of a model, to undo a load that turned out not to fit."""

    def __init__(self, module: nn.Module) -> None:
        self._tables = [
            (
                table,
                {name: (tensor, None if tensor is None else tensor.detach().clone()) for name, tensor in table.items()},
            )
            for part in module.modules()
            for table in (part._parameters, part._buffers)
        ]

    def restore(self) -> None:
        """Put every tensor back, in place."""
        for table, saved in self._tables:
            table.clear()
            for name, (tensor, value) in saved.items():
                table[name] = tensor  # type: ignore[assignment]
                if tensor is not None and value is not None:
                    tensor.data = value


def _mismatch(report: MatchReport, strict: bool, min_match: float) -> WeightsMismatchError:
    if strict:
        why = "strict=True asks for an exact match"
    else:
        why = f"at least {min_match:.0%} of the file's entries must match"
    advice = list(report.near_misses())
    if report.repaired and strict:
        advice.append("  without strict=True the prefix would be repaired")
    if report.rivals:
        named = " or ".join(repr(prefix.rstrip(".")) for prefix in report.rivals)
        advice.append(f"  the model's names stand in the file under {named}: load_checkpoint_with_prefix selects them")
    if not strict:
        advice.append(
            "  if this is what you want, pass a lower min_match; revise_keys of load_checkpoint renames entries"
        )
    return WeightsMismatchError("\n".join([f"the weights do not fit the model: {why}. {report}", *advice]))


def _log(report: MatchReport, logger: logging.Logger | str | None) -> None:
    if is_main_process():
        level = logging.INFO if report.exact else logging.WARNING
        print_log(f"Loaded weights into {report}", "current" if logger is None else logger, level)
