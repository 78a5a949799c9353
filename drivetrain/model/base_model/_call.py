"""Call a model with a batch, and say what is wrong when batch and model do not fit.

The good path is one call; signatures and tensors are inspected only after an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import BatchDtypeError, BatchError, did_you_mean
from drivetrain.tensors import map_tensors


def call_model(model: nn.Module, forward: Callable[..., Any], data: Any, mode: str) -> Any:
    """Unpack `data` into `model`: a dict by keyword, a list or tuple by position.

    Args:
        model: what is called; its hooks run.
        forward: the user's own forward behind it, for the error message.
        data: what the data preprocessor returned.
        mode: 'loss', 'predict' or 'tensor'.

    Raises:
        BatchError: the batch cannot be unpacked, or does not fit the parameters of `forward`.
        BatchDtypeError: the network met bytes that nobody normalised.
    """
    try:
        if isinstance(data, dict):
            return model(**data, mode=mode)
        if isinstance(data, (list, tuple)):
            return model(*data, mode=mode)
    except TypeError as error:
        raise_if_unbound(forward, data, mode, error)
        _raise_if_listed(data, error)
        raise
    except (RuntimeError, ValueError) as error:
        _raise_if_bytes(data, error)
        raise
    preprocessor = type(getattr(getattr(model, "module", model), "data_preprocessor", None)).__name__
    raise BatchError(
        f"a batch must reach forward as a dict, a list or a tuple, and {preprocessor} returned {_describe(data)}. Let "
        "the data preprocessor return {'inputs': ...} for forward(inputs, mode) or (inputs, labels) for "
        "forward(inputs, labels, mode): subclass BaseDataPreprocessor and adapt the loader's format in its forward."
    )


def raise_if_unbound(forward: Callable[..., Any], data: Any, mode: str, error: TypeError) -> None:
    """Raise a BatchError if `forward` cannot take this batch; a TypeError from inside its body passes.

    Raises:
        BatchError: the batch's keys or its length do not fit the parameters.
    """
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        return
    by_name = isinstance(data, dict)
    if by_name and "mode" in data:
        raise BatchError(
            "the batch has a key 'mode', which is the name under which the engine passes 'loss' or 'predict'. "
            "Rename it in the data preprocessor."
        ) from error
    try:
        signature.bind(**{str(key): None for key in data}, mode=mode) if by_name else signature.bind(*data, mode=mode)
    except TypeError as mismatch:
        owner = type(getattr(forward, "__self__", None)).__name__
        batch = f"the keys {list(data)}" if by_name else f"{len(data)} items ({_kinds(data)})"
        detail = _key_advice(list(data) if by_name else [], signature)
        raise BatchError(
            f"the batch does not fit {owner}.forward: {mismatch}. The batch has {batch}, the signature is "
            f"forward{signature}.{detail}"
        ) from error


def _key_advice(keys: list[str], signature: inspect.Signature) -> str:
    """What to change: nearest names for unknown keys, and the parameter `mode` if it is missing."""
    parameters = signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ""
    free = [name for name in parameters if name not in keys and name != "mode"]
    advice = [f" {key!r} is unknown.{did_you_mean(key, free)}" for key in keys if key not in parameters]
    if "mode" not in parameters:
        advice.append(" forward needs a parameter `mode`: add mode='tensor' as its last one.")
    elif advice:
        advice.append(" Rename the keys in the data preprocessor or the parameters of forward.")
    return "".join(advice)


_ABOUT_BYTES = ("unsigned char", "Byte", "uint8", "mixed dtype")
"""Words by which torch's layers, and its compiler, name values that they cannot compute with."""

_ABOUT_LABELS = ("'indices'", "scalar type Long")
"""Words for bytes where numbers of classes or words were expected; torch's own message says what is right there."""


def _raise_if_bytes(data: Any, error: RuntimeError | ValueError) -> None:
    message = str(error)
    about_bytes = any(words in message for words in _ABOUT_BYTES)
    if about_bytes and not any(words in message for words in _ABOUT_LABELS) and _has_bytes(data):
        raise BatchDtypeError(
            f"the network was given uint8 values, which it cannot compute with ({message.splitlines()[0]}). Nothing "
            "normalised the batch: use data_preprocessor=dict(type='ImgDataPreprocessor', mean=[...], std=[...]), or "
            "convert with .float() in your own data preprocessor, after the copy to the device."
        ) from error


def _raise_if_listed(data: Any, error: TypeError) -> None:
    """Explain a layer of torch's that met a list of tensors or arrays, as `pseudo_collate` leaves them."""
    named = data.items() if isinstance(data, dict) else enumerate(data)
    lists = [(name, value) for name, value in named if issubclass(type(value), list)]
    listed = [str(name) for name, value in lists if value and hasattr(value[0], "dtype")]
    message = str(error)
    if listed and ("list of [" in message or "not list" in message or "not PackedList" in message):
        raise BatchError(
            f"the network was given a list where it takes a tensor ({message.splitlines()[0][:80]}). The batch holds "
            f"lists under {', '.join(map(repr, listed))}: the loader's default, pseudo_collate, does not stack. Stack "
            "in the loader, collate_fn=dict(type='default_collate'), or in the model, "
            "data_preprocessor=dict(type='ImgDataPreprocessor', mean=[...], std=[...]), which also pads unequal images."
        ) from error


def _has_bytes(data: Any) -> bool:
    dtypes: list[torch.dtype] = []

    def note(tensor: Tensor) -> Tensor:
        dtypes.append(tensor.dtype)
        return tensor

    map_tensors(data, note)
    return torch.uint8 in dtypes


def _kinds(items: Iterable[Any]) -> str:
    return ", ".join(type(item).__name__ for item in items)


def _describe(data: Any) -> str:
    if torch.is_tensor(data):
        return f"one tensor of shape {tuple(data.shape)}"
    return f"{data!r:.60} of type {type(data).__name__}"
