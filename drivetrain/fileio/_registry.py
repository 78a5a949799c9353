"""Which storages are known, by name and by the scheme of a URL."""

from __future__ import annotations

import inspect
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._backend import BaseStorageBackend
from ._http import HTTPBackend
from ._lmdb import LmdbBackend
from ._local import LocalBackend

Backend = type[BaseStorageBackend]

backends: dict[str, Backend] = {"local": LocalBackend, "http": HTTPBackend, "lmdb": LmdbBackend}
"""Backends by the name that `backend_args=dict(backend=...)` has. Every scheme that fsspec knows works as well."""

prefix_to_backends: dict[str, Backend] = {
    "": LocalBackend,
    "file": LocalBackend,
    "http": HTTPBackend,
    "https": HTTPBackend,
}
"""Backends by the scheme of a URL, '' for a path without one. Other schemes go to fsspec."""

backend_instances: dict[str, BaseStorageBackend] = {}
"""Backends made so far for the functions of this room, by scheme or name and options."""

client_instances: dict[str, Any] = {}
"""`FileClient`s made so far."""

_OBJECT_STORE = (
    "Object stores speak S3: write paths as 's3://bucket/key' (pip install s3fs), with "
    "backend_args=dict(endpoint_url='http://host:port', key=..., secret=...) for a server of your own."
)
RETIRED = {
    "petrel": _OBJECT_STORE,
    "ceph": _OBJECT_STORE,
    "memcached": "Read from the disk (backend='local'), or through fsspec's cache: 'simplecache::s3://bucket/key'.",
}
"""Storages that configs name and whose clients are no longer to be had, each with what to use instead."""


def register_backend(
    name: str,
    backend: Backend | None = None,
    force: bool = False,
    prefixes: str | list[str] | tuple[str, ...] | None = None,
) -> Any:
    """Make a storage known, as a call or as a decorator of its class.

    Args:
        name: what `backend_args=dict(backend=name)` calls it.
        backend: the class, derived from `BaseStorageBackend`; None to decorate one.
        force: replace a storage that has the name or a prefix.
        prefixes: schemes of the URLs that belong to it: `prefixes="box"` for `box://...`.

    Returns:
        None, or as a decorator the class.

    Raises:
        ArgumentTypeError: an argument has a wrong type, or the class does not derive from `BaseStorageBackend`.
        ArgumentError: the name or a prefix is taken and `force` is False.

    >>> @register_backend("box", prefixes="box")  # doctest: +SKIP
    ... class BoxBackend(BaseStorageBackend): ...
    """
    if backend is not None:
        add_backend(name, backend, force, prefixes)
        return None

    def decorate(cls: Backend) -> Backend:
        add_backend(name, cls, force, prefixes)
        return cls

    return decorate


def add_backend(name: Any, backend: Any, force: bool, prefixes: Any) -> None:
    """Check the arguments of `register_backend` and enter the storage in the tables."""
    if type(name) is not str:
        raise ArgumentTypeError(f"the name of a backend must be a str, got {name!r}.")
    if not inspect.isclass(backend) or not issubclass(backend, BaseStorageBackend):
        raise ArgumentTypeError(f"a backend must be a class derived from BaseStorageBackend, got {backend!r}.")
    schemes = [prefixes] if type(prefixes) is str else list(prefixes or ()) if _lists_names(prefixes) else None
    if schemes is None:
        raise ArgumentTypeError(f"prefixes must be a str or a list of them, got {prefixes!r}.")
    if not force:
        _refuse_taken(name, schemes)
    backends[name] = backend
    prefix_to_backends.update(dict.fromkeys(schemes, backend))
    backend_instances.clear()
    client_instances.clear()


def _lists_names(prefixes: Any) -> bool:
    return prefixes is None or (type(prefixes) in (list, tuple) and all(type(prefix) is str for prefix in prefixes))


def _refuse_taken(name: str, schemes: list[str]) -> None:
    taken = [("backend", name)] if name in backends else []
    taken += [("prefix", scheme) for scheme in schemes if scheme in prefix_to_backends]
    if taken:
        what, which = taken[0]
        raise ArgumentError(f"the {what} {which!r} is already registered; force=True replaces it.")
