"""Values of a config by dotted path, and what to say when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivetrain.config import Config, ConfigDict
from drivetrain.errors import NotFoundError, did_you_mean, nearest

_DEEPEST = 20


def find(cfg: Config, key: str) -> Any:
    """The value at a dotted path; what it imports is not imported.

    Raises:
        NotFoundError: there is none; the message has the nearest paths.
    """
    value: Any = cfg._cfg_dict
    done: list[str] = []
    for part in key.split("."):
        here = dict(children(value))
        if part not in here:
            raise _no_such_key(cfg, key, part, ".".join(done), list(here))
        value = here[part]
        done.append(part)
    return value


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a dict or list of a config, by the part of a path that leads to them."""
    if type(value) is ConfigDict:
        yield from ((str(key), item) for key, item in dict.items(value))
    elif type(value) in (list, tuple):
        yield from ((str(index), item) for index, item in enumerate(value))


def paths(value: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """All paths of a config, outer ones before inner ones."""
    for part, item in children(value):
        yield f"{prefix}{part}"
        if depth < _DEEPEST:
            yield from paths(item, f"{prefix}{part}.", depth + 1)


def _no_such_key(cfg: Config, key: str, part: str, done: str, here: list[str]) -> NotFoundError:
    """The error for a path that leads nowhere: suggests that key deeper inside, else what is nearest there."""
    known = list(paths(cfg._cfg_dict))
    close = nearest(part, here)
    rest = key.split(part, 1)[1] if close else ""
    mended = [f"{done}.{hit}{rest}".lstrip(".") for hit in close]
    mended = [path for path in mended if path in known] or [f"{done}.{hit}".lstrip(".") for hit in close]
    ends = [path for path in known if path.endswith(f".{key}")]
    hits = sorted(ends, key=len)[:3] or mended
    hint = f" Did you mean {' or '.join(map(repr, hits))}?" if hits else did_you_mean(key, known)
    where = f"{done!r} has no {part!r}" if done else f"there is no {part!r}"
    options = f" {'It' if done else 'The config'} has {', '.join(here) or 'nothing'}." if not hint else ""
    return NotFoundError(f"{cfg.filename} has no value {key!r}: {where}.{hint}{options}")
