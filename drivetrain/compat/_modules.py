"""Modules of the alias: what a path below `mmengine` holds, and the module objects that have no twin in drivetrain."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from drivetrain.errors import LeftOutError, MissingAttributeError, did_you_mean

from ._left_out import LEFT_OUT_MODULES, why_left_out
from ._table import NAMES, ROOMS

ROOT = "mmengine"
_PACKAGE = "drivetrain"


def known_modules() -> list[str]:
    """Every module path below `mmengine` that the table gives, `""` for `mmengine` itself, sorted."""
    tables = {*NAMES, *ROOMS, *LEFT_OUT_MODULES}
    parents = {path.rpartition(".")[0] for path in tables}
    return sorted({*tables, *parents})


_KNOWN = frozenset(known_modules())


@functools.cache
def names_of(path: str) -> dict[str, str]:
    """Where each name of a module is found: name -> `drivetrain.room:name`."""
    found: dict[str, str] = {}
    source = path.partition(".")[0]
    for word in NAMES.get(path, "").split():
        if word.endswith(":"):
            source = word[:-1]
        else:
            name, _, other = word.partition("=")
            found[name] = f"{_PACKAGE}.{source}:{other or name}"
    return found


def resolve(target: str) -> Any:
    """The object behind `module:name`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def twin_of(path: str) -> str | None:
    """The module of drivetrain that is the one at `path` below `mmengine`, the same object; None if there is none."""
    if path.partition(".")[0] not in ROOMS:
        return None
    full = f"{_PACKAGE}.{path}"
    try:
        return full if full in sys.modules or importlib.util.find_spec(full) else None
    except ModuleNotFoundError:  # a parent is a plain file
        return None


def exists(path: str) -> bool:
    """Whether there is a module at `path` below `mmengine`."""
    return path in _KNOWN or twin_of(path) is not None


def look_up(path: str, name: str) -> Any:
    """What `name` is in the module at `path`: a name of the table, or a module below it, imported now.

    Raises:
        MissingAttributeError: neither; the message says so, or why the name was left out of drivetrain.
    """
    targets = names_of(path)
    if name in targets:
        return resolve(targets[name])
    below = f"{path}.{name}".lstrip(".")
    if below in _KNOWN:
        return importlib.import_module(f"{ROOT}.{below}")
    if name.startswith("__"):
        raise AttributeError(name)
    reason = why_left_out(below)
    if reason is None:
        shown = f"{ROOT}.{path}".rstrip(".")
        reason = f"module {shown!r} has no attribute {name!r}.{did_you_mean(name, targets)}"
    raise MissingAttributeError(reason)


def refuse_left_out(path: str) -> None:
    """Explain a left-out name to `from module import name`, which looks for a sub-module once no attribute is there.

    Raises:
        LeftOutError: `path` below `mmengine` is a name that was left out.
    """
    reason = why_left_out(path)
    if reason is not None:
        raise LeftOutError(reason)


class AliasModule(ModuleType):
    """A module of `mmengine` that drivetrain has under no such path; its names are found on first use (PEP 562)."""

    __drivetrain_alias__ = True

    def __init__(self, name: str) -> None:
        super().__init__(name, "A module of MMEngine's contract, provided by drivetrain.")
        self._path = name.partition(".")[2]
        targets = names_of(self._path)
        self.__all__ = sorted(name for name in targets if not name.startswith("_"))
        for name in targets:
            if name.startswith("__"):
                setattr(self, name, resolve(targets[name]))

    def __getattr__(self, name: str) -> Any:
        value = look_up(self.__dict__.get("_path", ""), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it, unless a module would hide a name: `utils.dl_utils.collect_env` is a function and a module."""
        hides = type(value) is AliasModule and name in names_of(self.__dict__.get("_path", ""))
        if not hides:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__all__})


def extend(module: ModuleType, path: str) -> None:
    """Let a module of drivetrain answer for what MMEngine has in it besides: deep modules, names, reasons."""
    own: Callable[[str], Any] | None = module.__dict__.get("__getattr__")
    if hasattr(own, "alias_of"):
        return

    def __getattr__(name: str) -> Any:
        if own is not None:
            try:
                return own(name)
            except AttributeError:
                pass
        return look_up(path, name)

    __getattr__.alias_of = own  # type: ignore[attr-defined]
    module.__dict__["__getattr__"] = __getattr__


def restore(module: ModuleType) -> None:
    """Undo `extend`, and forget the alias's modules that the import system left as attributes."""
    added: Any = module.__dict__.get("__getattr__")
    if hasattr(added, "alias_of"):
        del module.__dict__["__getattr__"]
        if added.alias_of is not None:
            module.__dict__["__getattr__"] = added.alias_of
    for name, value in [*module.__dict__.items()]:
        if type(value) is AliasModule:
            del module.__dict__[name]
            if "_displaced" in vars(value):
                module.__dict__[name] = vars(value)["_displaced"]
