"""Notes on how each parameter got its value, written to the log file after initialisation."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError
from drivetrain.logging import MMLogger
from drivetrain.utils import process_rank


def start_notes(top: nn.Module) -> None:
    """Begin to note, for every parameter under `top`, who changed it last; all modules share one table."""
    unchanged = f"The value is the same before and after calling `init_weights` of {type(top).__name__} "
    notes: dict[nn.Parameter, dict[str, Any]] = defaultdict(dict)
    for param in top.parameters():
        notes[param] = {"init_info": unchanged, "tmp_mean_value": _fingerprint(param)}
    for module in top.modules():
        module._params_init_info = notes  # type: ignore[assignment]


def end_notes(top: nn.Module) -> None:
    """Take the table off every module."""
    for module in top.modules():
        if hasattr(module, "_params_init_info"):
            del module._params_init_info


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Note `init_info` for each parameter of `module` whose value has changed since its last note.

    Changed means that its mean did. For use inside an `init_weights` of your own, which runs while notes are taken.

    Args:
        module: the module that was initialised.
        init_info: what was done, as the log shall show it.

    Raises:
        ArgumentError: no notes are being taken, that is, no `init_weights` is running.
    """
    notes = getattr(module, "_params_init_info", None)
    if notes is None:
        raise ArgumentError(
            f"update_init_info: {type(module).__name__} has no `_params_init_info`. It exists only while the "
            "init_weights() of the outermost BaseModule runs; call update_init_info from within."
        )
    for param in module.parameters():
        mean = _fingerprint(param)
        if mean != notes[param].get("tmp_mean_value"):
            notes[param].update(init_info=init_info, tmp_mean_value=mean)


def write_notes(top: nn.Module, notes: dict[nn.Parameter, dict[str, Any]]) -> None:
    """Write one paragraph a parameter to the log files of the current logger; without a log file nothing is written."""
    if process_rank() != 0:
        return
    text = "Name of parameter - Initialization information\n"
    for name, param in top.named_parameters():
        shape = "lazy" if nn.parameter.is_lazy(param) else param.shape
        text += f"\n{name} - {shape}: \n{notes[param].get('init_info', 'Added by an `init_weights`')} \n"
    for handler in MMLogger.get_current_instance().handlers:
        # Straight to the stream: hundreds of lines that nobody wants on the console, and none with a log prefix.
        if hasattr(handler, "baseFilename"):
            handler.stream.write(text)  # type: ignore[attr-defined]
            handler.flush()


def _fingerprint(param: Tensor) -> float | None:
    """The mean, by which a change is noticed; None for a parameter that holds no values (lazy, on meta, empty)."""
    if nn.parameter.is_lazy(param) or param.is_meta or param.numel() == 0:
        return None
    values = torch.view_as_real(param.detach()) if param.is_complex() else param.detach()
    return float(values.float().mean())
