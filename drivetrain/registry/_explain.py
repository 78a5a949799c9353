"""Why a name was not found: the error that says so.

This runs only when a build has failed, so it may take its time: it imports the rooms that were not needed yet and looks
through every registry.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drivetrain.errors import NotFoundError, did_you_mean, nearest
from drivetrain.utils import get_object_from_string

from ._names import article
from ._scope import PACKAGE, ROOT_SCOPE, canonical_scope

if TYPE_CHECKING:
    from ._registry import Registry

MISSPELT, NOT_IMPORTED, ELSEWHERE = "misspelt name", "module not imported", "wrong scope or registry"
_SLIP = 0.75


def not_found(key: str, registry: Registry) -> NotFoundError:
    """The error for a `type` that `registry` does not know; its attribute `cause` says in two words what is wrong.

    Args:
        key: the name that was asked for.
        registry: where it was asked for.
    """
    scope, name = registry.split_scope_key(key)
    head = f"{key!r} is not in the registry {registry.name!r} (scope {registry.scope!r})."
    asked = registry if scope is None else registry._search_scope(scope)
    if asked is None:
        why, cause = _scope_or_path_fault(key, registry), MISSPELT if _importable(str(scope)) else NOT_IMPORTED
    else:
        tree, name = _filled(registry.root), name.rpartition(".")[2]
        elsewhere = _elsewhere(name, asked, tree)
        why = elsewhere or _near(name, asked, tree)
        cause = ELSEWHERE if elsewhere else MISSPELT if _is_slip(name, tree) else NOT_IMPORTED
    error = NotFoundError(f"{head} {why}")
    error.cause = cause  # type: ignore[attr-defined]
    return error


def _scope_or_path_fault(key: str, registry: Registry) -> str:
    scope, _, name = key.partition(".")
    if scope == ROOT_SCOPE:
        scope, key = PACKAGE, f"{PACKAGE}.{name}"
    if not _importable(scope):
        other = _elsewhere(name, registry, _filled(registry.root)) if "." not in name else ""
        return (
            f"There is no scope {scope!r} here, and the package {scope!r} cannot be imported: it is not installed "
            f"in this environment, or its folder is not on sys.path. Install it, or mend the prefix. {other}"
        ).rstrip()
    parent, missing = _deepest_importable(key)
    found = get_object_from_string(parent)
    return (
        f"{parent!r} can be imported and has no {missing!r}.{did_you_mean(missing, _public(found))} If {name!r} "
        f"should be registered in the package {scope!r}, check that `import {scope}.registry` creates a child of "
        "this registry."
    )


def _public(module: Any) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_")]


def _elsewhere(name: str, registry: Registry, tree: list[Registry]) -> str:
    """Where else `name` is registered: another scope of this tree, or a registry of another kind."""
    scopes = [node.scope for node in tree if name in node.module_dict]
    if scopes:
        full = " or ".join(repr(f"{scope}.{name}") for scope in scopes)
        return (
            f"It is registered in scope {' and '.join(map(repr, scopes))} as {full}: write that, or set "
            f"default_scope={scopes[0]!r} in the config (or _scope_={scopes[0]!r} beside the type)."
        )
    for root in _other_roots(registry.root):
        for node in _filled(root):
            if name in node.module_dict:
                return (
                    f"{name!r} is not {article(registry.name)}, but {_label(root)} has it"
                    f"{'' if node.scope == ROOT_SCOPE else f' in scope {node.scope!r}'}: is it under the right key "
                    "of the config?"
                )
    return ""


def _near(name: str, registry: Registry, tree: list[Registry]) -> str:
    """The nearest names, and what to do about a module that was never imported."""
    own = [entry for node in registry._lineage() for entry in node.module_dict]
    scoped = {entry: f"{node.scope}.{entry}" for node in tree for entry in node.module_dict}
    hint = did_you_mean(name, own) or _either(scoped[entry] for entry in nearest(name, scoped))
    empty = "" if own else " Nothing is registered in it."
    return (
        f"{hint}{empty} If {name!r} is a class of yours, the module that defines it was never imported: import it "
        "before building, or list it in the config as custom_imports=dict(imports=['your_package.your_module'])."
    ).lstrip()


def _is_slip(name: str, tree: list[Registry]) -> bool:
    """Whether a registered name is so near that this one is rather misspelt than unknown."""
    hits = nearest(name, (entry for node in tree for entry in node.module_dict), 1)
    return any(difflib.SequenceMatcher(None, name.lower(), hit.lower()).ratio() >= _SLIP for hit in hits)


def _either(names: Iterable[str]) -> str:
    quoted = " or ".join(map(repr, names))
    return f" Did you mean {quoted}?" if quoted else ""


def _filled(root: Registry) -> list[Registry]:
    """The registries of a tree, those that can be filled by an import filled."""
    nodes = list(_walk(root))
    for node in nodes:
        with suppress(Exception):  # whatever is broken there is not what the user asked about
            node.import_from_location()
    return nodes


def _walk(node: Registry) -> Iterator[Registry]:
    yield node
    for child in list(node.children.values()):
        yield from _walk(child)


def _other_roots(root: Registry) -> Iterable[Registry]:
    from ._registry import root_registries

    return (other for other in root_registries() if other is not root)


def _label(root: Registry) -> str:
    from ._roots import named_roots

    return next((name for name, known in named_roots().items() if known is root), f"the registry {root.name!r}")


def _importable(package: str) -> bool:
    with suppress(ImportError, ValueError):
        return importlib.util.find_spec(package) is not None
    return False


def _deepest_importable(path: str) -> tuple[str, str]:
    """The longest part of an import path that exists, and the component after it."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        with suppress(Exception):
            if get_object_from_string(".".join(parts[:end])) is not None:
                return ".".join(parts[:end]), parts[end]
    return canonical_scope(parts[0]), ".".join(parts[1:])
