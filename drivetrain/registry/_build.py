"""`build_from_cfg`: from a config to an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from drivetrain.config import ConfigDict, origins_of
from drivetrain.errors import ArgumentTypeError, DrivetrainError, NotFoundError

from ._construct import construct
from ._explain import not_found
from ._names import article

if TYPE_CHECKING:
    from ._registry import Registry


_Instead = Callable[[Exception, Any, Any, Any], Any]
_instead: ContextVar[_Instead | None] = ContextVar("instead", default=None)


@contextmanager
def replace_failures(instead: _Instead | None) -> Iterator[None]:
    """Inside the block, what cannot be built is replaced, so that one pass finds all faults of a config.

    Args:
        instead: called as `instead(error, cfg, default_args, registry)`; what it returns is taken for the object. None
            lets errors go on as they do outside of such a block.
    """
    token = _instead.set(instead)
    try:
        yield
    finally:
        _instead.reset(token)


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
    instead = _instead.get()
    if instead is None:
        return _build_with(call, cfg, registry, default_args)
    try:
        return _build_with(call, cfg, registry, default_args)
    except Exception as error:
        return instead(error, cfg, default_args, registry)


def _build_with(
    call: Callable[[Any, dict[str, Any], Registry], Any], cfg: Any, registry: Registry, default_args: Any
) -> Any:
    with told_with_line(cfg):
        args = arguments(cfg, registry, default_args)
        with registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
            found = resolve(args.pop("type"), scoped)
            return call(found, args, scoped)


@contextmanager
def told_with_line(cfg: Any) -> Iterator[None]:
    """Have errors inside the block name the line of `cfg`, the config that is built there from a copy of it."""
    try:
        yield
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
