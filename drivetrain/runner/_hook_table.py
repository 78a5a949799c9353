"""The hooks of a run: their order, and a plan of what to call at each point."""

from __future__ import annotations

import copy
import difflib
import inspect
import logging
from collections.abc import Callable
from typing import Any

from drivetrain.errors import ArgumentTypeError, HookError, did_you_mean
from drivetrain.hooks import Hook, method_at, overrides_point
from drivetrain.logging import print_log
from drivetrain.registry import HOOKS
from drivetrain.typing import ConfigType

from .priority import Priority, get_priority

_BoundHook = Callable[..., None]

_NAMES = {level.value: level.name for level in Priority}


class HookTable:
    """Hooks in priority order, with one planned list of bound methods for each point.

    Only methods that a hook really overrides are planned, so an empty point costs one look-up in a dict. The plan of a
    point is made at its first call and thrown away when the hooks change.
    """

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self._plan: dict[str, tuple[_BoundHook, ...]] = {}
        self._last: dict[str, _BoundHook] = {}

    def register(self, hook: Hook | ConfigType, priority: int | str | Priority | None = None) -> Hook:
        """Add a hook or its config; of equal priority, the one registered first runs first.

        Args:
            hook: a `Hook`, or a config for HOOKS, in which a key `priority` overrides that of the class.
            priority: overrides both.

        Raises:
            ArgumentTypeError: `hook` is neither.
        """
        built, own_priority = _build(hook)
        _warn_of_near_misses(built)
        wanted = priority if priority is not None else own_priority
        if wanted is not None:
            built.priority = _as_number_or_name(wanted)
        value = get_priority(built.priority)
        place = next((i for i, other in enumerate(self.hooks) if get_priority(other.priority) > value), len(self.hooks))
        self.hooks.insert(place, built)
        self.replan()
        return built

    def replan(self) -> None:
        """Forget the plan: hooks or their methods have changed."""
        self._plan = {}  # a new one: whoever is about to write into the old one writes what is no longer so

    def call_last(self, methods: dict[str, _BoundHook]) -> None:
        """From its next call on, end each of these points with this method. A signal handler may call it."""
        self._last = methods
        self.replan()

    def drop_last(self) -> None:
        """Take back what `call_last` has set."""
        self.call_last({})

    def call(self, point: str, runner: Any, kwargs: dict[str, Any]) -> None:
        """Call every hook that overrides `point`, in order."""
        plan = self._plan
        methods = plan.get(point)
        if methods is None:
            methods = plan[point] = self._methods_of(point)
        for method in methods:
            try:
                method(runner, **kwargs)
            except TypeError as error:
                _explain(error, method, point, runner, kwargs)
                raise

    def describe(self) -> str:
        """The order in which hooks are called, point by point, as a block for the log."""
        lines = []
        for stage in Hook.stages:
            rows = [
                f"({_label(hook):<12}) {type(hook).__name__:<35}" for hook in self.hooks if overrides_point(hook, stage)
            ]
            if rows:
                lines.append("\n".join([f"{stage}:", *rows, " -------------------- "]))
        return "\n".join(lines)

    def _methods_of(self, point: str) -> tuple[_BoundHook, ...]:
        methods = tuple(
            method_at(hook, point) for hook in self.hooks if hasattr(hook, point) and overrides_point(hook, point)
        )
        if not methods and point not in Hook.stages:
            raise HookError(
                f"{point!r} is no hook point, and no registered hook defines it.{did_you_mean(point, Hook.stages)}"
            )
        return (*methods, self._last[point]) if point in self._last else methods


def _warn_of_near_misses(hook: Hook) -> None:
    """Say so when a method's name is that of a point but for a letter: nothing would ever call it."""
    for name in dir(type(hook)):
        if not name.startswith(("before_", "after_")) or name in Hook.stages:
            continue
        near = difflib.get_close_matches(name, Hook.stages, n=1, cutoff=0.9)
        if near:
            print_log(
                f"{type(hook).__name__} defines {name!r}, which is no hook point. Did you mean {near[0]!r}?",
                logger="current",
                level=logging.WARNING,
            )


def _build(hook: Hook | ConfigType) -> tuple[Hook, Any]:
    if isinstance(hook, Hook):
        return hook, None
    if not hasattr(hook, "keys"):
        raise ArgumentTypeError(
            f"a hook must be a Hook or a config such as dict(type='CheckpointHook', interval=1), got {hook!r}."
        )
    cfg = dict(copy.copy(hook))
    priority = cfg.pop("priority", None)
    built = HOOKS.build(cfg)
    if not isinstance(built, Hook):
        raise ArgumentTypeError(
            f"{hook!r} built a {type(built).__name__}, which is not a Hook. Derive it from drivetrain.hooks.Hook."
        )
    return built, priority


def _as_number_or_name(priority: int | str | Priority) -> int | str:
    value = get_priority(priority)
    return _NAMES.get(value, value)


def _label(hook: Hook) -> str:
    value = get_priority(hook.priority)
    return _NAMES.get(value, str(value))


def _explain(error: TypeError, method: _BoundHook, point: str, runner: Any, kwargs: dict[str, Any]) -> None:
    """Raise a clearer error when the call itself did not fit the method's parameters; else leave `error` as it is."""
    try:
        inspect.signature(method).bind(runner, **kwargs)
    except TypeError:
        bound = getattr(method, "func", method)
        owner = type(getattr(bound, "__self__", bound)).__name__
        raise HookError(
            f"{owner}.{point} takes {inspect.signature(method)}, but is called with (runner, {', '.join(kwargs)}). "
            f"Give it the parameters of Hook.{point}: {inspect.signature(getattr(Hook, point, method))}."
        ) from error
