"""`ConfigDict`: a dict whose keys are also attributes."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from drivetrain.errors import ArgumentTypeError

from ._lazy import is_lazy


class Origin(NamedTuple):
    """Where a value was set.

    Attributes:
        file: path of the config; '--cfg-options' and the like for what came from elsewhere.
        line: line in it, from 1; 0 where there are no lines.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


reading: list[str] = []
"""The files that are being executed, the innermost last: what they change in a config, they have set."""

Origins = dict[Any, tuple[Origin, ...]]
"""For each key of a dict the places that set it: the first one first, the one that holds last."""


class ConfigDict(dict[str, Any]):
    """A dict with attribute access, for configs: `cfg.model.backbone.depth`.

    Plain dicts that are assigned become `ConfigDict`s, those inside lists and tuples as well. A missing key is a
    KeyError, a missing attribute an AttributeError. Lazy imports (see `LazyObject`) are built when they are read. Each
    key knows the files and lines that set it, see `origins_of`.

    Args:
        *args: dicts, or iterables of pairs, taken in one after another; None is passed over.
        **kwargs: further keys.

    >>> cfg = ConfigDict(model=dict(type="ResNet", stages=[dict(depth=2)]))
    >>> cfg.model.stages[0].depth
    2
    """

    __slots__ = ("_origins",)
    lazy = False
    _origins: Origins | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_origins", None)
        for arg in args:
            if arg is not None:
                self._take(arg)
        if kwargs:
            self._take(kwargs)

    def _take(self, given: Any) -> None:
        if type(given) is ConfigDict:
            for key, value in dict.items(given):
                dict.__setitem__(self, key, value)
            object.__setattr__(self, "_origins", None if given._origins is None else dict(given._origins))
        elif isinstance(given, Mapping):
            for key, value in given.items():
                dict.__setitem__(self, key, self._hook(value))
        elif type(given) is tuple and len(given) == 2 and type(given[0]) is str:
            dict.__setitem__(self, given[0], self._hook(given[1]))
        else:
            for key, value in given:
                dict.__setitem__(self, key, self._hook(value))

    @classmethod
    def _hook(cls, item: Any) -> Any:
        """`item` with `ConfigDict`s for the plain dicts in it."""
        kind = type(item)
        if kind is dict:
            return cls(item)
        if kind is list:
            return [cls._hook(value) for value in item]
        if kind is tuple:
            return tuple([cls._hook(value) for value in item])
        return cls(item) if isinstance(item, dict) and not is_node(item) else item

    def __missing__(self, name: str) -> Any:
        raise KeyError(name)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(
                f"{type(self).__name__!r} object attribute {name!r} is read-only: for the key write cfg[{name!r}] = ..."
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(key for key in self.keys() if type(key) is str)]

    def __getitem__(self, key: Any) -> Any:
        return self.build_lazy(super().__getitem__(key))

    def __setitem__(self, name: Any, value: Any) -> None:
        super().__setitem__(name, self._hook(value))
        if reading:
            set_origins(self, {name: (*origins_of(self, name), _line_being_read())})
        elif self._origins:
            self._origins.pop(name, None)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        if self._origins:
            self._origins.pop(key, None)

    def __iter__(self) -> Iterator[Any]:
        # Its own, so that `dict(cfg)` and `f(**cfg)` come to the values through `__getitem__`, which builds lazy ones.
        return iter(super().keys())

    def __copy__(self) -> ConfigDict:
        return type(self)(self)

    copy = __copy__

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        fresh = type(self)()
        memo[id(self)] = fresh
        for key, value in dict.items(self):
            dict.__setitem__(fresh, copy.deepcopy(key, memo), copy.deepcopy(value, memo))
        object.__setattr__(fresh, "_origins", None if self._origins is None else dict(self._origins))
        return fresh

    def deepcopy(self) -> ConfigDict:
        """A copy that shares nothing."""
        return copy.deepcopy(self)

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        return _restored, (type(self), dict(dict.items(self)), self._origins)

    def __eq__(self, other: object) -> bool:
        if is_node(other):
            return self.to_dict() == other.to_dict()
        return isinstance(other, dict) and self.to_dict() == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __or__(self, other: Any) -> ConfigDict:  # type: ignore[override]
        joined = copy.copy(self)
        joined.update(other)
        return joined

    def __ior__(self, other: Any) -> ConfigDict:  # type: ignore[override]
        self.update(other)
        return self

    def get(self, key: str, default: Any | None = None) -> Any:
        """The value of `key`, or `default`."""
        return self.build_lazy(super().get(key, default))

    def pop(self, key: Any, default: Any = None) -> Any:
        """Remove `key` and return its value, or `default`; no error."""
        if self._origins:
            self._origins.pop(key, None)
        return self.build_lazy(super().pop(key, default))

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of `key`, which is set to `default` if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take in another dict; where both have a dict under a key, that is updated in turn.

        Raises:
            ArgumentTypeError: more than one positional argument.
        """
        if len(args) > 1:
            raise ArgumentTypeError(f"update takes one dict or iterable of pairs, got {len(args)} arguments.")
        given = dict(args[0]) if args and args[0] is not None and not hasattr(args[0], "items") else (args or ({},))[0]
        for key, value in [*(given or {}).items(), *kwargs.items()]:
            known = dict.get(self, key)
            if is_node(known) and isinstance(value, dict):
                known.update(value)
            else:
                self[key] = value

    def items(self) -> Any:
        """Pairs of key and value; lazy values are built."""
        return [(key, self[key]) for key in self]

    def values(self) -> Any:
        """The values; lazy ones are built."""
        return [self[key] for key in self]

    def build_lazy(self, value: Any) -> Any:
        """What `value` stands for if it is lazy, else `value`."""
        return value.build() if is_lazy(value) else value

    def merge(self, other: dict[str, Any]) -> None:
        """Let `other` override this dict, as a config overrides its base; `_delete_=True` in a dict drops the old one.

        Raises:
            ArgumentTypeError: a dict shall override what is no dict.
        """
        from ._merge import merged

        result = merged(self, other if is_node(other) else ConfigDict(other))
        origins = result._origins
        super().clear()
        self._take(result)
        object.__setattr__(self, "_origins", origins)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, with dotted paths for lazy imports."""
        return plain(self, lambda value: value.dotted_path)

    def _to_lazy_dict(self) -> dict[str, Any]:
        """Plain dicts, with lazy imports as they are."""
        return plain(self, lambda value: value)


