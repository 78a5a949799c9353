"""`BaseDataElement`: fields of data and of meta information about one sample, in one object."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor

from drivetrain.errors import ArgumentTypeError, NotFoundError, did_you_mean

from ._fields import RESERVED, check_dict, clash, copy_meta, field_type_error, names_of, reserved, same
from ._text import describe

if TYPE_CHECKING:
    from typing_extensions import Self

_set = object.__setattr__


class BaseDataElement:
    """Named fields of two kinds: data (what moves to a device) and meta information (what describes the sample).

    Both kinds are attributes. A name belongs to one kind only; meta information is changed through `set_metainfo`, so
    that no assignment overwrites it by accident. Fields keep the order in which they were set.

    A subclass may guard a field with a property whose setter calls `set_field(value, '_name', dtype=...)`; the value is
    then stored under `_name` and the field goes by `name`.

    Args:
        metainfo: meta information; a deep copy is kept.
        **kwargs: data fields.

    Example:
        >>> sample = BaseDataElement(metainfo=dict(img_shape=(32, 32)), gt_label=torch.tensor(3))
        >>> sample.img_shape, sample.gt_label
        ((32, 32), tensor(3))
    """

    # The public path: pickles name it, and the file behind it may move.
    __module__ = "drivetrain.structures"

    _metainfo_fields: set[str]
    _data_fields: set[str]

    def __init__(self, *, metainfo: dict[str, Any] | None = None, **kwargs: Any) -> None:
        _set(self, "_metainfo_fields", set())
        _set(self, "_data_fields", set())
        if metainfo is not None:
            self.set_metainfo(metainfo)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def set_metainfo(self, metainfo: dict[str, Any]) -> None:
        """Set or change meta information; a deep copy of each value is kept.

        Raises:
            ArgumentTypeError: `metainfo` is no dict.
            FieldError: a name is already a data field.
        """
        check_dict(metainfo, "metainfo")
        for name, value in metainfo.items():
            self.set_field(copy_meta(value), name, field_type="metainfo")

    def set_data(self, data: dict[str, Any]) -> None:
        """Set or change data fields by name.

        Raises:
            ArgumentTypeError: `data` is no dict.
            FieldError: a name is already a meta information field.
        """
        check_dict(data, "data")
        for name, value in data.items():
            setattr(self, name, value)

    def update(self, instance: BaseDataElement) -> None:
        """Take over all fields of another element; where both have a field, the other's value wins.

        Raises:
            ArgumentTypeError: `instance` is no data element.
        """
        if not issubclass(type(instance), BaseDataElement):
            raise ArgumentTypeError(f"update takes a BaseDataElement, got {type(instance).__name__}.")
        self.set_metainfo(dict(instance.metainfo_items()))
        self.set_data(dict(instance.items()))

    def new(self, *, metainfo: dict[str, Any] | None = None, **kwargs: Any) -> Self:
        """A new element of the same class.

        Args:
            metainfo: its meta information; None copies this element's.
            **kwargs: its data fields; none takes this element's own values.
        """
        fresh = type(self)()
        fresh.set_metainfo(dict(self.metainfo_items()) if metainfo is None else metainfo)
        fresh.set_data(kwargs or dict(self.items()))
        return fresh

    def clone(self) -> Self:
        """A new element with copied meta information and the same data values (they are not copied)."""
        return self._map(same)

    def keys(self) -> list[str]:
        """Names of the data fields, in the order they were set."""
        return [self._public_name(name) for name in self._stored(self._data_fields)]

    def metainfo_keys(self) -> list[str]:
        """Names of the meta information, in the order they were set."""
        return self._stored(self._metainfo_fields)

    def values(self) -> list[Any]:
        """Values of the data fields, in the order of `keys`."""
        return [getattr(self, name) for name in self.keys()]

    def metainfo_values(self) -> list[Any]:
        """Values of the meta information, in the order of `metainfo_keys`."""
        return [getattr(self, name) for name in self.metainfo_keys()]

    def all_keys(self) -> list[str]:
        """Names of the meta information, then of the data fields."""
        return self.metainfo_keys() + self.keys()

    def all_values(self) -> list[Any]:
        """Values in the order of `all_keys`."""
        return self.metainfo_values() + self.values()

    def all_items(self) -> Iterator[tuple[str, Any]]:
        """Name and value of the meta information, then of the data fields."""
        yield from self.metainfo_items()
        yield from self.items()

    def items(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each data field."""
        for name in self.keys():
            yield name, getattr(self, name)

    def metainfo_items(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each piece of meta information."""
        for name in self.metainfo_keys():
            yield name, getattr(self, name)

    @property
    def metainfo(self) -> dict[str, Any]:
        """The meta information as a new dict (its values are not copied)."""
        return dict(self.metainfo_items())

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a data field.

        Raises:
            FieldError: the name is reserved, or is a meta information field.
        """
        if name in RESERVED:
            raise reserved(name)
        if name in self._metainfo_fields:
            raise clash(name, type(self).__name__, "data", "metainfo")
        _set(self, name, value)
        self._data_fields.add(name)

    def __delattr__(self, item: str) -> None:
        """Delete a field of either kind.

        Raises:
            FieldError: the name is reserved.
            AttributeError: there is no such field.
        """
        if item in RESERVED:
            raise reserved(item)
        object.__delattr__(self, item)
        self._metainfo_fields.discard(item)
        self._data_fields.discard(item)

    __delitem__ = __delattr__

    def get(self, key: str, default: Any = None) -> Any:
        """The field `key` of either kind, `default` if there is none."""
        return getattr(self, key, default)

    def pop(self, *args: Any) -> Any:
        """Remove the field `args[0]` of either kind and return its value.

        Args:
            *args: the name, and optionally what to return when there is no such field.

        Raises:
            ArgumentTypeError: not one or two arguments.
            NotFoundError: there is no such field, and no second argument.
        """
        if len(args) not in (1, 2):
            raise ArgumentTypeError(f"pop takes a name and an optional default, got {len(args)} arguments.")
        name = args[0]
        if name not in self:
            if len(args) == 2:
                return args[1]
            raise NotFoundError(f"{type(self).__name__} has no field {name!r}.{did_you_mean(name, self.all_keys())}")
        value = getattr(self, name)
        for stored in (name, f"_{name}") if self._has_property(name) else (name,):
            self.__dict__.pop(stored, None)
            self._metainfo_fields.discard(stored)
            self._data_fields.discard(stored)
        return value

    def __contains__(self, item: str) -> bool:
        """Whether there is a field of either kind called `item`."""
        return item in self._data_fields or item in self._metainfo_fields

    def set_field(
        self,
        value: Any,
        name: str,
        dtype: type | tuple[type, ...] | None = None,
        field_type: str = "data",
    ) -> None:
        """Set a field of either kind; what the setter of a property calls.

        Args:
            value: its value.
            name: its name; a property `v` stores its value under `_v`.
            dtype: the class or classes the value must have; None is any.
            field_type: 'data' or 'metainfo'.

        Raises:
            ArgumentTypeError: the value is not of `dtype`.
            ArgumentError: `field_type` is neither.
            FieldError: the name is reserved, or is a field of the other kind.
        """
        if dtype is not None and not isinstance(value, dtype):
            raise ArgumentTypeError(
                f"field {name!r} must be {names_of(dtype)}, got {type(value).__name__}: {reprlib.repr(value)}."
            )
        fields, others, other_kind = self._kind(field_type)
        if name in RESERVED:
            raise reserved(name)
        if name in others:
            raise clash(name, type(self).__name__, field_type, other_kind)
        _set(self, name, value)
        fields.add(name)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """A new element whose values were moved by their own `to(*args, **kwargs)`; values without one stay."""
        return self._map(lambda value: value.to(*args, **kwargs) if hasattr(value, "to") else value)

    def cpu(self) -> Self:
        """A new element with all tensors on the CPU."""
        return self.__map_tensors__(Tensor.cpu)

    def cuda(self) -> Self:
        """A new element with all tensors on the current CUDA device."""
        return self.__map_tensors__(Tensor.cuda)

    def musa(self) -> Self:
        """A new element with all tensors on the current MUSA device."""
        return self.__map_tensors__(lambda tensor: tensor.to("musa"))

    def npu(self) -> Self:
        """A new element with all tensors on the current NPU."""
        return self.__map_tensors__(lambda tensor: tensor.to("npu"))

    def mlu(self) -> Self:
        """A new element with all tensors on the current MLU."""
        return self.__map_tensors__(lambda tensor: tensor.to("mlu"))

    def detach(self) -> Self:
        """A new element with all tensors detached from their graphs."""
        return self.__map_tensors__(Tensor.detach)

    def numpy(self) -> Self:
        """A new element with every tensor turned into an array, detached and on the CPU."""
        return self.__map_tensors__(lambda tensor: tensor.detach().cpu().numpy())

    def to_tensor(self) -> Self:
        """A new element with every array turned into a tensor, which shares its memory."""
        return self._map(_array_to_tensor)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a dict; a field that is itself a data element becomes a dict too."""
        return {name: value.to_dict() if _is_element(value) else value for name, value in self.all_items()}

    def __repr__(self) -> str:
        return describe(self)

    def __copy__(self) -> Self:
        """A shallow copy with its own tables of fields."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__.update(
            self.__dict__, _data_fields=set(self._data_fields), _metainfo_fields=set(self._metainfo_fields)
        )
        return fresh

    def __map_tensors__(self, fn: Callable[[Tensor], Any]) -> Self:
        """A new element with `fn(tensor)` in the place of each tensor, nested elements included."""

        def convert(value: Any) -> Any:
            if type(value) is Tensor or issubclass(type(value), Tensor):
                return fn(value)
            return value.__map_tensors__(fn) if _is_element(value) else value

        return self._map(convert)

    def _map(self, convert: Callable[[Any], Any]) -> Self:
        """A copy with converted data and copied meta information.

        Values go straight to where they are stored: they passed the setters once, and an array in the place of a tensor
        (after `numpy`) is wanted.
        """
        data, meta = self._data_fields, self._metainfo_fields
        stored = {
            name: convert(value) if name in data else copy_meta(value) if name in meta else value
            for name, value in self.__dict__.items()
        }
        stored["_data_fields"], stored["_metainfo_fields"] = set(data), set(meta)
        fresh = type(self).__new__(type(self))
        fresh.__dict__.update(stored)
        for name in data:
            if name not in stored and f"_{name}" not in data:  # a property that stores its value in its own way
                _set(fresh, name, convert(getattr(self, name)))
        return fresh

    def _stored(self, fields: set[str]) -> list[str]:
        """Names of `fields` in the order they were set: stored ones, then properties that store in their own way."""
        stored = [name for name in self.__dict__ if name in fields]
        if len(stored) < len(fields):
            rest = fields.difference(stored)
            stored += sorted(name for name in rest if f"_{name}" not in fields or not self._has_property(name))
        return stored

    def _public_name(self, name: str) -> str:
        """The name of a stored field as its owner knows it: `v` for `_v` that was set through a property `v`."""
        if name[0] != "_":
            return name
        public = name[1:]
        return public if public in self._data_fields and self._has_property(public) else name

    def _has_property(self, name: str) -> bool:
        return type(getattr(type(self), name, None)) is property

    def _kind(self, field_type: str) -> tuple[set[str], set[str], str]:
        """The table of a kind of field, the table of the other kind, and that kind's name."""
        if field_type == "data":
            return self._data_fields, self._metainfo_fields, "metainfo"
        if field_type == "metainfo":
            return self._metainfo_fields, self._data_fields, "data"
        raise field_type_error(field_type)


def _is_element(value: Any) -> bool:
    return issubclass(type(value), BaseDataElement)


def _array_to_tensor(value: Any) -> Any:
    if type(value) is numpy.ndarray:
        return torch.from_numpy(value)
    return value.to_tensor() if _is_element(value) else value
