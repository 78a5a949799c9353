"""Tell a whole checkpoint from a damaged one before torch reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from drivetrain.errors import CheckpointError
from drivetrain.fileio import missing_file

from ._archive import DamageError, Record, check_records, read_record, read_records
from ._storages import check_storages

ZIP_HEAD, OLD_HEAD = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True)
class FileReport:
    """What `verify_checkpoint` found.

    Attributes:
        path: the file.
        size: bytes.
        format: 'zip', what torch writes since version 1.6; 'legacy', the format before it; 'unknown', neither.
        records: how many records the archive has; 0 for another format.
        checked: bytes whose checksum was compared; 0 for a file without checksums, as all of the legacy format are.
        problem: what is wrong; None for a good file.
    """

    path: str
    size: int
    format: str
    records: int = 0
    checked: int = 0
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return self.problem is None

    def __str__(self) -> str:
        found = self.problem or f"whole, {self.records} records, {self.checked} bytes with a checksum"
        return f"{self.path} ({self.size} bytes, {self.format}): {found}"


def verify_checkpoint(path: str | Path) -> FileReport:
    """Read a checkpoint of the local disk once, and compare its bytes with the checksums in it; nothing is unpickled.

    Found are files that are cut off, a changed bit anywhere in a record or in what the archive says of it, and a pickle
    that asks for more than the records hold. It takes a megabyte of memory, and some 0.3 s
    for a GB that is in the cache.

    Args:
        path: the file.

    Returns:
        A report; `report.problem` says what is wrong.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is a folder, or cannot be opened.
    """
    name = os.path.expanduser(os.fspath(path))
    if not os.path.exists(name):
        raise missing_file(name, "checkpoint")
    try:
        with open(name, "rb") as stream:
            return inspect_stream(stream, name)
    except OSError as error:
        raise CheckpointError(f"{name!r} cannot be read: {error}") from error


def inspect_stream(stream: IO[bytes], name: str, trusted: bool = False) -> FileReport:
    """The report on an open file that `name` names; the claims of a trusted file's pickle are not looked at."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(4)
    if head[:1] == OLD_HEAD:
        return FileReport(name, size, "legacy")
    if head != ZIP_HEAD:
        problem = "it is empty" if not size else f"it begins with the bytes {head!r}, as no checkpoint does"
        return FileReport(name, size, "unknown", problem=problem)
    records: list[Record] = []
    try:
        records = read_records(stream, size)
        checked = check_records(stream, size, records)
        if not trusted:
            _check_claims(stream, records)
    except DamageError as error:
        return FileReport(name, size, "zip", len(records), problem=str(error))
    return FileReport(name, size, "zip", len(records), checked)


def _check_claims(stream: IO[bytes], records: list[Record]) -> None:
    """The pickle and the records it names, in the folder of the first record, where torch looks for them."""
    folder = records[0].name.partition("/")[0] if records else ""
    by_name = {record.name: record for record in records}
    pickled = by_name.get(f"{folder}/data.pkl")
    if pickled is None:
        raise DamageError("it is a zip archive without a record data.pkl, so without tensors")
    start = f"{folder}/data/"
    sizes = {name[len(start) :]: record.size for name, record in by_name.items() if name.startswith(start)}
    check_storages(read_record(stream, pickled), sizes)
