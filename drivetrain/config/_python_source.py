"""A config as Python source.

Plain values come back equal from `exec`. Classes and functions become their dotted paths, which is how a config names
them; any other object becomes a placeholder such as `'<Adam object>'`, so that a config with live objects can be read,
though not rebuilt.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import singledispatch
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple, TypeGuard, cast

from drivetrain.errors import ArgumentTypeError

_WIDTH = 120
_INDENT = "    "
_NEW_LINE = "\n"  # an f-string of Python 3.10 takes no backslash
_USED_NAMES = {"dict", "set", "frozenset", "float", "complex", "__import__"}
"""What the source itself calls: a top-level key of that name would hide it."""


def is_config(obj: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether `obj` is a config rather than a built object: a mapping whose keys are all strings."""
    return isinstance(obj, Mapping) and all(type(key) is str for key in obj)


def dump_python(cfg: Mapping[str, Any]) -> str:
    """Python source of a config, in the order of its keys.

    Each top-level key is an assignment. Where a key is no identifier, the source is one assignment to `cfg` instead.
    A dict has one key a line; a list stays on one line while it fits.

    Args:
        cfg: the config; nested dicts, lists, tuples, sets, strings, bytes, numbers, None and paths are kept.

    Returns:
        The source, ending in a line feed (empty for an empty config).

    Raises:
        ArgumentTypeError: `cfg` is not a mapping.

    >>> print(dump_python({"lr": 0.1, "model": {"type": "ResNet", "depth": 50}}), end="")
    lr = 0.1
    model = dict(
        type='ResNet',
        depth=50,
    )
    """
    if not hasattr(cfg, "items"):
        raise ArgumentTypeError(f"dump_python takes a mapping, got {type(cfg).__name__}: {str(cfg)[:80]!r}.")
    if all(_is_name(key) and key not in _USED_NAMES for key in cfg):
        return "".join(f"{key} = {_source(value, '', len(key) + 3)}\n" for key, value in cfg.items())
    return f"cfg = {_source(cfg, '', 6)}\n"


def _is_name(key: Any) -> bool:
    """Whether Python reads `key` back unchanged as a name; it would normalise some that are not ASCII."""
    if type(key) is not str or not key.isascii() or key == "__debug__":
        return False
    return key.isidentifier() and not keyword.iskeyword(key)


class _Group(NamedTuple):
    """A container taken apart: what opens and closes it, and its items, each after its key."""

    opening: str
    items: list[tuple[str, Any]]
    closing: str
    one_line: bool
    """Whether it may stand on one line."""


def _source(value: Any, indent: str, column: int) -> str:
    """The source of a value that begins at `column` of a line indented by `indent`."""
    parsed = _parsed(value)
    if type(parsed) is str:
        return parsed
    opening, items, closing, one_line = cast("_Group", parsed)
    inside = indent + _INDENT
    parts = [key + _source(item, inside, len(inside) + len(key)) for key, item in items]
    line = f"{opening}{', '.join(parts)}{closing}"
    if not parts or (one_line and "\n" not in line and column + len(line) <= _WIDTH):
        return line
    return f"{opening}\n{''.join(f'{inside}{part},{_NEW_LINE}' for part in parts)}{indent}{closing.lstrip(',')}"


@singledispatch
def _parsed(value: Any) -> str | _Group:
    """The source of a plain value, or a container's parts."""
    return repr(f"<{type(value).__name__} object>")


@_parsed.register(type(None))
@_parsed.register(bool)
@_parsed.register(range)
def _(value: Any) -> str:
    return repr(value)


@_parsed.register
def _(value: str) -> str:
    return str.__repr__(value)


@_parsed.register
def _(value: bytes) -> str:
    return bytes.__repr__(value)


@_parsed.register
def _(value: int) -> str:
    return int.__repr__(value)


@_parsed.register
def _(value: float) -> str:
    text = float.__repr__(value)
    return text if math.isfinite(value) else f"float({text!r})"


@_parsed.register
def _(value: complex) -> str:
    return f"complex({_parsed(value.real)}, {_parsed(value.imag)})"


@_parsed.register
def _(value: PurePath) -> str:
    name = type(value).__name__
    kind = name if name.startswith("Pure") else "Path"
    # An expression rather than an import line: no name is left in the namespace that the source fills.
    return f"__import__('pathlib').{kind}({str(value)!r})"


@_parsed.register(type)
@_parsed.register(FunctionType)
@_parsed.register(BuiltinFunctionType)
def _(value: Any) -> str:
    path = f"{value.__module__}.{value.__qualname__}"
    if "<" in path or value.__module__ is None:  # a lambda or a local one: no path leads to it
        return repr(f"<{type(value).__name__} object>")
    return repr(path)


@_parsed.register(Mapping)
def _(value: Mapping[Any, Any]) -> _Group:
    if all(map(_is_name, value)):
        return _Group("dict(", [(f"{key}=", item) for key, item in value.items()], ")", False)
    return _Group("{", [(f"{_source(key, '', 0)}: ", item) for key, item in value.items()], "}", False)


@_parsed.register
def _(value: list) -> _Group:  # type: ignore[type-arg]
    return _Group("[", [("", item) for item in value], "]", True)


@_parsed.register
def _(value: tuple) -> _Group:  # type: ignore[type-arg]
    return _Group("(", [("", item) for item in value], ",)" if len(value) == 1 else ")", True)


@_parsed.register(AbstractSet)
def _(value: AbstractSet[Any]) -> str | _Group:
    frozen = type(value) is frozenset
    if not value:
        return "frozenset()" if frozen else "set()"
    # Sets have no order of their own; sorted by their source, the same set gives the same text in every process.
    items = [("", item) for item in sorted(value, key=lambda item: _source(item, "", 0))]
    return _Group("frozenset({", items, "})", True) if frozen else _Group("{", items, "}", True)
