"""Damage is recognised: any bit of any byte, any cut, and pickles that ask for more than the file holds."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import _load_checkpoint, save_checkpoint, serialize_checkpoint, verify_checkpoint
from drivetrain.checkpoint._read import read_bytes
from drivetrain.checkpoint._verify import inspect_stream
from drivetrain.errors import CheckpointError, MissingFileError

CONTENT = {"state_dict": {"w": torch.arange(10.0), "b": torch.ones(3, dtype=torch.bfloat16)}, "meta": {"epoch": 3}}
# The two version stamps in the long form of a zip archive's end, which stand once and which no reader looks at.
UNREAD = range(98 - 12, 98 - 16, -1)


def problem(content: bytes) -> str | None:
    return inspect_stream(io.BytesIO(content), "x").problem


def rewritten(content: bytes, change: Any, **options: Any) -> bytes:
    """The archive with its records changed and true checksums: what somebody crafts."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w", **options) as archive:
        for name in source.namelist():
            archive.writestr(name, change(name, source.read(name)))
    return target.getvalue()


def test_every_bit_of_every_byte_is_watched() -> None:
    whole = serialize_checkpoint(CONTENT)
    assert problem(whole) is None
    missed = set()
    for index in range(len(whole)):
        for bit in (1 << random.randrange(8), 0xFF):
            flipped = bytearray(whole)
            flipped[index] ^= bit
            if problem(bytes(flipped)) is None:
                missed.add(len(whole) - index)
    assert missed <= set(UNREAD)


def test_every_cut_is_seen() -> None:
    whole = serialize_checkpoint(CONTENT)
    assert all(problem(whole[:length]) for length in range(len(whole)))
    assert problem(whole + b"\0") is not None


@pytest.mark.parametrize("seed", range(50))
def test_a_damaged_file_is_refused_with_one_error_that_names_it(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path / "epoch_9.pth"
    save_checkpoint({"state_dict": {"w": torch.rand(5000), "b": torch.rand(70)}}, path)
    content = bytearray(path.read_bytes())
    at = draw.choice([index for index in range(len(content)) if len(content) - index not in UNREAD])
    content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        _load_checkpoint(path, logger="silent")
    assert str(raised.value).startswith(f"{str(path)!r} (")
    assert not verify_checkpoint(path).ok


def test_the_report_says_what_was_checked(tmp_path: Path) -> None:
    save_checkpoint({"w": torch.zeros(1000)}, tmp_path / "a.pth")
    report = verify_checkpoint(tmp_path / "a.pth")
    assert report.ok and report.format == "zip" and report.checked > 4000
    assert report.size == os.path.getsize(tmp_path / "a.pth")
    assert "whole, " in str(report)
    torch.save({"w": torch.zeros(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert verify_checkpoint(tmp_path / "old.pth").format == "legacy"
    (tmp_path / "text.pth").write_text("hello")
    assert verify_checkpoint(tmp_path / "text.pth").problem == "it begins with the bytes b'hell', as no checkpoint does"
    with pytest.raises(MissingFileError, match=r"a\.pth"):
        verify_checkpoint(tmp_path / "aa.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        verify_checkpoint(tmp_path)


def test_files_without_checksums_and_of_other_tools_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(9)}, tmp_path / "bare.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert verify_checkpoint(tmp_path / "bare.pth").checked == 0
    assert _load_checkpoint(tmp_path / "bare.pth", logger="silent")["w"].sum() == 9
    again = rewritten(serialize_checkpoint({"w": torch.ones(9)}), lambda _, content: content)
    assert problem(again) is None and read_bytes(again, "x")["w"].sum() == 9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bool, torch.uint16, torch.complex64])
def test_storages_of_all_kinds_are_measured(dtype: torch.dtype) -> None:
    assert (
        problem(serialize_checkpoint({"a": torch.zeros(7, dtype=dtype), "none": torch.zeros(0, dtype=dtype)})) is None
    )


def test_a_storage_larger_than_its_record_is_refused() -> None:
    whole = serialize_checkpoint({"w": torch.zeros(100)})

    def cut(name: str, content: bytes) -> bytes:
        return content[:396] if name.endswith("data/0") else content

    with pytest.raises(CheckpointError, match=r"its storage '0' claims 400 bytes of a record of 396"):
        read_bytes(rewritten(whole, cut), "x")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007", "asks for the storage '7'"),
        (b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00stowage", "in a way in which torch never does"),
        (b"Kd", b"J\xff\xff\xff\xff", "claims -4 bytes"),
        (b"Kd", b"J\xff\xff\xff\x7f", "claims 8589934588 bytes"),
        (b"FloatStorage", b"DoubleStorage", "claims 800 bytes of a record of 400"),
        (b"Kd", b"0", "in a way"),
        (b"Kd", b"", "in a way"),
    ],
)
def test_crafted_pickles_are_refused_before_torch_reads_them(old: bytes, new: bytes, said: str) -> None:
    whole = serialize_checkpoint({"w": torch.zeros(100)})

    def change(name: str, content: bytes) -> bytes:
        assert not name.endswith("data.pkl") or old in content
        return content.replace(old, new, 1) if name.endswith("data.pkl") else content

    with pytest.raises(CheckpointError, match=said):
        read_bytes(rewritten(whole, change), "x")


def test_a_compressed_archive_is_refused_before_it_is_unpacked() -> None:
    whole = serialize_checkpoint({"w": torch.zeros(1 << 20)})
    packed = rewritten(whole, lambda _, content: content, compression=zipfile.ZIP_DEFLATED)
    assert len(packed) < len(whole) // 100
    with pytest.raises(CheckpointError, match="is compressed"):
        read_bytes(packed, "x")


def test_checking_takes_little_memory(tmp_path: Path) -> None:
    save_checkpoint({"w": torch.zeros(8 << 20)}, tmp_path / "a.pth")
    tracemalloc.start()
    assert verify_checkpoint(tmp_path / "a.pth").ok
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_two_thousand_crafted_pickles_load_or_are_refused_with_one_error() -> None:
    """Bytes of the pickle are changed and the checksums made true again: torch's reader and ours meet them."""
    whole = serialize_checkpoint({"state_dict": {"w": torch.ones(4, 5)}, "meta": {"epoch": 3, "s": {1, 2}}})
    draw = random.Random(0)
    refused = 0
    for _ in range(2000):

        def change(name: str, content: bytes) -> bytes:
            if not name.endswith("data.pkl"):
                return content
            damaged = bytearray(content)
            for _ in range(draw.randrange(1, 4)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            return bytes(damaged)

        try:
            read_bytes(rewritten(whole, change), "x")
        except CheckpointError:
            refused += 1
    assert refused > 1000
