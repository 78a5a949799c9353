"""The newest checkpoint of a run that is whole."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from drivetrain.errors import CheckpointError, MissingFileError
from drivetrain.fileio import exists, get_text, isfile, join_path
from drivetrain.logging import print_log

from ._archive import read_record, read_records
from ._verify import verify_checkpoint
from ._writer import wait_for_saves

LAST_CHECKPOINT = "last_checkpoint"
"""The text file in a work_dir with the path of the newest checkpoint."""

_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
_PUBLISHED = re.compile(r"-[0-9a-f]{8}\.\w+$")
# How torch's pickles hold the names that only the state of a run has.
_NAMES_OF_A_RUN = (b"\x04\x00\x00\x00meta", b"\x05\x00\x00\x00epoch", b"\x04\x00\x00\x00iter", b"state_dict")


def find_latest_checkpoint(path: str | Path) -> str | None:
    """The newest checkpoint of a run, by the file `last_checkpoint` in its work_dir.

    A folder that was moved or copied still works: when the recorded file is gone, one of that name in `path` is taken.

    Args:
        path: the work_dir, local or a URL.

    Returns:
        The path of the checkpoint, or None (with a line in the log) when the run has saved none.
    """
    recorded = _recorded(path)
    if recorded is None:
        print_log(f"There is no {LAST_CHECKPOINT} in {os.fspath(path)!r}: nothing to resume from.", "current")
    return recorded


def _recorded(path: str | Path) -> str | None:
    wait_for_saves()
    record = join_path(path, LAST_CHECKPOINT)
    if not exists(record):
        return None
    recorded = get_text(record).strip()
    if isfile(recorded):
        return recorded
    beside = join_path(path, recorded.replace("\\", "/").rpartition("/")[2])
    return beside if isfile(beside) else recorded


def find_good_checkpoint(path: str | Path, *, back: int = 0, since: int = 0) -> str | None:
    """The newest checkpoint of a run that is whole: the one that `last_checkpoint` names, else the newest file left.

    A file that is gone, cut off or damaged is passed over, with a line in the log that says which and why. An address
    is taken at its word.

    Args:
        path: the work_dir, local or a URL.
        back: go so many whole checkpoints further back, as far as there are; two names of one file count once.
        since: pass over files older than this, in nanoseconds of `os.stat`; the one that `last_checkpoint` names is
            taken all the same.

    Returns:
        The path of the checkpoint, or None when the run has saved none.

    Raises:
        CheckpointError: the run has saved, and every file of it is damaged or gone.
    """
    refused: list[str] = []
    recorded, whole = _recorded(path), ""
    for candidate in _candidates(os.fspath(path), recorded, since):
        problem = _problem(candidate)
        if problem is None and not (whole and os.path.samefile(whole, candidate)):
            if not whole and candidate != recorded:
                why = "the newest checkpoint that is whole" if refused else f"though {LAST_CHECKPOINT} names none"
                print_log(f"Going on from {candidate}, {why}.", "current", logging.WARNING)
            whole, back = candidate, back - 1
            if back < 0:
                break
        elif problem is not None:
            refused.append(f"{candidate}: {problem}")
            print_log(f"Refused the checkpoint {refused[-1]}.", "current", logging.ERROR)
    if whole:
        return whole
    if refused:
        raise CheckpointError(
            f"no checkpoint in {os.fspath(path)!r} can be resumed from:\n  " + "\n  ".join(refused) + "\nTo start from "
            "the beginning, use resume=False or another work_dir; to go on from another file, name it in load_from."
        )
    return None


def _candidates(folder: str, recorded: str | None, since: int) -> Iterator[str]:
    """The recorded checkpoint, then the other files of the run that are no older than `since`, the newest first."""
    if recorded:
        yield recorded
    taken = os.path.abspath(recorded or "")
    places = {os.path.abspath(folder), os.path.dirname(taken)} if recorded else {os.path.abspath(folder)}
    others = {(written, name) for place in places for written, name in _files(place) if name != taken}
    yield from (name for written, name in sorted(others, reverse=True) if written >= since and _holds_a_run(name))


def _files(folder: str) -> Iterator[tuple[int, str]]:
    """When they were written, and paths, of files in a folder that may be checkpoints."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") or _PUBLISHED.search(entry.name)
                if entry.name.endswith(_SUFFIXES) and not hidden and entry.is_file():
                    yield entry.stat().st_mtime_ns, entry.path
    except OSError:
        return


def _holds_a_run(path: str) -> bool:
    """Whether a file holds more than weights; one that cannot be looked into does, to be named and refused."""
    try:
        with open(path, "rb") as stream:
            records = read_records(stream, os.path.getsize(path))
            pickled = next(record for record in records if record.name.endswith("/data.pkl"))
            content = read_record(stream, pickled)
    except Exception:
        return True
    return all(name in content for name in _NAMES_OF_A_RUN)


def _problem(path: str) -> str | None:
    """Why a file cannot be resumed from; None where it can, as far as its bytes tell."""
    if "://" in path:
        return None
    try:
        return verify_checkpoint(path).problem
    except MissingFileError:
        return "there is no such file"
    except CheckpointError as error:
        return str(error)