def is_node(value: Any) -> TypeGuard[ConfigDict]:
    """Whether `value` is a dict of a config."""
    return isinstance(value, ConfigDict)


def plain(value: Any, lazy: Any) -> Any:
    """`value` with plain dicts for `ConfigDict`s, and `lazy(item)` for lazy imports."""
    if is_node(value):
        return {key: plain(item, lazy) for key, item in dict.items(value)}
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([plain(item, lazy) for item in value])
    return lazy(value) if is_lazy(value) else value


def origins_of(cfg: ConfigDict, key: Any) -> tuple[Origin, ...]:
    """The places that set `key` of `cfg`, the one that holds last; empty where they are not known."""
    return () if cfg._origins is None else cfg._origins.get(key, ())


def set_origins(cfg: ConfigDict, origins: Origins) -> None:
    """Note where the keys of `cfg` were set."""
    object.__setattr__(cfg, "_origins", {**(cfg._origins or {}), **origins})


def _line_being_read() -> Origin:
    """The line of the innermost file that is being executed."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != reading[-1]:
        frame = frame.f_back
    return Origin(reading[-1], 0 if frame is None else frame.f_lineno)


def _restored(kind: type[ConfigDict], items: dict[str, Any], origins: Origins | None) -> ConfigDict:
    fresh = kind()
    for key, value in items.items():
        dict.__setitem__(fresh, key, value)
    object.__setattr__(fresh, "_origins", origins)
    return fresh
