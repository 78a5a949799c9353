"""Which storage a path belongs to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean

from ._backend import BaseStorageBackend, Storage, scheme_of
from ._local import LOCAL, LocalBackend
from ._registry import RETIRED, backend_instances, backends, prefix_to_backends
from ._remote import FsspecBackend

_OLD_NAMES = {"disk": "local"}


def get_file_backend(
    uri: str | Path | None = None, *, backend_args: dict[str, Any] | None = None, enable_singleton: bool = False
) -> BaseStorageBackend:
    """The storage that a path belongs to.

    Args:
        uri: a local path or a URL; its scheme tells the storage.
        backend_args: options of the storage. Their key `backend` names it, whatever the scheme: 'local', 'http',
            'lmdb', a name given to `register_backend`, or a scheme that fsspec knows ('s3').
        enable_singleton: return the same object for the same storage and options.

    Returns:
        The backend, with the methods of `LocalBackend` as far as the storage allows them.

    Raises:
        ArgumentError: neither a path nor a name is given, or the storage is gone for good.
        NotFoundError: no storage has that name.
        ArgumentTypeError: options were given for the local disk, which has none.

    >>> get_file_backend("s3://bucket/key").name
    'FsspecBackend'
    """
    options = dict(backend_args or {})
    named = options.pop("backend", None)
    if named is None and uri is None:
        raise ArgumentError("get_file_backend needs a path (uri=...), or backend_args with the key 'backend'.")
    prefix = (uri is not None and scheme_of(uri)) or ""
    if not enable_singleton:
        return made(named, prefix, options, uri)
    key = f"{prefix if named is None else named}:{sorted(options.items())!r}:{named is None}"
    if key not in backend_instances:
        backend_instances[key] = made(named, prefix, options, uri)
    return backend_instances[key]


def backend_for(path: str | Path, backend_args: dict[str, Any] | None = None) -> Storage:
    """The storage of `path` for the functions of the room: one object for each storage and its options."""
    if not backend_args and prefix_to_backends[""] is LocalBackend and scheme_of(path) is None:
        return LOCAL
    return cast("Storage", get_file_backend(path, backend_args=backend_args, enable_singleton=True))


def made(named: str | None, prefix: str, options: dict[str, Any], uri: str | Path | None = None) -> BaseStorageBackend:
    """A backend by its name, else by the scheme of URLs. Errors as in `get_file_backend`."""
    if named is None:
        cls = prefix_to_backends.get(prefix)
        return FsspecBackend(prefix, **options) if cls is None else _instance(cls, options, uri)
    name = named if named in backends else _OLD_NAMES.get(named, named)
    if name in backends:
        return _instance(backends[name], options, uri)
    if name in RETIRED:
        raise ArgumentError(
            f"the storage {name!r} has no client any more that could be installed. {RETIRED[name]} "
            f"If you have one, write a backend for it: register_backend({name!r}, YourBackend)."
        )
    return _by_protocol(name, options)


def _instance(cls: type[BaseStorageBackend], options: dict[str, Any], uri: str | Path | None) -> BaseStorageBackend:
    if cls is not LocalBackend:
        return cls(**options)
    if options:
        raise ArgumentTypeError(
            f"{os.fspath(uri or '')!r} is a local path, which takes no backend_args, got {options!r}. "
            "A remote path begins with its scheme, such as 's3://'."
        )
    return LOCAL


def _by_protocol(name: str, options: dict[str, Any]) -> FsspecBackend:
    from fsspec import available_protocols

    known = available_protocols()
    if name not in known:
        raise NotFoundError(
            f"no storage backend is called {name!r}; there are {', '.join(backends)}, and the protocols of fsspec."
            f"{did_you_mean(name, [*backends, *known])}"
        )
    return FsspecBackend(name, **options)
