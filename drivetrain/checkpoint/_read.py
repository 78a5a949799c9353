"""Read a checkpoint file without running anything in it, and say what is wrong with one that cannot be read."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from drivetrain.errors import CheckpointError
from drivetrain.fileio import missing_file

from ._codec import decode
from ._foreign import FIXED_LIST, fixed_list_allowed
from ._verify import OLD_HEAD, ZIP_HEAD, inspect_stream

MapLocation: TypeAlias = "str | torch.device | dict[str, str] | Callable[..., Any] | None"
"""Where tensors go, as `torch.load` takes it."""

_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
_HEADS = {
    OLD_HEAD: "the head of a pickle or of an old PyTorch file",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched (git lfs pull)",
    b"<": "markup, perhaps the error page of a server",
    b"\x1f\x8b": "a gzip archive",
    b"{": "JSON text",
    b"\0\0\0\0": "zero bytes: the disk was full, or the machine stopped while writing",
}
# The two ways in which torch refuses: a name outside its list, and a module that no list can allow.
_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")
_READER_SAYS = re.compile(r"WeightsUnpickler error: (.+)")


def read_file(filename: str | Path, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Read a checkpoint from the local disk.

    Args:
        filename: the file.
        map_location: where tensors go, as in `torch.load`.
        trusted: run whatever code the file asks for. Only for files that you or your people wrote.

    Returns:
        What was saved, decoded.

    Raises:
        MissingFileError: there is no such file; the nearest name in its folder is given.
        CheckpointError: the file is empty, cut off, damaged, something else, or needs code to be run.
    """
    path = os.path.expanduser(os.fspath(filename))
    if not os.path.exists(path):
        raise missing_file(path, "checkpoint")
    if os.path.isdir(path):
        raise CheckpointError(f"{path!r} is a folder; name a checkpoint in it.{_newest_in(path)}")
    with open(path, "rb") as stream:
        return read_stream(stream, path, map_location, trusted=trusted)


def read_bytes(content: bytes, name: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Read a checkpoint from memory; `name` stands in errors. Otherwise as `read_file`."""
    return read_stream(io.BytesIO(content), name, map_location, trusted=trusted)


def read_stream(stream: IO[bytes], name: str, map_location: MapLocation, *, trusted: bool) -> Any:
    """Read a checkpoint from an open file; `name` stands in errors."""
    size = stream.seek(0, os.SEEK_END)
    report = inspect_stream(stream, name, trusted)
    if report.problem is not None and (report.format == "zip" or not size):
        raise _unreadable(report.problem, name, size)
    stream.seek(0)
    try:
        loaded = _load(stream, map_location, trusted)
    except MemoryError as error:
        raise _too_large(name, size) from error
    except Exception as error:
        raise _diagnosed(stream, name, error) from error
    try:
        return decode(loaded)
    except MemoryError as error:
        raise _too_large(name, size) from error
    except CheckpointError as error:
        raise CheckpointError(f"{name!r} cannot be decoded: {error}") from error


def _too_large(name: str, size: int) -> CheckpointError:
    return CheckpointError(
        f"{name!r} ({_in_units(size)}) cannot be read: it does not fit into memory, or is damaged and claims more than "
        "it holds."
    )


def _load(stream: IO[bytes], map_location: MapLocation, trusted: bool) -> Any:
    """What torch makes of a file; the names that MMEngine's files hold stand for classes of this room meanwhile."""
    if trusted:
        return torch.load(stream, map_location=map_location, weights_only=False)
    with fixed_list_allowed():
        return torch.load(stream, map_location=map_location, weights_only=True)


def _diagnosed(stream: IO[bytes], name: str, error: Exception) -> CheckpointError:
    """What stands in the way of reading: code, damage, or something else such as a missing device."""
    size = stream.seek(0, os.SEEK_END)
    wanted = _wanted_globals(stream, str(error))
    if wanted:
        return CheckpointError(
            f"{name!r} ({_in_units(size)}) was not loaded: reading it would run {', '.join(wanted)}, and a checkpoint "
            "should hold data alone. Only trusted=True would run it; use that for files that you or your people wrote, "
            "and save it anew with save_checkpoint."
        )
    stream.seek(0)
    head = stream.read(64)
    if not head.startswith(ZIP_HEAD) and not (head.startswith(OLD_HEAD) and "map_location" in str(error)):
        # The old format has no checksums: what torch says is all there is to know.
        found = next((what for magic, what in _HEADS.items() if head.startswith(magic)), f"the bytes {head[:16]!r}")
        says = _READER_SAYS.search(str(error))
        damage = f"it begins with {found}, and torch could not read on{f' ({says[1]})' if says else ''}"
        return _unreadable(damage, name, size)
    hint = " map_location='cpu' loads it without that device." if "map_location" in str(error) else ""
    return CheckpointError(f"{name!r} ({_in_units(size)}) cannot be loaded: {_first_sentence(error)}{hint}")


def _wanted_globals(stream: IO[bytes], message: str) -> list[str]:
    """The functions and classes outside torch's own list that a file wants to call."""
    named = _GLOBAL.findall(message)
    if not named:
        return []
    stream.seek(0)
    try:
        return sorted({*named, *get_unsafe_globals_in_checkpoint(stream)} - FIXED_LIST.keys())
    except Exception:  # the old format cannot be listed without reading it, nor can a damaged pickle
        return sorted(set(named))


def _unreadable(problem: str, name: str, size: int) -> CheckpointError:
    return CheckpointError(f"{name!r} ({_in_units(size)}) is no readable checkpoint: {problem}.{_newest_in(name)}")


def _first_sentence(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _newest_in(path: str) -> str:
    """A sentence with the newest other checkpoint in the folder `path`, or beside the file `path`."""
    folder, own = (path, "") if os.path.isdir(path) else os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            others = [
                (entry.stat().st_mtime, entry.stat().st_size, entry.name)
                for entry in entries
                if entry.name.endswith(_SUFFIXES) and entry.name not in ("", own) and not entry.name.startswith(".")
            ]
    except OSError:
        return ""
    others = [other for other in others if other[1]]
    if not others:
        return ""
    written, size, name = max(others)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(written))
    return f" The newest other checkpoint there is {name!r} ({_in_units(size)}, written {when})."


def _in_units(size: int) -> str:
    return f"{size} bytes" if size < 10_000 else f"{size / 2**20:.1f} MiB"
