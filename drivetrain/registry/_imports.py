"""The imports that a look-up may need: a registry's locations, a scope's package, an import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drivetrain.errors import BuildError, MissingPackageError
from drivetrain.utils import get_object_from_string

from ._scope import PACKAGE, ROOT_SCOPE, warn

if TYPE_CHECKING:
    from ._registry import Registry

_SCOPES_WITHOUT_LOCATIONS = frozenset(
    {
        "mmcls",
        "mmdet",
        "mmdet3d",
        "mmseg",
        "mmaction",
        "mmtrack",
        "mmpose",
        "mmedit",
        "mmocr",
        "mmgen",
        "mmfewshot",
        "mmrazor",
        "mmflow",
        "mmhuman3d",
        "mmrotate",
        "mmselfsup",
        "mmyolo",
        "mmpretrain",
        "mmagic",
    }
)
_warned: set[tuple[str, str]] = set()


def import_locations(registry: Registry) -> None:
    """Import what fills `registry`: its locations, or the modules of an OpenMMLab package that names none."""
    for location in registry._locations:
        _import_location(location, registry)
    if not registry._locations and registry.scope in _SCOPES_WITHOUT_LOCATIONS:
        _register_all_modules(registry.scope)


def import_scope(scope: str) -> bool:
    """Import `<scope>.registry`, which creates the registries of a package; False when there is no such module.

    Raises:
        BuildError: the module is there and importing it raised.
    """
    if scope == ROOT_SCOPE or not scope.isidentifier():
        return False
    for module in (scope, f"{scope}.registry"):
        try:
            importlib.import_module(module)
        except Exception as error:
            if _is_missing(module, error):
                return False
            raise _import_raised(module, error, f"names that begin with '{scope}.'") from error
    return True


def object_at(path: str, registry: Registry) -> Any:
    """What stands at an import path, or None. Paths of the root scope's name mean this package first.

    Raises:
        BuildError: a module on the path raised while it was imported.
    """
    try:
        if path.startswith(f"{ROOT_SCOPE}."):
            ours = get_object_from_string(PACKAGE + path[len(ROOT_SCOPE) :])
            if ours is not None:
                return ours
        return get_object_from_string(path)
    except Exception as error:
        raise _import_raised(path, error, f"the registry {registry.name!r}") from error


def warn_once(registry: str, scope: str, message: str, say: Callable[[str], None]) -> None:
    """Say `message` the first time this registry misses this scope."""
    if (registry, scope) not in _warned:
        _warned.add((registry, scope))
        say(message)


def _import_location(location: str, registry: Registry) -> None:
    try:
        importlib.import_module(location)
    except Exception as error:
        if _is_missing(location, error):
            raise MissingPackageError(
                f"the registry {registry.name!r} (scope {registry.scope!r}) is filled by importing {location!r}, and "
                f"there is no such module ({error}). Install the package that holds it, or correct the entry "
                f"{location!r} in locations=."
            ) from error
        raise _import_raised(location, error, f"the registry {registry.name!r}") from error


def _register_all_modules(scope: str) -> None:
    try:
        module = importlib.import_module(f"{scope}.utils")
    except ModuleNotFoundError:
        warn(
            f"The package of scope {scope!r} names no locations for its registries, and {scope}.utils, which should "
            f"register them, cannot be imported: import the modules that define its classes yourself."
        )
        return
    register = getattr(module, "register_all_modules", None)
    if register is not None:
        register(False)


def _is_missing(module: str, error: Exception) -> bool:
    """Whether `error` says that `module` or a package above it is not there, not that something it imports is not."""
    name = getattr(error, "name", None) if type(error) is ModuleNotFoundError else None
    return bool(name) and f"{module}.".startswith(f"{name}.")


def _import_raised(module: str, error: Exception, purpose: str) -> BuildError:
    return BuildError(
        f"importing {module!r} for {purpose} raised {type(error).__name__}: {error}. The name looked up "
        "may be right: mend that module first (its traceback stands above)."
    )
