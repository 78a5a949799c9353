"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any, cast

from torch import Tensor
from torch.utils.data import default_collate as torch_collate

from drivetrain.errors import CollateError, did_you_mean
from drivetrain.registry import FUNCTIONS
from drivetrain.structures import BaseDataElement

COLLATE_FUNCTIONS = FUNCTIONS
"""The registry that `collate_fn=dict(type=...)` looks in."""

_Collate = Callable[[Sequence[Any]], Any]


@FUNCTIONS.register_module()
def pseudo_collate(data_batch: Sequence[Any]) -> Any:
    """Turn a list of samples into one sample of lists; leaves are listed, not stacked.

    Samples of different sizes stay possible; stacking is the data preprocessor's business, on the device.

    >>> pseudo_collate([dict(img=1, name="a"), dict(img=2, name="b")])
    {'img': [1, 2], 'name': ['a', 'b']}

    Args:
        data_batch: the samples, all of one form: mappings, tuples or lists, nested.

    Returns:
        A mapping of the samples' type, a named tuple of theirs, or a list.

    Raises:
        CollateError: there is no sample, or samples differ in their keys or lengths.
    """
    return _collate(_first(data_batch), data_batch, pseudo_collate, _as_it_is)


@FUNCTIONS.register_module()
def default_collate(data_batch: Sequence[Any]) -> Any:
    """Turn a list of samples into one batch; tensors, arrays and numbers are stacked.

    As torch's function of that name, but `BaseDataElement`, `str` and `bytes` are listed.

    Args:
        data_batch: the samples, all of one form. Tensors at one place have one shape (...) and become (N, ...); arrays
            become tensors of their dtype; ints become int64, floats float64.

    Raises:
        CollateError: there is no sample, samples differ in keys, lengths or shapes, or a value cannot be stacked.
    """
    return _collate(_first(data_batch), data_batch, default_collate, _stacked)


def _first(batch: Sequence[Any]) -> Any:
    if len(batch) == 0:
        raise CollateError(
            "a batch needs at least one sample, and this one has none. Look at what the batch sampler yields."
        )
    return batch[0]


def _as_it_is(batch: Sequence[Any]) -> Any:
    return batch


def _stacked(batch: Sequence[Any]) -> Any:
    try:
        return torch_collate(cast("list[Any]", batch))
    except (RuntimeError, TypeError) as error:
        raise CollateError(
            f"cannot stack {_forms(batch)}: {error}. Bring the values to one shape and a numeric type in the "
            "pipeline, or list them: collate_fn=dict(type='pseudo_collate')."
        ) from error


def _forms(batch: Sequence[Any]) -> str:
    """Types and shapes of the first few values."""
    shown = [f"{type(item).__name__}{list(item.shape) if hasattr(item, 'shape') else ''}" for item in batch[:4]]
    return ", ".join(shown) + (", ..." if len(batch) > 4 else "")


# The handlers share one signature, used or not.
# ruff: noqa: ARG001
@singledispatch
def _collate(first: Any, batch: Sequence[Any], again: _Collate, leaf: _Collate) -> Any:
    """Collate by the type of the first sample; `again` collates what is inside, `leaf` what has no inside."""
    return leaf(batch)


@_collate.register(str)
@_collate.register(bytes)
@_collate.register(BaseDataElement)
def _listed(first: Any, batch: Sequence[Any], again: _Collate, leaf: _Collate) -> Any:
    return batch


@_collate.register(Tensor)
def _tensors(first: Tensor, batch: Sequence[Any], again: _Collate, leaf: _Collate) -> Any:
    return leaf(batch)


@_collate.register(Mapping)
def _mappings(first: Mapping[Any, Any], batch: Sequence[Any], again: _Collate, leaf: _Collate) -> Any:
    return _rebuilt(first, {key: again([_value(sample, key, first) for sample in batch]) for key in first})


@_collate.register(Sequence)
def _sequences(first: Sequence[Any], batch: Sequence[Any], again: _Collate, leaf: _Collate) -> Any:
    columns = [again(column) for column in _columns(batch)]
    if hasattr(first, "_fields"):
        return type(first)(*columns)
    return columns if type(first) in (list, tuple) else _rebuilt(first, columns)


def _columns(batch: Sequence[Any]) -> list[tuple[Any, ...]]:
    lengths = [len(sample) if hasattr(sample, "__len__") else None for sample in batch]
    if len(set(lengths)) > 1:
        raise CollateError(
            f"the samples of a batch must have the same number of entries, and these have {lengths}. Return the "
            "same entries for every sample; a list of varying length belongs in a tensor or a data element."
        )
    return list(zip(*batch, strict=True))


def _value(sample: Any, key: Any, first: Mapping[Any, Any]) -> Any:
    try:
        return sample[key]
    except (KeyError, TypeError) as error:
        found = list(sample) if hasattr(sample, "keys") else type(sample).__name__
        raise CollateError(
            f"the first sample of the batch has the key {key!r} and another has not: it has {found}."
            f"{did_you_mean(str(key), found) if type(found) is list else ''} Return the same keys for every sample."
        ) from error


def _rebuilt(first: Any, content: Any) -> Any:
    """`content` in the type of the first sample, or as it is where that type takes other arguments."""
    try:
        return type(first)(content)
    except TypeError:
        return content
