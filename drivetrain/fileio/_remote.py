"""Remote storage through fsspec, imported on first use."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from drivetrain.errors import ArgumentError, MissingPackageError, NotSupportedError, require_package

from ._atomic import atomic_write
from ._backend import BaseStorageBackend, Suffixes, chain_of, files_under, listing, local_path, scheme_of
from ._local import LOCAL, as_text
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
_PIECE = 1 << 22
"""Bytes that a copy moves at a time."""


class FsspecBackend(BaseStorageBackend):
    """Files behind a URL: every storage that fsspec knows (`s3://`, `gs://`, `memory://`, `zip://` ...).

    Args:
        protocol: the scheme of paths that carry none.
        options: storage options for fsspec (`key`, `endpoint_url`, `client_kwargs` ...).

    >>> FsspecBackend("s3", endpoint_url="http://localhost:9000").get("bucket/key")  # doctest: +SKIP
    """

    def __init__(self, protocol: str | None = None, **options: Any) -> None:
        self._options = options
        self._protocol = protocol

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            return cast("bytes", filesystem.cat_file(path))

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The content of a text file; every kind of line end becomes a line feed."""
        return as_text(self.get(filepath), encoding)

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file whole, with the folders above it."""
        filesystem, path = self._locate(filepath)
        try:
            filesystem.pipe_file(path, obj)
        except FileNotFoundError:
            filesystem.makedirs(filesystem._parent(path), exist_ok=True)
            filesystem.pipe_file(path, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text file whole, with the folders above it."""
        self.put(obj.encode(encoding), filepath)

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
        """Path parts joined by one slash each, in a chained URL (`zip://a::s3://b/c.zip`) within its first path."""
        before, path, after = chain_of(self._url(filepath))
        root = path if path.endswith("://") else path.rstrip("/") + "/"
        parts = "/".join(os.fspath(part).strip("/") for part in filepaths)
        return f"{before}{root}{parts}{after}" if parts else f"{before}{path.rstrip('/')}{after}"

    @contextlib.contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """A temporary copy with the same suffix, deleted when the block ends."""
        with tempfile.TemporaryDirectory(prefix="drivetrain-") as folder:
            copy = os.path.join(folder, name_of(filepath) or "file")
            self._download(filepath, copy)
            yield copy

    def copyfile(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file within the storage; into `dst` if that is a folder. Returns the path of the copy."""
        dst = self.join_path(dst, name_of(src)) if self.isdir(dst) else dst
        filesystem, source = self._locate(src)
        _, target = self._locate(dst)
        with _naming(src):
            if not filesystem.isfile(source):
                raise FileNotFoundError(source)
            filesystem.makedirs(filesystem._parent(target), exist_ok=True)
            filesystem.cp_file(source, target)
        return dst

    def copytree(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a folder within the storage. Returns `dst`; there may be none before."""
        self._refuse_existing(dst)
        for name in files_under(self, src):
            self.copyfile(self.join_path(src, name), self.join_path(dst, name))
        return dst

    def copyfile_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a local file here; into `dst` if that is a folder. Returns the path of the copy."""
        dst = self.join_path(dst, name_of(src)) if self.isdir(dst) else dst
        filesystem, target = self._locate(dst)
        LOCAL.open_to_read(src).close()
        filesystem.makedirs(filesystem._parent(target), exist_ok=True)
        filesystem.put_file(local_path(src), target)
        return dst

    def copytree_from_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a local folder here. Returns `dst`; there may be none before."""
        self._refuse_existing(dst)
        source = local_path(src)
        for folder, _, names in os.walk(source, onerror=_raise):
            below = os.path.relpath(folder, source).replace(os.sep, "/")
            for name in names:
                parts = (name,) if below == "." else (below, name)
                self.copyfile_from_local(os.path.join(folder, name), self.join_path(dst, *parts))
        return dst

    def copyfile_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file to the local disk; into `dst` if that is a folder. Returns the path of the copy."""
        if LOCAL.isdir(dst):
            dst = LOCAL.join_path(dst, name_of(src))
        filesystem, source = self._locate(src)
        with _naming(src), filesystem.open(source, "rb") as read, atomic_write(local_path(dst)) as write:
            shutil.copyfileobj(read, write, _PIECE)
        return dst

    def copytree_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a folder to the local disk. Returns `dst`; there may be none before."""
        os.makedirs(local_path(dst))
        for name in files_under(self, src):
            self.copyfile_to_local(self.join_path(src, name), LOCAL.join_path(dst, name))
        return dst

    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            filesystem.rm_file(path)

    def rmtree(self, dir_path: str | Path) -> None:
        """Delete a folder with all that is in it."""
        filesystem, path = self._locate(dir_path)
        with _naming(dir_path, "folder"):
            filesystem.rm(path, recursive=True)

    def copy_if_symlink_fails(self, src: str | Path, dst: str | Path) -> bool:
        """Copy a file or folder: there are no links. Returns False."""
        copy = self.copytree if self.isdir(src) else self.copyfile
        copy(src, dst)
        return False

    def list_dir_or_file(
        self,
        dir_path: str | Path,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffixes = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, relative to it, in sorted order; see `drivetrain.fileio.list_dir_or_file`."""
        return listing(self, dir_path, list_dir, list_file, suffix, recursive)

    def generate_presigned_url(self, url: str, client_method: str = "get_object", expires_in: int = 3600) -> str:
        """A link that opens a file without credentials, for a while; see `drivetrain.fileio.generate_presigned_url`."""
        filesystem, path = self._locate(url)
        method = {} if client_method == "get_object" else {"client_method": client_method}
        try:
            return str(filesystem.sign(path, expiration=expires_in, **method))
        except NotImplementedError as error:
            raise NotSupportedError(f"the storage of {url!r} makes no presigned links.") from error

    def _download(self, filepath: str | Path, copy: str) -> None:
        filesystem, path = self._locate(filepath)
        with _naming(filepath):
            filesystem.get_file(path, copy)

    def scan(self, folder: str | Path) -> list[tuple[str, bool]]:
        """The names in a folder, sorted, each with whether it is a folder."""
        filesystem, path = self._locate(folder)
        with _naming(folder, "folder"):
            entries = filesystem.ls(path, detail=True)
        return sorted((entry["name"].rstrip("/").rsplit("/", 1)[-1], entry["type"] == "directory") for entry in entries)

    def _refuse_existing(self, folder: str | Path) -> None:
        if self.exists(folder):
            raise FileExistsError(f"copytree makes a new folder, and {os.fspath(folder)!r} is there.")

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


def name_of(path: str | Path) -> str:
    """The last part of a path or URL, without the query of the latter."""
    text = os.fspath(path)
    return os.path.basename(chain_of(text)[1].split("?", 1)[0] if scheme_of(text) else text)


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


def _raise(error: OSError) -> None:
    raise described(f"no such folder: {error.filename!r}.", str(error.filename)) from error
