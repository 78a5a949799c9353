"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.errors import ArgumentError
from drivetrain.fileio import atomic_write, dump, put


def test_target_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    with atomic_write(target) as file:
        file.write(b"all")
        assert not target.exists()
        (temporary,) = target.parent.iterdir()
        assert temporary.name.startswith(".a.bin.") and str(os.getpid()) in temporary.name
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
    assert target.read_bytes() == b"all"


def test_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        with atomic_write(target, "w") as file:
            file.write("new")
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_failed_dump_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    dump({"a": 1}, target)
    with pytest.raises(TypeError):
        dump({"a": object()}, target)
    assert target.read_text() == '{"a": 1}' and len(list(tmp_path.iterdir())) == 1


def test_bytes_are_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_replace(source: str, target: str) -> None:
        events.append("rename")
        assert Path(source).read_bytes() == b"all" and Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    put(b"all", tmp_path / "a")
    assert events == ["file", "rename", "folder"]


def test_two_writers_of_one_target_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with atomic_write(target) as first, atomic_write(target) as second:
        first.write(b"first" * 100)
        second.write(b"second")
    assert target.read_bytes() == b"first" * 100


def test_link_and_mode_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "a", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    put(b"new", link)
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    put(b"1", target)
    assert target.read_bytes() == b"1"


def test_text_is_utf8_with_line_feeds(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a", "w") as file:
        file.write("é\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n"


def test_mode_that_reads_or_appends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="got 'a'"):
        with atomic_write(tmp_path / "a", "a"):
            pass


def test_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    code = (
        "import time; from drivetrain.fileio import atomic_write\n"
        f"with atomic_write({str(target)!r}) as f:\n"
        "    f.write(b'half'); f.flush(); print('go', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert target.read_bytes() == b"old"
