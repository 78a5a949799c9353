"""Files kept as values of an LMDB database."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from drivetrain.errors import require_package

from ._backend import BaseStorageBackend
from ._missing import described


class LmdbBackend(BaseStorageBackend):
    """Reads files from an LMDB database, whose keys are paths. Needs `pip install lmdb`.

    The database is opened on the first read, in the process that reads.

    Args:
        db_path: the database.
        readonly: open it for reading only.
        lock: lock it, so that others may write meanwhile.
        readahead: let the system read ahead, which random access does not like.
        kwargs: passed to `lmdb.open`.

    Raises:
        MissingPackageError: lmdb is not installed.
    """

    def __init__(
        self, db_path: str | Path, readonly: bool = True, lock: bool = False, readahead: bool = False, **kwargs: Any
    ) -> None:
        self._client: Any = None
        self.db_path = os.fspath(db_path)
        self.readonly = readonly
        self.lock = lock
        self.readahead = readahead
        self.kwargs = kwargs
        _lmdb()

    def get(self, filepath: str | Path) -> bytes:
        """The value of a key.

        Raises:
            MissingFileError: the database has no such key.
        """
        if self._client is None:
            self._client = self._get_client()
        key = os.fspath(filepath)
        with self._client.begin(write=False) as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise described(f"the database {self.db_path!r} has no key {key!r}.", key)
        return bytes(value)

    def get_text(self, filepath: str | Path, encoding: str | None = None) -> str:
        """The value of a key as text, UTF-8 by default."""
        return self.get(filepath).decode(encoding or "utf-8")

    def _get_client(self) -> Any:
        options = {"readonly": self.readonly, "lock": self.lock, "readahead": self.readahead, **self.kwargs}
        return _lmdb().open(self.db_path, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def __del__(self) -> None:
        client = self.__dict__.get("_client")
        if client is not None:
            client.close()


def _lmdb() -> Any:
    try:
        return importlib.import_module("lmdb")
    except ImportError as error:
        raise require_package("lmdb", "LmdbBackend") from error
