"""Cast, slice and map sequences and nested containers."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError


def is_str(x: Any) -> bool:
    """Whether `x` is a `str`."""
    return isinstance(x, str)


def iter_cast(inputs: Iterable[Any], dst_type: type, return_type: type | None = None) -> Any:
    """Convert each item to a type.

    Args:
        inputs: the items.
        dst_type: the type of the items.
        return_type: the type to collect them in; None for a lazy iterator.

    Returns:
        The converted items, as `return_type` or an iterator.

    Raises:
        ArgumentTypeError: `inputs` is not iterable, or `dst_type` is no type.
    """
    if not hasattr(inputs, "__iter__"):
        raise ArgumentTypeError(f"iter_cast needs something iterable, got {inputs!r}.")
    if not isinstance(dst_type, type):
        raise ArgumentTypeError(f"dst_type must be a type such as int, got {dst_type!r}.")
    converted = map(dst_type, inputs)
    return converted if return_type is None else return_type(converted)


def list_cast(inputs: Iterable[Any], dst_type: type) -> list[Any]:
    """The items of `inputs` as a list, each converted to `dst_type`."""
    converted: list[Any] = iter_cast(inputs, dst_type, list)
    return converted


def tuple_cast(inputs: Iterable[Any], dst_type: type) -> tuple[Any, ...]:
    """The items of `inputs` as a tuple, each converted to `dst_type`."""
    converted: tuple[Any, ...] = iter_cast(inputs, dst_type, tuple)
    return converted


def slice_list(in_list: Sequence[Any], lens: int | Sequence[int]) -> list[Any]:
    """Cut a list into pieces.

    Args:
        in_list: the list.
        lens: the length of each piece; one number makes all pieces that long.

    Returns:
        The pieces, of the type of `in_list`.

    Raises:
        ArgumentTypeError: `lens` is neither an integer nor a list of integers.
        ArgumentError: the lengths do not add up to that of the list.

    >>> slice_list([1, 2, 3, 4], [1, 3]), slice_list([1, 2, 3, 4], 2)
    ([[1], [2, 3, 4]], [[1, 2], [3, 4]])
    """
    lengths = _lengths(lens, len(in_list))
    if sum(lengths) != len(in_list):
        raise ArgumentError(
            f"the lengths of the pieces add up to {sum(lengths)}, but the list has {len(in_list)} items."
        )
    ends = list(itertools.accumulate(lengths, initial=0))
    return [in_list[start:end] for start, end in itertools.pairwise(ends)]


def _lengths(lens: int | Sequence[int], total: int) -> Sequence[int]:
    if type(lens) is int:
        if lens < 1 or total % lens:
            raise ArgumentError(f"a list of {total} items cannot be cut into pieces of {lens}.")
        return [lens] * (total // lens)
    if type(lens) not in (list, tuple) or any(type(length) is not int for length in lens):  # type: ignore[union-attr]
        raise ArgumentTypeError(f"lens must be an integer or a list of integers, got {lens!r}.")
    return lens  # type: ignore[return-value]


def concat_list(in_list: Iterable[Iterable[Any]]) -> list[Any]:
    """The items of several lists in one.

    >>> concat_list([[1], [2, 3]])
    [1, 2, 3]
    """
    return list(itertools.chain.from_iterable(in_list))


def to_ntuple(n: int) -> Callable[[Any], Any]:
    """A function that repeats a single value `n` times and returns an iterable (strings included) as it is.

    >>> to_ntuple(2)(7), to_ntuple(2)((1, 2))
    ((7, 7), (1, 2))
    """

    def repeated(x: Any) -> Any:
        return x if hasattr(x, "__iter__") else (x,) * n

    return repeated


to_1tuple = to_ntuple(1)
"""A single value as `(x,)`; an iterable as it is."""
to_2tuple = to_ntuple(2)
"""A single value as `(x, x)`; an iterable as it is."""
to_3tuple = to_ntuple(3)
"""A single value as `(x, x, x)`; an iterable as it is."""
to_4tuple = to_ntuple(4)
"""A single value as `(x, x, x, x)`; an iterable as it is."""


def apply_to(data: Any, expr: Callable[[Any], bool], apply_func: Callable[[Any], Any]) -> Any:
    """Replace some leaves of nested dicts, lists and tuples.

    Args:
        data: the container (or a single leaf). It is not changed.
        expr: whether to replace a leaf.
        apply_func: what to put in its place.

    Returns:
        The same containers, of the same classes, around the new leaves.

    >>> apply_to({"a": [1, "x"]}, lambda leaf: leaf == 1, lambda leaf: leaf + 1)
    {'a': [2, 'x']}
    """
    if isinstance(data, dict):
        # A copy keeps what a subclass has beside its items, such as the factory of a defaultdict.
        mapped = copy.copy(data)
        for key, value in data.items():
            mapped[key] = apply_to(value, expr, apply_func)  # one by one: `update` of a ConfigDict merges
        return mapped
    if isinstance(data, (list, tuple)):
        items = [apply_to(item, expr, apply_func) for item in data]
        return type(data)(*items) if hasattr(data, "_fields") else type(data)(items)
    return apply_func(data) if expr(data) else data
