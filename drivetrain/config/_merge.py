"""One config over another: dicts merge key by key, everything else replaces."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentTypeError, NotFoundError

from ._dict import ConfigDict, Origin, Origins, is_node, origins_of, set_origins

DELETE_KEY = "_delete_"


def merged(base: ConfigDict, child: ConfigDict, *, list_keys: bool = False, path: str = "") -> ConfigDict:
    """`child` over `base`, as a new dict; both stay what they are.

    A dict in `child` with `_delete_=True` replaces the one in `base`. Origins of `base` and `child` are joined.

    Args:
        base: what is overridden.
        child: what overrides.
        list_keys: whether a dict with whole numbers for keys changes items of a list of `base`.
        path: dotted path of `base` in the config, for errors.

    Raises:
        ArgumentTypeError: a dict of `child` meets something else in `base`.
        NotFoundError: an index beyond a list.
    """
    result = copy.copy(base)
    origins: Origins = {}
    for key, value in dict.items(child):
        if key == DELETE_KEY:
            continue
        known = dict.get(base, key)
        override = _overrides(value, key in base)
        dict.__setitem__(
            result,
            key,
            without_marks(value) if override else _over(known, value, list_keys, f"{path}{key}", child, key),
        )
        origins[key] = origins_of(base, key) + origins_of(child, key)
    set_origins(result, origins)
    return result


def without_marks(value: Any) -> Any:
    """A copy of `value` without `_delete_` in the dicts of it."""
    if is_node(value):
        fresh = copy.copy(value)
        dict.pop(fresh, DELETE_KEY, None)
        for key, item in dict.items(fresh):
            dict.__setitem__(fresh, key, without_marks(item))
        return fresh
    kind = type(value)
    return kind([without_marks(item) for item in value]) if kind is list or kind is tuple else value


def _overrides(value: Any, known: bool) -> bool:
    """Whether `value` takes the place of what was there, whatever that is."""
    return not known or not is_node(value) or bool(dict.get(value, DELETE_KEY))


def _over(known: Any, value: ConfigDict, list_keys: bool, path: str, child: ConfigDict, key: Any) -> Any:
    if is_node(known):
        return merged(known, value, list_keys=list_keys, path=f"{path}.")
    if type(known) is list and list_keys:
        return _over_list(known, value, path)
    where = "".join(f" ({origin})" for origin in origins_of(child, key)[-1:])
    raise ArgumentTypeError(
        f"{path}{where} is a dict, {value.to_dict()!r:.80}, over {known!r:.60} of type {type(known).__name__} in its "
        "base, with which it cannot be merged. Add `_delete_=True` to the dict to replace what the base has."
    )


def _over_list(known: list[Any], value: ConfigDict, path: str) -> list[Any]:
    result = list(known)
    for key, item in dict.items(value):
        index = _index(key, known, path)
        if is_node(item) and is_node(known[index]) and not item.get(DELETE_KEY):
            result[index] = merged(known[index], item, list_keys=True, path=f"{path}.{key}.")
        elif is_node(item) and type(known[index]) is list:
            result[index] = _over_list(known[index], item, f"{path}.{key}")
        else:
            result[index] = without_marks(item)
    return result


def _index(key: Any, known: list[Any], path: str) -> int:
    text = str(key)
    if not text.removeprefix("-").isdigit():
        raise ArgumentTypeError(
            f"{path} is a list of {len(known)} items, and {text!r} is no index: write {path}.0 for its first item."
        )
    if not -len(known) <= int(text) < len(known):
        raise NotFoundError(
            f"{path} is a list of {len(known)} items and has no index {text}: the last is {len(known) - 1}."
        )
    return int(text)


def nested(options: Mapping[str, Any], origin: Origin | None = None) -> ConfigDict:
    """A config of options by dotted path: `{'a.b': 1}` becomes `{'a': {'b': 1}}`.

    Args:
        options: values by path.
        origin: where they come from.
    """
    root = ConfigDict()
    for path, value in options.items():
        place = root
        *parents, last = path.split(".") if type(path) is str else [path]
        for part in parents:
            if not is_node(dict.get(place, part)):
                place[part] = ConfigDict()
                set_origins(place, {part: () if origin is None else (origin,)})
            place = dict.__getitem__(place, part)
        place[last] = value
        if origin is not None:
            mark(place, last, origin)
    return root


def mark(cfg: ConfigDict, key: Any, origin: Origin) -> None:
    """Note `origin` for `key` of `cfg` and for everything below it."""
    set_origins(cfg, {key: (origin,)})
    _mark_below(dict.__getitem__(cfg, key), origin)


def _mark_below(value: Any, origin: Origin) -> None:
    if is_node(value):
        for key in dict.keys(value):
            mark(value, key, origin)
    elif type(value) in (list, tuple):
        for item in value:
            _mark_below(item, origin)
