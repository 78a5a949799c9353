"""`build_from_cfg`: from a config to an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drivetrain.config import ConfigDict, origins_of
from drivetrain.errors import ArgumentTypeError, DrivetrainError, NotFoundError

from ._construct import construct
from ._explain import not_found
from ._names import article

if TYPE_CHECKING:
    from ._registry import Registry


def build_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build what `cfg` describes.

    Args:
        cfg: a dict or config. `type` says what to build: a registered name, an import path, a class or a function;
            `_scope_` the scope in which this and everything built inside it is looked up; the rest are arguments.
        registry: where the name is looked up.
        default_args: arguments for keys that `cfg` lacks.

    Returns:
        The object. A class that keeps named instances (`ManagerMixin`) is asked for the instance of that name.

    Raises:
        NotFoundError: there is no such name, or no `type`.
        ArgumentTypeError: the config is no mapping, `type` is neither a name nor callable, or the arguments do not fit.
    """
    return build_with(construct, cfg, registry, default_args)


def build_with(
    call: Callable[[Any, dict[str, Any], Registry], Any], cfg: Any, registry: Registry, default_args: Any = None
) -> Any:
    """Find the `type` of `cfg` in its scope and let `call(found, arguments, registry)` make the object."""
    try:
        args = arguments(cfg, registry, default_args)
        with registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
            found = resolve(args.pop("type"), scoped)
            return call(found, args, scoped)
    except DrivetrainError as error:
        _say_where(error, cfg)
        raise


def _say_where(error: DrivetrainError, cfg: Any) -> None:
    """Add the line of the config file to an error, once: of the innermost config that has one."""
    origins = origins_of(cfg, "type") if type(cfg) is ConfigDict else ()
    if origins and not hasattr(error, "origin") and len(error.args) == 1:
        error.origin = origins[-1]  # type: ignore[attr-defined]
        error.args = (f"{error} This is set in {origins[-1]}.",)


def arguments(cfg: Any, registry: Any, default_args: Any = None) -> dict[str, Any]:
    """A new dict of the keys of `cfg`, with `default_args` where it has none; `type` is in it.

    Raises:
        ArgumentTypeError: one of the three is of a wrong type.
        NotFoundError: there is no `type`.
    """
    if not hasattr(registry, "switch_scope_and_registry"):
        raise ArgumentTypeError(f"registry must be a Registry, got {type(registry).__name__}.")
    role = article(registry.name)
    defaults = {} if default_args is None else _plain(default_args, f"the default_args of {role}")
    args = {**defaults, **_plain(cfg, f"the config of {role}")}
    if "type" not in args:
        raise NotFoundError(
            f"the config of {role} has no key 'type', which says what to build: {cfg!r}. "
            "Write dict(type='ClassName', ...)."
        )
    return args


def resolve(kind: Any, registry: Registry) -> Any:
    """The callable behind a `type`.

    Raises:
        NotFoundError: it is a name, and the name is not found; the message says why.
        ArgumentTypeError: it is neither a name nor callable.
    """
    if not isinstance(kind, str):
        found = kind
    else:
        found = registry.get(kind)
        if found is None:
            raise not_found(kind, registry)
    if not callable(found):
        raise ArgumentTypeError(
            f"the 'type' of {article(registry.name)} must be a registered name, an import path, a "
            f"class or a function; {kind!r} is a {type(found).__name__}, which cannot be called."
        )
    return found


def _plain(cfg: Any, role: str) -> dict[str, Any]:
    items = getattr(cfg, "items", None)
    if not callable(items):
        raise ArgumentTypeError(f"{role} must be a dict or a config, got {type(cfg).__name__}: {cfg!r}.")
    # items() rather than dict(cfg): a config resolves its lazy imports there.
    return dict(items())
