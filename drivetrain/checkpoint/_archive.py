"""Whether the bytes of a PyTorch file are those that were written: it holds checksums, and torch reads past them.

A PyTorch file is a zip archive of uncompressed records. Every record has a CRC-32, and nearly everything else in the
file stands there twice, or is the same for all records. All of it is compared here, in one pass and little memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

_CHUNK = 1 << 20
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_DESCRIPTORS = {16: struct.Struct("<4sIII"), 24: struct.Struct("<4sIQQ")}
_ZIP64_END = struct.Struct("<4sQHHIIQQQQ")
_ZIP64_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")
_FIELD = struct.Struct("<HH")
_HAS_DESCRIPTOR = 0x0008
_ZIP64_FIELD, _PADDING_FIELD = 0x0001, 0x4246
_FULL_32 = 0xFFFFFFFF
_FULL = (_FULL_32, _FULL_32, 0xFFFF)
_NO_DIRECTORY = "it begins like a PyTorch file and is cut off or damaged: its directory, at the end, is not readable"


class DamageError(Exception):
    """What is wrong with the bytes of a file, for an error that names the file."""


class Record(NamedTuple):
    """One entry of the directory at the end of an archive."""

    name: str
    shared: tuple[int, ...]  # what the head before the data repeats: version, flags, method, time, date
    crc: int
    size: int
    offset: int  # of the head before the data
    rest: tuple[int, ...]  # made by, disk, two kinds of attributes: the same for all records of torch's


class _Directory(NamedTuple):
    offset: int
    size: int
    records: int


def read_records(stream: IO[bytes], size: int) -> list[Record]:
    """The directory of an archive of `size` bytes.

    Raises:
        DamageError: it is not there, or contradicts itself.
    """
    directory = _find_directory(stream, size)
    stream.seek(directory.offset)
    content = stream.read(directory.size)
    records = list(_parse(content))
    if len(records) != directory.records:
        raise DamageError(f"its directory has {len(records)} records where {directory.records} are announced")
    if len({record.name.lower() for record in records}) != len(records):
        raise DamageError("its directory names a record twice")
    return records


def check_records(stream: IO[bytes], size: int, records: list[Record]) -> int:
    """Compare every byte of an archive with what the directory says of it.

    Returns:
        How many bytes have a checksum; 0 for a file that was saved with `set_crc32_options(False)`.

    Raises:
        DamageError: a record is damaged, compressed, missing, or lies where it should not.
    """
    # An empty record has no descriptor; whether the flag for one is right shows at the head of each.
    alike = {
        (version, flags & ~_HAS_DESCRIPTOR, *rest, record.rest)
        for record in records
        for version, flags, *rest in [record.shared]
    }
    if len(alike) > 1 and _is_torchs(records):
        raise DamageError("its directory is damaged: the records' attributes differ")
    summed = any(record.crc for record in records)
    ends = [record.offset for record in records[1:]] + [_find_directory(stream, size).offset]
    expected = 0
    for record, end in zip(records, ends, strict=True):
        if record.offset != expected:
            raise DamageError(f"its record {record.name!r} is not where the directory says")
        _check_record(stream, record, end, summed, strict=_is_torchs(records))
        expected = end
    return sum(record.size for record in records) if summed else 0


def read_record(stream: IO[bytes], record: Record) -> bytes:
    """The content of a record that was checked."""
    start, _, _ = _read_head(stream, record, record.name)
    return _read(stream, start, record.size)


def _is_torchs(records: list[Record]) -> bool:
    """Whether torch wrote the archive, by the mark of its maker on most records: another tool's has more liberties."""
    return sum(not record.rest[0] for record in records) * 2 > len(records)


def _find_directory(stream: IO[bytes], size: int) -> _Directory:
    """Where the directory lies, by the last bytes of the file; they are compared with those before them."""
    end = _END.unpack(_read(stream, size - _END.size, _END.size))
    if end[0] != b"PK\x05\x06" or end[7] or end[1] or end[2] or end[3] != end[4]:
        raise DamageError(_NO_DIRECTORY)
    directory, start = _Directory(end[6], end[5], end[4]), size - _END.size
    if _read(stream, start - _ZIP64_LOCATOR.size, 4) == b"PK\x06\x07":
        directory = _zip64_directory(stream, start - _ZIP64_LOCATOR.size, directory)
        start -= _ZIP64_LOCATOR.size + _ZIP64_END.size
    if directory.offset + directory.size != start:
        raise DamageError(_NO_DIRECTORY)
    return directory


def _zip64_directory(stream: IO[bytes], at: int, short: _Directory) -> _Directory:
    """The directory by the long form of the end, which the short form repeats as far as its numbers reach."""
    _, disk, offset, disks = _ZIP64_LOCATOR.unpack(_read(stream, at, _ZIP64_LOCATOR.size))
    start = at - _ZIP64_END.size
    end = _ZIP64_END.unpack(_read(stream, start, _ZIP64_END.size))
    plain = (end[0], end[1], end[4], end[5], disk, disks, offset, end[6])
    if plain != (b"PK\x06\x06", _ZIP64_END.size - 12, 0, 0, 0, 1, start, end[7]) or end[3] < 45:
        raise DamageError(_NO_DIRECTORY)
    directory = _Directory(end[9], end[8], end[7])
    if any(number not in (long, full) for number, long, full in zip(short, directory, _FULL, strict=True)):
        raise DamageError(_NO_DIRECTORY)
    return directory


