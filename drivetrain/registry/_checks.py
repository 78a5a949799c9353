"""What a registry refuses, and how it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentTypeError, DuplicateError

from ._names import describe

if TYPE_CHECKING:
    from ._registry import Registry


def check_callable(registry: Registry, module: Any) -> None:
    """Refuse to register what cannot be called."""
    if not callable(module):
        raise ArgumentTypeError(
            f"only classes and functions can be registered in {registry.name!r}, got an object of "
            f"type {type(module).__name__}: {module!r}."
        )


def check_arguments(name: Any, build_func: Any, parent: Any, scope: Any) -> None:
    """Refuse wrong arguments of `Registry(...)`."""
    if type(name) is not str:
        raise ArgumentTypeError(f"the name of a registry must be a str, got {type(name).__name__}.")
    if build_func is not None and not callable(build_func):
        raise ArgumentTypeError(f"build_func must be callable, got {type(build_func).__name__}.")
    if parent is not None and not hasattr(parent, "_add_child"):
        raise ArgumentTypeError(f"parent must be a Registry, got {type(parent).__name__}.")
    if scope is not None and type(scope) is not str:
        raise ArgumentTypeError(f"scope must be a str, got {type(scope).__name__}.")


def check_registration(registry: Registry, name: Any, force: Any) -> None:
    """Refuse wrong arguments of `register_module`."""
    if type(force) is not bool:
        raise ArgumentTypeError(f"force must be True or False, got {force!r}.")
    if callable(name):
        raise ArgumentTypeError(
            f"the decorator needs parentheses: write @{registry.name.upper()}.register_module() "
            f"above {getattr(name, '__name__', name)!r}."
        )
    names = list(name) if type(name) in (list, tuple) else [name]
    if name is not None and not all(type(item) is str for item in names):
        raise ArgumentTypeError(f"name must be a str or a list of str, got {name!r}.")


def duplicate(registry: Registry, name: str, module: Any) -> DuplicateError:
    """The error for a name that is taken."""
    taken = registry.module_dict[name]
    return DuplicateError(
        f"{name!r} is already registered in {registry.name!r} (scope {registry.scope!r}) by "
        f"{describe(taken)}, so {describe(module)} cannot take the name. Pass name= for another name "
        "or force=True to replace it."
    )


def plain_string(key: Any) -> str:
    """A subclass of str as str; anything else is refused."""
    if isinstance(key, str):
        return str(key)
    raise ArgumentTypeError(f"a registry is asked by name: expected a str, got {type(key).__name__}: {key!r}.")
