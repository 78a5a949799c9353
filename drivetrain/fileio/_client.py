"""The older way to a storage: an object instead of functions."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._backend import Suffixes, text_of
from ._choice import made
from ._local import LocalBackend
from ._registry import add_backend, client_instances


class HardDiskBackend(LocalBackend):
    """The older name of `LocalBackend`."""

    def __init__(self) -> None:
        super().__init__()

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__


class FileClient:
    """A storage as an object. `get_file_backend` and the functions of this room do the same with less to write.

    The same arguments give the same object.

    Args:
        backend: name of the storage: 'disk' (the default), 'http', 'lmdb', a name given to `register_backend`, or a
            scheme that fsspec knows.
        prefix: scheme of the URLs that it is for, where no name is given.
        kwargs: options of the storage.

    >>> FileClient().get_text("notes.txt")  # doctest: +SKIP
    """

    client: Any
    """The backend."""

    _instances: dict[str, Any] = client_instances
    _make: Callable[[], FileClient]

    def __new__(cls, backend: str | None = None, prefix: str | None = None, **kwargs: Any) -> FileClient:
        """The client for these arguments, made on first use."""
        if backend is None and prefix is None:
            backend = "disk"
        key = f"{backend}:{prefix}:{sorted(kwargs.items())!r}"
        if key not in cls._instances:
            client = super().__new__(cls)
            on_disk = backend == "disk" and not kwargs
            client.client = HardDiskBackend() if on_disk else made(backend, prefix or "", kwargs)
            client._make = functools.partial(cls, backend, prefix, **kwargs)
            cls._instances[key] = client
        found: FileClient = cls._instances[key]
        return found

    def __reduce__(self) -> tuple[Callable[[], FileClient], tuple[()]]:
        # The default would make the client of the disk and give it this one's backend.
        return self._make, ()

    @property
    def name(self) -> str:
        """Name of the backend."""
        return str(self.client.name)

    @property
    def allow_symlink(self) -> bool:
        """Whether the storage knows symbolic links."""
        return bool(self.client.allow_symlink)

    @staticmethod
    def parse_uri_prefix(uri: str | Path) -> str | None:
        """The scheme of a URL, None for a local path.

        >>> FileClient.parse_uri_prefix("s3://bucket/key"), FileClient.parse_uri_prefix("data/a.txt")
        ('s3', None)
        """
        if not isinstance(uri, (str, Path)):
            raise ArgumentTypeError(f"a URI is a str or a Path, got {uri!r}.")
        scheme, mark, _ = os.fspath(uri).partition("://")
        return scheme.rsplit(":", 1)[-1] if mark else None

    @classmethod
    def infer_client(cls, file_client_args: dict[str, Any] | None = None, uri: str | Path | None = None) -> FileClient:
        """The client for some arguments, or else for a path.

        Args:
            file_client_args: arguments of the class.
            uri: a local path or a URL.

        Raises:
            ArgumentError: neither is given.
        """
        if file_client_args is not None:
            return cls(**file_client_args)
        if uri is None:
            raise ArgumentError("infer_client needs file_client_args or uri.")
        return cls(prefix=cls.parse_uri_prefix(uri))

    @classmethod
    def register_backend(
        cls,
        name: str,
        backend: Any = None,
        force: bool = False,
        prefixes: str | list[str] | tuple[str, ...] | None = None,
    ) -> Any:
        """Make a storage known, to the functions of this room as well; see `drivetrain.fileio.register_backend`."""
        if backend is not None:
            cls._register_backend(name, backend, force=force, prefixes=prefixes)
            return None

        def decorate(backend_cls: Any) -> Any:
            cls._register_backend(name, backend_cls, force=force, prefixes=prefixes)
            return backend_cls

        return decorate

    @classmethod
    def _register_backend(cls, name: str, backend: Any, force: bool = False, prefixes: Any = None) -> None:
        add_backend(name, backend, force, prefixes)

    def get(self, filepath: str | Path) -> bytes | memoryview:
        """The content of a file."""
        content: bytes | memoryview = self.client.get(filepath)
        return content

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The content of a text file."""
        return text_of(self.client, filepath, encoding)

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole."""
        self.client.put(obj, filepath)

    def put_text(self, obj: str, filepath: str | Path) -> None:
        """Write a text file whole."""
        self.client.put_text(obj, filepath)

    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""
        self.client.remove(filepath)

    def exists(self, filepath: str | Path) -> bool:
        """Whether a file or folder is there."""
        return bool(self.client.exists(filepath))

    def isdir(self, filepath: str | Path) -> bool:
        """Whether a folder is there."""
        return bool(self.client.isdir(filepath))

    def isfile(self, filepath: str | Path) -> bool:
        """Whether a file is there."""
        return bool(self.client.isfile(filepath))

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts as one path."""
        return str(self.client.join_path(filepath, *filepaths))

    @contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """A path on the local disk with the file's content: its own, or that of a temporary copy."""
        with self.client.get_local_path(filepath) as path:
            yield path

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffixes = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it; see `drivetrain.fileio.list_dir_or_file`."""
        yield from self.client.list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)
