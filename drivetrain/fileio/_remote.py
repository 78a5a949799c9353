"""Remote storage through fsspec, imported on first use."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from drivetrain.errors import ArgumentError, MissingPackageError, require_package

from ._backend import StorageBackend, scheme_of
from ._missing import described

_PACKAGE_OF_SCHEME = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
    "ssh": "paramiko",
    "sftp": "paramiko",
}


class RemoteBackend(StorageBackend):
    """Files behind a URL.

    Args:
        options: storage options for fsspec (`key`, `endpoint_url`, `client_kwargs` ...).
        protocol: the scheme of paths that carry none.
    """

    def __init__(self, options: Mapping[str, Any], protocol: str | None = None) -> None:
        self._options = dict(options)
        self._protocol = protocol

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            return cast("bytes", filesystem.cat_file(path))

    def open_to_read(self, filepath: str | Path) -> IO[bytes]:
        """A file opened for reading bytes; large files are read in pieces."""
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            return cast("IO[bytes]", filesystem.open(path, "rb"))

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole."""
        filesystem, path = self._locate(filepath)
        try:
            filesystem.pipe_file(path, obj)
        except FileNotFoundError:
            filesystem.makedirs(filesystem._parent(path), exist_ok=True)
            filesystem.pipe_file(path, obj)

    def exists(self, filepath: str | Path) -> bool:
        """Whether a file or folder is there."""
        filesystem, path = self._locate(filepath)
        return bool(filesystem.exists(path))

    def isdir(self, filepath: str | Path) -> bool:
        """Whether a folder is there."""
        filesystem, path = self._locate(filepath)
        return bool(filesystem.isdir(path))

    def isfile(self, filepath: str | Path) -> bool:
        """Whether a file is there."""
        filesystem, path = self._locate(filepath)
        return bool(filesystem.isfile(path))

    def join_path(self, filepath: str | Path, *filepaths: str | Path) -> str:
        """Path parts joined by one slash each."""
        return "/".join([self._url(filepath).rstrip("/"), *(os.fspath(part).strip("/") for part in filepaths)])

    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            filesystem.rm_file(path)

    @contextlib.contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """A temporary copy with the same suffix, deleted when the block ends."""
        filesystem, path = self._locate(filepath)
        with tempfile.TemporaryDirectory(prefix="drivetrain-") as folder:
            copy = os.path.join(folder, path.rsplit("/", 1)[-1].split("?", 1)[0] or "file")
            with _naming(filepath):
                filesystem.get_file(path, copy)
            yield copy

    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""
        filesystem, path = self._locate(folder)
        with _naming(folder, "folder"):
            entries = filesystem.ls(path, detail=True)
        return sorted((entry["name"].rstrip("/").rsplit("/", 1)[-1], entry["type"] == "directory") for entry in entries)

    def _url(self, path: str | Path) -> str:
        text = os.fspath(path)
        return text if scheme_of(text) or not self._protocol else f"{self._protocol}://{text}"

    def _locate(self, path: str | Path) -> tuple[Any, str]:
        """The file system of a URL and the path inside it."""
        from fsspec.core import url_to_fs

        url = self._url(path)
        try:
            filesystem, inside = url_to_fs(url, **self._options)
        except ImportError as error:
            raise _missing_package(url) from error
        except ValueError as error:
            raise ArgumentError(f"cannot open {url!r}: {error}. See fsspec.available_protocols().") from error
        return filesystem, inside


def _missing_package(url: str) -> MissingPackageError:
    from fsspec.registry import known_implementations

    scheme = scheme_of(url) or ""
    known = known_implementations.get(scheme, {}).get("class", "fsspec")
    return require_package(_PACKAGE_OF_SCHEME.get(scheme, known.split(".", 1)[0]), f"opening {url!r}")


@contextlib.contextmanager
def _naming(path: str | Path, what: str = "file") -> Iterator[None]:
    """Turn fsspec's bare FileNotFoundError into ours, with the URL in it."""
    try:
        yield
    except FileNotFoundError as error:
        raise described(f"no such {what}: {os.fspath(path)!r}.", os.fspath(path)) from error
