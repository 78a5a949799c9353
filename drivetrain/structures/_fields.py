"""What every field of a data element goes through: copies of meta information, and checks with their errors."""

from __future__ import annotations

import copy
import reprlib
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, FieldError, did_you_mean

RESERVED = frozenset({"_metainfo_fields", "_data_fields"})
"""Attributes in which an element keeps the names of its fields."""

_ATOMS = frozenset({int, float, bool, str, bytes, type(None)})


def copy_meta(value: Any) -> Any:
    """A deep copy; the plain values that most meta information is made of take no walk."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if (kind is tuple or kind is list) and all(type(item) in _ATOMS for item in value):
        return value if kind is tuple else list(value)
    return copy.deepcopy(value)


def same(value: Any) -> Any:
    """The value as it is."""
    return value


def check_dict(value: Any, what: str) -> None:
    """Raise an ArgumentTypeError unless `value` is a dict."""
    if not issubclass(type(value), dict):
        raise ArgumentTypeError(f"{what} must be a dict of fields, got {type(value).__name__}: {reprlib.repr(value)}.")


def reserved(name: str) -> FieldError:
    """The error for a name that elements need themselves."""
    return FieldError(f"{name!r} is where a data element keeps the names of its fields: use another name.")


def clash(name: str, owner: str, kind: str, other_kind: str) -> FieldError:
    """The error for a name that is already a field of the other kind."""
    change = f"change it with set_metainfo(dict({name}=...)), " if other_kind == "metainfo" else ""
    return FieldError(
        f"{name!r} is already a {other_kind} field of this {owner} and cannot also be {kind}: {change}use another "
        f"name, or delete it first."
    )


def names_of(dtype: type | tuple[type, ...]) -> str:
    """Names of one class or several, for a message."""
    kinds = dtype if type(dtype) is tuple else (dtype,)
    return " or ".join(kind.__name__ for kind in kinds)  # type: ignore[union-attr]


def field_type_error(field_type: object) -> ArgumentError:
    """The error for a kind of field that is neither data nor meta information."""
    near = did_you_mean(str(field_type), ["data", "metainfo"])
    return ArgumentError(f"field_type must be 'data' or 'metainfo', got {field_type!r}.{near}")
