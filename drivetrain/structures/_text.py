"""How a data element is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._base import BaseDataElement

_INDENT = "    "


def describe(element: BaseDataElement) -> str:
    """All fields of an element, one a line, nested elements and dicts indented."""
    body = [
        "",
        f"{_INDENT}META INFORMATION",
        *_lines(element.metainfo_items()),
        "",
        f"{_INDENT}DATA FIELDS",
        *_lines(element.items()),
    ]
    return "\n".join([f"<{type(element).__name__}(", *body, f") at {id(element):#x}>"])


def _lines(fields: Iterable[tuple[str, Any]]) -> list[str]:
    return [_INDENT + _indent_rest(f"{name}: {_value(value)}") for name, value in fields]


def _value(value: Any) -> str:
    if issubclass(type(value), dict):
        return "".join(f"\n{_INDENT}{_indent_rest(f'{key}: {_value(item)}')}" for key, item in value.items())
    return _indent_rest(repr(value))


def _indent_rest(text: str) -> str:
    return text.replace("\n", f"\n{_INDENT}")