def _parse(content: bytes) -> Iterator[Record]:
    at = 0
    while at < len(content):
        if len(content) - at < _CENTRAL.size:
            raise DamageError(_NO_DIRECTORY)
        head = _CENTRAL.unpack_from(content, at)
        name_end = at + _CENTRAL.size + head[10]
        extra_end = name_end + head[11]
        if head[0] != b"PK\x01\x02" or extra_end + head[12] > len(content) or head[12]:
            raise DamageError(_NO_DIRECTORY)
        name = content[at + _CENTRAL.size : name_end].decode("utf-8", "backslashreplace")
        sizes = _long_numbers(content[name_end:extra_end], (head[9], head[8], head[16]))
        if sizes[0] != sizes[1] or head[4]:
            raise DamageError(f"its record {name!r} is compressed, which torch never does, or its entry is damaged")
        rest = (head[1], head[13], head[14], head[15])
        yield Record(name, tuple(head[2:7]), head[7], sizes[0], sizes[2], rest)
        at = extra_end


def _long_numbers(extra: bytes, short: tuple[int, int, int]) -> tuple[int, int, int]:
    """Both sizes and the offset, where they do not fit into 32 bits from the field that is there for it."""
    wanted = [number == _FULL_32 for number in short]
    fields = dict(_fields(extra))
    long = fields.pop(_ZIP64_FIELD, b"")
    if len(long) != 8 * sum(wanted):
        raise DamageError(_NO_DIRECTORY)
    numbers = iter(struct.unpack(f"<{sum(wanted)}Q", long))
    first, second, third = (next(numbers) if is_long else number for number, is_long in zip(short, wanted, strict=True))
    return first, second, third


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(extra):
        if len(extra) - at < _FIELD.size:
            raise DamageError("a head in it has a field that is cut off")
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size + length
        if at > len(extra):
            raise DamageError("a head in it has a field that is cut off")
        yield kind, extra[at - length : at]


def _check_record(stream: IO[bytes], record: Record, end: int, summed: bool, strict: bool) -> None:
    """One record: the head before its data, the data, and the few bytes after it, up to `end`."""
    what = f"its record {record.name!r} is damaged"
    start, sizes, extra = _read_head(stream, record, what)
    if strict:
        _check_extra(extra, record, what)
    stated = (record.crc, record.size, record.size)
    after = end - start - record.size
    if record.shared[1] & _HAS_DESCRIPTOR:
        form = _DESCRIPTORS.get(after)
        if form is None or form.unpack(_read(stream, start + record.size, after)) != (b"PK\x07\x08", *stated):
            raise DamageError(f"{what}: its length or the bytes after it differ from the directory")
        stated = (0, 0, 0)
    elif after:
        raise DamageError(f"{what}: its length differs from the directory")
    if sizes != tuple(min(number, _FULL_32) for number in stated):
        raise DamageError(f"{what}: the head before it differs from the directory")
    if summed and _sum(stream, start, record.size) != record.crc:
        raise DamageError(f"{what}: its checksum differs")


def _read_head(stream: IO[bytes], record: Record, what: str) -> tuple[int, tuple[int, ...], bytes]:
    """Where a record's data begins, and the checksum and sizes and the fields before it."""
    head = _LOCAL.unpack(_read(stream, record.offset, _LOCAL.size))
    rest = _read(stream, record.offset + _LOCAL.size, head[9] + head[10])
    name = rest[: head[9]].decode("utf-8", "backslashreplace")
    if head[0] != b"PK\x03\x04" or head[1:6] != record.shared or name != record.name:
        raise DamageError(f"{what}: the head before it differs from the directory")
    return record.offset + _LOCAL.size + len(rest), head[6:9], rest[head[9] :]


def _check_extra(extra: bytes, record: Record, what: str) -> None:
    """The fields of a head: torch fills up with one letter, so that the data begins at a round address."""
    for kind, value in _fields(extra):
        padding = kind == _PADDING_FIELD and not value.strip(b"Z")
        numbers = {value[at : at + 8] for at in range(0, len(value), 8)}
        known = {number.to_bytes(8, "little") for number in (0, record.size, record.offset)}
        if not (padding or (kind == _ZIP64_FIELD and numbers <= known)):
            raise DamageError(f"{what}: the head before it has a strange field")


def _sum(stream: IO[bytes], start: int, size: int) -> int:
    stream.seek(start)
    total, buffer = 0, memoryview(bytearray(min(size, _CHUNK)))
    while size > 0:
        count = stream.readinto(buffer[: min(size, _CHUNK)])  # type: ignore[attr-defined]
        if not count:
            raise DamageError("it is cut off")
        total, size = zlib.crc32(buffer[:count], total), size - count
    return total


def _chunks(stream: IO[bytes], start: int, size: int) -> Iterator[bytes]:
    stream.seek(start)
    while size > 0:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            raise DamageError("it is cut off")
        size -= len(chunk)
        yield chunk


def _read(stream: IO[bytes], start: int, size: int) -> bytes:
    if start < 0:
        raise DamageError(_NO_DIRECTORY)
    return b"".join(_chunks(stream, start, size))
