"""Files of web servers, read with the standard library."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, NotSupportedError

from ._atomic import atomic_write
from ._backend import scheme_of
from ._local import LOCAL
from ._missing import described
from ._remote import FsspecBackend, name_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

_TIMEOUT = 60
"""Seconds without an answer, or between two pieces of one, after which a server counts as gone."""


class HTTPBackend(FsspecBackend):
    """Files behind `http://` and `https://`, for reading.

    Whole files are read with the standard library. What else a server may offer (lists of files, partial reads) goes
    through fsspec, and so does everything when options are given; both need `pip install aiohttp`.

    Args:
        options: options of fsspec's HTTP file system (`client_kwargs=dict(headers=...)` ...).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(None, **options)

    def get(self, filepath: str | Path) -> bytes:
        """The content of a file."""
        if self._options:
            return super().get(filepath)
        with _opened(self._url(filepath)) as answer:
            return answer.read()

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The content of a text file; every kind of line end becomes a line feed."""
        return super().get_text(filepath, encoding)

    @contextlib.contextmanager
    def get_local_path(self, filepath: str | Path) -> Iterator[str | Path]:
        """A temporary copy with the same suffix, deleted when the block ends."""
        with super().get_local_path(filepath) as path:
            yield path

    def exists(self, filepath: str | Path) -> bool:
        """Whether the server has the file."""
        if self._options:
            return super().exists(filepath)
        try:
            with _opened(self._url(filepath), "HEAD"):
                return True
        except FileNotFoundError:
            return False

    def isfile(self, filepath: str | Path) -> bool:
        """Whether the server has the file."""
        return self.exists(filepath)

    def copyfile_to_local(self, src: str | Path, dst: str | Path) -> str | Path:
        """Copy a file to the local disk; into `dst` if that is a folder. Returns the path of the copy."""
        if self._options:
            return super().copyfile_to_local(src, dst)
        target = LOCAL.join_path(dst, name_of(src)) if LOCAL.isdir(dst) else dst
        with _opened(self._url(src)) as answer, atomic_write(target) as file:
            shutil.copyfileobj(answer, file)
        return target

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Raise: web servers are for reading."""
        raise NotSupportedError(f"{str(filepath)!r} is on a web server, which is read only.")

    def _download(self, filepath: str | Path, copy: str) -> None:
        if self._options:
            super()._download(filepath, copy)
            return
        with _opened(self._url(filepath)) as answer, open(copy, "wb") as file:
            shutil.copyfileobj(answer, file)


@contextlib.contextmanager
def _opened(url: str, method: str = "GET") -> Iterator[HTTPResponse | IO[bytes]]:
    """The answer of a server.

    Raises:
        MissingFileError: the server has no such file.
        ArgumentError: the URL is of another kind.
        OSError: the server refuses or cannot be reached (`urllib.error.URLError`).
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if scheme_of(url) not in ("http", "https"):
        raise ArgumentError(f"the HTTP backend opens http:// and https:// URLs, got {url!r}.")
    try:
        answer = urlopen(Request(url, method=method, headers={"User-Agent": "drivetrain"}), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise described(f"no such file: {url!r} (the server answers {error.code}).", url) from None
        raise
    with answer:
        yield answer
