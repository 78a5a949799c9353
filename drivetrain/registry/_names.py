"""How messages name things."""

from __future__ import annotations

from typing import Any


def describe(registered: Any) -> str:
    """`module.QualifiedName` of a class or function."""
    module = getattr(registered, "__module__", "?")
    return f"{module}.{getattr(registered, '__qualname__', type(registered).__qualname__)}"


def article(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
