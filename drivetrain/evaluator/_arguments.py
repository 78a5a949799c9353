"""What a streaming metric's `update` is called with, taken from what a model returned."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from drivetrain.errors import MetricError, NotFoundError, did_you_mean

_HOW = (
    "Say which fields it compares, StreamingMetric(metric, preds='pred_score', target='gt_label'), or choose its "
    "arguments, StreamingMetric(metric, select=lambda data_batch, outputs: (..., ...))."
)


class Arguments(NamedTuple):
    """Arguments of one call."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def from_selected(selected: Any) -> Arguments:
    """The arguments that a `select` function chose."""
    if type(selected) is dict:
        return Arguments((), selected)
    return Arguments(tuple(selected), {}) if type(selected) in (tuple, list) else Arguments((selected,), {})


def from_outputs(outputs: Any, signature: inspect.Signature | None, metric: str) -> Arguments:
    """The outputs of a model as arguments: one tensor, tensors by position, or a dict by the names of the parameters.

    Raises:
        MetricError: they have another form, or do not fit the parameters of `update`.
    """
    if issubclass(type(outputs), Mapping):
        arguments = Arguments((), _known_names(outputs, signature))
    elif issubclass(type(outputs), Tensor):
        arguments = Arguments((outputs,), {})
    elif type(outputs) in (tuple, list) and outputs and all(issubclass(type(item), Tensor) for item in outputs):
        arguments = Arguments(tuple(outputs), {})
    else:
        raise MetricError(f"{metric}.update takes tensors, and the model returned {_described(outputs)}. {_HOW}")
    _check_fit(arguments, signature, metric, outputs)
    return arguments


def fields_of(outputs: Any, name: str) -> Any:
    """A field of a batch of outputs: of a dict as it is, of a list looked up in each item and put together.

    Args:
        outputs: a dict, a data element, or a list of either, one a sample.
        name: name of the field; dots reach inside.

    Raises:
        NotFoundError: there is no such field.
    """
    if type(outputs) in (list, tuple):
        return _together([_field(sample, name) for sample in outputs])
    return _field(outputs, name)


def first_device(arguments: Arguments) -> torch.device | None:
    """Device of the first tensor among the arguments."""
    return next((tensor.device for tensor in _tensors(arguments)), None)


def count_samples(arguments: Arguments) -> int | None:
    """Number of samples in a call: length of the first argument that is a batch, None without any."""
    batches = (_batch_length(value) for value in (*arguments.positional, *arguments.named.values()))
    return next((length for length in batches if length is not None), None)


def drop_last(arguments: Arguments) -> Arguments | None:
    """The call without its last sample; None when nothing is left."""
    count = count_samples(arguments)
    if count is None:
        return arguments
    if count == 1:
        return None

    def shortened(value: Any) -> Any:
        return value[:-1] if _batch_length(value) == count else value

    return Arguments(
        tuple(map(shortened, arguments.positional)), {name: shortened(value) for name, value in arguments.named.items()}
    )


def _batch_length(value: Any) -> int | None:
    if issubclass(type(value), Tensor):
        return value.shape[0] if value.dim() else None
    return len(value) if type(value) in (list, tuple) else None


def _known_names(outputs: Mapping[str, Any], signature: inspect.Signature | None) -> dict[str, Any]:
    """The items that `update` has a parameter for; all where it takes any."""
    if signature is None or any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(outputs)
    return {name: value for name, value in outputs.items() if name in signature.parameters}


def _check_fit(arguments: Arguments, signature: inspect.Signature | None, metric: str, outputs: Any) -> None:
    if signature is None:
        return
    try:
        signature.bind(*arguments.positional, **arguments.named)
    except TypeError as error:
        raise MetricError(
            f"{metric}.update{signature} cannot be called with {_described(outputs)}: {error}. {_HOW}"
        ) from None


def _described(outputs: Any) -> str:
    if issubclass(type(outputs), Mapping):
        return f"a dict with {', '.join(map(repr, outputs)) or 'nothing'}"
    if type(outputs) in (list, tuple):
        kinds = dict.fromkeys(type(item).__name__ for item in outputs)
        return f"a {type(outputs).__name__} of {len(outputs)} {' and '.join(kinds) or 'items'}"
    return type(outputs).__name__


def _field(sample: Any, name: str) -> Any:
    found = sample
    for part in name.split("."):
        found = _member(found, part, name)
    return found


def _member(holder: Any, part: str, name: str) -> Any:
    if issubclass(type(holder), Mapping):
        if part in holder:
            return holder[part]
        known = list(holder)
    else:
        if hasattr(holder, part):
            return getattr(holder, part)
        known = list(holder.all_keys()) if hasattr(holder, "all_keys") else []
    raise NotFoundError(
        f"a prediction of the model has no field {part!r} (of {name!r}): {type(holder).__name__} has "
        f"{', '.join(map(repr, known)) or 'no fields'}.{did_you_mean(part, known)}"
    )


def _together(values: list[Any]) -> Any:
    """Values of the samples along the batch.

    Numbers, scalars and tensors of one shape are stacked; tensors of one entry, or of different lengths, are
    concatenated. What is no number stays a list.
    """
    tensors = [_as_tensor(value) for value in values]
    if not tensors or any(tensor is None for tensor in tensors):
        return values
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if shapes == {(1,)} or len(shapes) > 1:
        return torch.cat([tensor.reshape(1) if tensor.dim() == 0 else tensor for tensor in tensors])
    return torch.stack(tensors)


def _as_tensor(value: Any) -> Any:
    kind = type(value)
    if issubclass(kind, Tensor):
        return value
    if kind in (int, float, bool) or issubclass(kind, (numpy.ndarray, numpy.generic)):
        return torch.as_tensor(value)
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if issubclass(type(value), Tensor):
        yield value
    elif issubclass(type(value), Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif issubclass(type(value), (list, tuple)):
        for item in value:
            yield from _tensors(item)
