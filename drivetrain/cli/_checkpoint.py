"""What the commands about checkpoints share: reading a file of any format, telling its kind, writing beside others."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from drivetrain.errors import ArgumentError, CheckpointError, DuplicateError, require_package
from drivetrain.fileio import atomic_write

SAFETENSORS = ".safetensors"
_STATES = ("message_hub", "optimizer", "param_schedulers", "drivetrain")


def read(path: str) -> dict[str, Any]:
    """What a file holds, on the CPU; nothing in it is run. A state dict alone stands under 'state_dict'.

    Raises:
        MissingFileError, CheckpointError: there is no such file, or it cannot be read.
    """
    from drivetrain.checkpoint import CheckpointLoader

    if path.endswith(SAFETENSORS):
        return read_safetensors(path)
    content = CheckpointLoader.load_checkpoint(path, "cpu", logger="silent")
    if not hasattr(content, "items"):
        raise CheckpointError(f"{path!r} holds a {type(content).__name__}; a checkpoint holds a dict.")
    return {"state_dict": content} if _is_state_dict(content) else dict(content)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return value if hasattr(value, "items") else {}


def kind_of(content: Mapping[str, Any]) -> str:
    """Who wrote a file, as far as its keys say."""
    known = mapping(content.get("meta"))
    if "capsule" in content:
        return "crash capsule of drivetrain"
    if "drivetrain" in content or "drivetrain_version" in known:
        return "checkpoint of drivetrain"
    if "mmengine_version" in known:
        return "checkpoint of MMEngine"
    if any(key in content for key in _STATES):
        return "checkpoint"
    return "weights alone" if "state_dict" in content else "unknown content"


def weights_of(content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The state dict of a file.

    Raises:
        CheckpointError: it has none.
    """
    weights = mapping(content.get("state_dict"))
    if not weights:
        raise CheckpointError(f"{path!r} has no weights under 'state_dict'. Its keys: {', '.join(map(str, content))}.")
    return weights


def chosen_weights(content: Mapping[str, Any], path: str, averaged: bool, raw: bool) -> Mapping[str, Any]:
    """The state dict: as it stands, or with certainty the averaged one, or the one in training.

    A run with `EMAHook` saves the average in `state_dict`, as MMEngine does, and in `ema_state_dict` the weights in
    training.

    Raises:
        CheckpointError: the file has no weights, or no average.
    """
    weights = weights_of(content, path)
    if not averaged and not raw:
        return weights
    in_training = mapping(content.get("ema_state_dict"))
    if not in_training:
        raise CheckpointError(
            f"{path!r} has no 'ema_state_dict': the run averaged no weights (EMAHook). Leave out --ema and --raw."
        )
    if averaged:
        return weights
    chosen = OrderedDict((name, in_training.get(f"module.{name}", value)) for name, value in weights.items())
    chosen._metadata = getattr(weights, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return chosen


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors inside nested containers, each with the keys that lead to it."""
    import torch

    if torch.is_tensor(value):
        yield path, value
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield from tensors_in(item, f"{path}.{key}" if path else str(key))
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{path}.{index}" if path else str(index))


def check_target(target: str, source: str, force: bool) -> None:
    """Refuse to write over a file that nobody said may go.

    Raises:
        ArgumentError: source and target are one file.
        DuplicateError: the target exists, and `force` is False.
    """
    if os.path.exists(target) and os.path.realpath(target) == os.path.realpath(source) and not force:
        raise ArgumentError(f"{target!r} is the file to read from. Name another, or replace it with --force.")
    if os.path.lexists(target) and not force:
        raise DuplicateError(f"{target!r} is there already. Name another file, or replace it with --force.")


def write(content: Any, target: str) -> None:
    """Write plain tensors, numbers, arrays and strings as torch alone would, whole or not at all.

    Raises:
        CheckpointError: torch could not write it.
    """
    import torch

    try:
        with atomic_write(target) as file:
            torch.save(content, file)
    except RuntimeError as error:
        raise CheckpointError(f"{target!r} could not be written, and nothing was replaced: {error}") from error


def read_safetensors(path: str) -> dict[str, Any]:
    """Weights of a safetensors file, and its strings under 'meta'.

    Raises:
        CheckpointError: it is damaged.
        MissingPackageError: the package `safetensors` is not installed.
    """
    from drivetrain.fileio import missing_file

    if not os.path.exists(path):
        raise missing_file(path, "checkpoint")
    opened = _safetensors("safe_open", f"reading {path!r}")
    try:
        with opened(path, framework="pt") as file:
            strings = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # the package's own error has no class that it could be caught by without importing it
        raise CheckpointError(f"{path!r} is no readable safetensors file: {error}") from error
    return {"meta": strings, "state_dict": weights} if strings else {"state_dict": weights}


def write_safetensors(weights: Mapping[str, Any], strings: dict[str, str], target: str) -> None:
    """Write weights as safetensors, whole or not at all; a tensor under several names is written for each.

    Raises:
        MissingPackageError: the package `safetensors` is not installed.
    """
    save = _safetensors("torch.save", f"writing {target!r}")
    # Views and tensors that share memory are refused by the format: each gets its own.
    own = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    content = save(own, metadata=strings)
    with atomic_write(target) as file:
        file.write(content)


def _safetensors(name: str, purpose: str) -> Callable[..., Any]:
    import importlib

    module, _, function = f"safetensors.{name}".rpartition(".")
    try:
        return getattr(importlib.import_module(module), function)
    except ImportError:
        raise require_package("safetensors", purpose) from None


def units(size: int) -> str:
    """A number of bytes in words."""
    if size < 10_000:
        return f"{size} bytes"
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    """Whether every entry is a tensor under a name: a `model.state_dict()` that was saved alone."""
    import torch

    return bool(content) and all(type(key) is str and torch.is_tensor(value) for key, value in content.items())
