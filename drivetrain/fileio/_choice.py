"""Which storage a path belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivetrain.errors import ArgumentTypeError

from ._backend import StorageBackend, scheme_of
from ._local import LOCAL
from ._remote import RemoteBackend


def backend_for(path: str | Path, backend_args: Mapping[str, Any] | None = None) -> StorageBackend:
    """The storage that `path` belongs to.

    Args:
        path: a local path or a URL.
        backend_args: options of the remote storage, handed to fsspec. Its key `backend` names the storage itself, for
            paths that carry no scheme: 'local', or a scheme fsspec knows ('s3').

    Raises:
        ArgumentTypeError: options were given for the local disk, which has none.
    """
    options = dict(backend_args or {})
    named = options.pop("backend", None)
    scheme = scheme_of(path)
    if scheme is not None:
        return RemoteBackend(options)
    if named not in (None, "local", "disk"):
        return RemoteBackend(options, protocol=named)
    if options:
        raise ArgumentTypeError(
            f"{os.fspath(path)!r} is a local path, which takes no backend_args, got {options!r}. "
            "A remote path begins with its scheme, such as 's3://'."
        )
    return LOCAL
