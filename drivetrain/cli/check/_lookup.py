"""From the `type` of a config to the class or function behind it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

from drivetrain.config import LazyAttr, LazyObject
from drivetrain.errors import DrivetrainError, NotFoundError, nearest
from drivetrain.registry import Registry, replace_failures, root_registries

from ._fault import ARGUMENT, MISSPELT, NOT_IMPORTED


class Found(NamedTuple):
    """What a `type` leads to.

    Attributes:
        target: the class or function; None where there is none.
        text: why there is none.
        cause: the kind of mistake.
    """

    target: Any
    text: str = ""
    cause: str = ""


def is_lazy(value: Any) -> bool:
    """Whether a value stands for an import."""
    return type(value) in (LazyObject, LazyAttr)


def look_up(kind: Any, registry: Registry, scope: str | None = None) -> Found:
    """Find a `type` in a registry, in the scope in force or in `scope`."""
    if is_lazy(kind):
        return _imported(kind)
    if type(kind) is not str:
        text = f"'type' must be a registered name, an import path, a class or a function, got {kind!r}."
        return Found(kind) if callable(kind) else Found(None, text, ARGUMENT)
    try:
        with registry.switch_scope_and_registry(scope) as scoped, replace_failures(None):
            found = scoped.get(kind)
            # Asked to build what it does not know, a registry says why it does not.
            return Found(scoped.build({"type": kind, "runner_type": kind}) if found is None else found)
    except NotFoundError as error:
        return Found(None, str(error), getattr(error, "cause", MISSPELT))
    except Exception as error:
        return Found(None, f"{kind!r} cannot be imported: {type(error).__name__}: {error}", NOT_IMPORTED)


def find_anywhere(kind: Any, scope: str | None = None) -> tuple[Any, Registry] | None:
    """A `type` in whichever registry has it."""
    if type(kind) is not str:
        target = look_up(kind, root_registries()[0]).target
        return None if target is None else (target, root_registries()[0])
    for root in root_registries():
        try:
            with root.switch_scope_and_registry(scope) as scoped:
                if "." in kind and scoped.split_scope_key(kind)[0] not in _scopes(root):
                    continue
                found = scoped.get(kind)
        except Exception:  # a package of that scope that is broken is told where it is needed
            continue
        if found is not None:
            return found, scoped
    return None


def near_names(kind: str) -> list[str]:
    """Registered names, of any registry, that differ from `kind` by a letter or two."""
    names = {name for root in root_registries() for node in _tree(root) for name in node.module_dict}
    return [name for name in nearest(kind.rpartition(".")[2], names, 1) if _ratio(kind, name) >= 0.85]


def _imported(kind: Any) -> Found:
    try:
        return Found(kind.build())
    except DrivetrainError as error:
        missing = "has no" in str(error)
        return Found(None, str(error), MISSPELT if missing else NOT_IMPORTED)
    except Exception as error:
        return Found(None, f"{kind.dotted_path} cannot be imported: {type(error).__name__}: {error}", NOT_IMPORTED)


def _ratio(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first.lower(), second.lower()).ratio()


def _scopes(root: Registry) -> set[str]:
    return {node.scope for node in _tree(root)}


def _tree(node: Registry) -> Iterator[Registry]:
    yield node
    for child in node.children.values():
        yield from _tree(child)
