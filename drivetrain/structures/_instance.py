"""`InstanceData`: fields that all have one entry for each instance of a sample (boxes, labels, masks, ...)."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy
import torch
from torch import Tensor

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingAttributeError, OutOfRangeError, did_you_mean

from ._base import BaseDataElement
from ._fields import RESERVED, same

if TYPE_CHECKING:
    from typing_extensions import Self

BoolTypeTensor: TypeAlias = Union[torch.BoolTensor, torch.cuda.BoolTensor]  # type: ignore[name-defined]  # noqa: UP007
LongTypeTensor: TypeAlias = Union[torch.LongTensor, torch.cuda.LongTensor]  # type: ignore[name-defined]  # noqa: UP007
IndexType: TypeAlias = Union[str, slice, int, list[Any], numpy.ndarray[Any, Any], Tensor]  # noqa: UP007
"""What selects instances: a name, a slice, a number, numbers or booleans in a list, an array or a tensor."""
Cat: TypeAlias = "Callable[[list[Any]], Any]"

_INTEGERS = frozenset({torch.int8, torch.int16, torch.int32, torch.int64})


class InstanceData(BaseDataElement):
    """Data fields of equal length: entry i of each belongs to instance i.

    A value is anything with a length: a tensor, an array, a list, a tuple, a str, or an object of the user's own that
    can be indexed (and has a class method `cat`, if elements are to be concatenated).

    Example:
        >>> found = InstanceData(scores=torch.tensor([0.9, 0.2, 0.7]), names=["cat", "dog", "cow"])
        >>> found[found.scores > 0.5].names
        ['cat', 'cow']
    """

    __module__ = "drivetrain.structures"

    def __setattr__(self, name: str, value: Sized) -> None:
        """Set a data field.

        Raises:
            ArgumentTypeError: the value has no length.
            ArgumentError: it is not as long as the fields already here.
            FieldError: the name is reserved, or is a meta information field.
        """
        if name not in RESERVED:
            self._check_length(name, value)
        super().__setattr__(name, value)

    __setitem__ = __setattr__

    def __len__(self) -> int:
        """Number of instances."""
        for name in self._data_fields:
            return len(getattr(self, name))
        return 0

    def __getitem__(self, item: IndexType) -> Self:
        """The chosen instances as a new element (of length one for an integer), or the field of that name for a str.

        Args:
            item: an integer, a slice, a list, an array or a tensor of integers, or a mask of booleans as long as this
                element. Choosing from lists, tuples and strings reads the index on the host.

        Raises:
            OutOfRangeError: an integer lies outside of [-len, len).
            ArgumentError: a mask has another length, or an index has more than one dimension.
            ArgumentTypeError: something else is given.
            MissingAttributeError: there is no field of that name.
        """
        if type(item) is str:
            return self._field(item)
        choose = _chooser(item, len(self))
        chosen = self._map(same)
        for name in chosen._stored(chosen._data_fields):
            object.__setattr__(chosen, name, choose(getattr(self, name)))
        return chosen

    @staticmethod
    def cat(instances_list: list[InstanceData]) -> InstanceData:
        """The instances of all elements in one, with the meta information of the first.

        Args:
            instances_list: at least one element; all have the same fields. A single one is returned as it is.

        Raises:
            ArgumentError: the list is empty, or the fields differ.
            ArgumentTypeError: an item is no `InstanceData`, or the values of a field cannot be concatenated.
        """
        _check_cat(instances_list)
        first = instances_list[0]
        if len(instances_list) == 1:
            return first
        names = first.keys()
        return first.new(
            **{name: _cat_field(name, [getattr(element, name) for element in instances_list]) for name in names}
        )

    def _check_length(self, name: str, value: Any) -> None:
        try:
            given = len(value)
        except TypeError:
            raise ArgumentTypeError(
                f"field {name!r} needs one entry for each instance, and a {type(value).__name__} such as {value!r} has "
                f"no length. What describes the whole sample goes into metainfo."
            ) from None
        length = len(self)
        if length and given != length:
            raise ArgumentError(
                f"field {name!r} has {given} entries and this {type(self).__name__} has {length} instances: "
                f"all fields must be equally long."
            )

    def _field(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            near = did_you_mean(name, self.all_keys())
            raise MissingAttributeError(f"{type(self).__name__} has no field {name!r}.{near}") from None


def _chooser(item: Any, length: int) -> Callable[[Any], Any]:
    """A function that takes the chosen entries out of any kind of value."""
    kind = type(item)
    if kind is slice:
        return _slicer(item, length)
    if kind is list or kind is numpy.ndarray or issubclass(kind, Tensor):
        return _gatherer(_index_tensor(item, length))
    try:
        index = operator.index(item)
    except TypeError:
        raise ArgumentTypeError(
            f"instances are chosen by an int, a slice, or a list, array or tensor of integers or booleans, "
            f"got {kind.__name__}: {item!r}."
        ) from None
    if not -length <= index < length:
        raise OutOfRangeError(f"index {index} is out of range for {length} instances.")
    return _slicer(slice(index % length, index % length + 1), length)


def _slicer(item: slice, length: int) -> Callable[[Any], Any]:
    if item.step is not None and item.step < 0:  # which tensors do not take
        return _gatherer(torch.tensor(list(range(*item.indices(length))), dtype=torch.int64))
    return lambda value: value[item]


def _index_tensor(item: Any, length: int) -> Tensor:
    """The index as a one-dimensional tensor of int64 or bool."""
    index = item if issubclass(type(item), Tensor) else torch.from_numpy(numpy.asarray(item))
    if index.dim() != 1:
        raise ArgumentError(f"instances are chosen along one dimension, got an index of shape {tuple(index.shape)}.")
    if index.dtype is torch.bool:
        if index.shape[0] != length:
            raise ArgumentError(f"a mask needs one entry for each of the {length} instances, got {index.shape[0]}.")
        return index
    if index.dtype in _INTEGERS or (index.shape[0] == 0 and type(item) is list):
        return index.long()
    raise ArgumentTypeError(f"an index holds integers or booleans, got {index.dtype}.")


def _gatherer(index: Tensor) -> Callable[[Any], Any]:
    positions: list[int] = []  # the index on the host, read when the first plain sequence asks for it

    def on_host() -> list[int]:
        if not positions:
            chosen = index.nonzero().flatten() if index.dtype is torch.bool else index
            positions.extend(chosen.tolist())
        return positions

    def choose(value: Any) -> Any:
        kind = type(value)
        if issubclass(kind, Tensor):
            return value[index.to(value.device)]
        if issubclass(kind, numpy.ndarray):
            return value[index.cpu().numpy()]
        if kind is str:
            return "".join([value[position] for position in on_host()])
        if issubclass(kind, (list, tuple)):
            return kind([value[position] for position in on_host()])
        return value[index]

    return choose


def _check_cat(elements: Sequence[Any]) -> None:
    if not elements:
        raise ArgumentError("cat needs at least one InstanceData, got an empty list.")
    for element in elements:
        if not issubclass(type(element), InstanceData):
            raise ArgumentTypeError(f"cat takes a list of InstanceData, got one of {type(element).__name__}.")
    names = set(elements[0].all_keys())
    for position, element in enumerate(elements):
        differing = names.symmetric_difference(element.all_keys())
        if differing:
            raise ArgumentError(
                f"cat needs elements with the same fields: element {position} differs from the first in "
                f"{', '.join(sorted(differing))}. Give an empty element zero-length fields instead of none."
            )


def _cat_field(name: str, values: list[Any]) -> Any:
    kind = type(values[0])
    try:
        return _cat_function(kind)(values)
    except (TypeError, AttributeError) as error:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise ArgumentTypeError(
            f"field {name!r} holds {kinds}, which cannot be concatenated ({error}). Values must be of one kind: "
            f"tensors, arrays, lists, tuples, strings, or objects of a class with a method `cat(values)`."
        ) from error


def _cat_function(kind: type) -> Cat:
    if issubclass(kind, Tensor):
        return torch.cat
    if issubclass(kind, numpy.ndarray):
        return numpy.concatenate
    if kind is str:
        return "".join
    if issubclass(kind, (list, tuple)):
        return lambda values: kind(itertools.chain.from_iterable(values))
    return kind.cat  # type: ignore[attr-defined]
