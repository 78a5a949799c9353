"""Which checkpoints stay: the newest few, and the best; files go only when what replaces them is on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
from collections import deque
from collections.abc import Sequence
from logging import Logger
from typing import Any

from drivetrain.checkpoint import _load_checkpoint, serialize_checkpoint
from drivetrain.dist import all_gather_object, master_only
from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.fileio import atomic_write, isfile, join_path, put, remove

StorageArgs = dict[str, Any] | None
_HALF = re.compile(r"^\..+\.(\d+)-[0-9a-f]{8}\.tmp$")
_ABANDONED = 600  # seconds; the file may be one that another machine is writing


def take_surplus(ids: deque[int], most: int) -> list[int]:
    """Take the oldest of `ids` out until `most` are left; those taken out. With `most` <= 0 all stay."""
    return [ids.popleft() for _ in range(max(0, len(ids) - most))] if most > 0 else []


def check_kept(keep_best: int, keep_every: int | None, on_busy: str) -> None:
    """Refuse what `CheckpointHook` cannot follow.

    Raises:
        ArgumentTypeError: a number is no whole number.
        ArgumentError: it is less than 1, or `on_busy` is neither 'wait' nor 'drop'.
    """
    for name, value in (("keep_best", keep_best), ("keep_every", 1 if keep_every is None else keep_every)):
        if type(value) is not int:
            raise ArgumentTypeError(f"{name} takes a whole number, got {value!r} of type {type(value).__name__}.")
        if value < 1:
            raise ArgumentError(f"{name} takes a number of at least 1, got {value}.")
    if on_busy not in ("wait", "drop"):
        raise ArgumentError(f"on_busy takes 'wait' or 'drop', got {on_busy!r}.")


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process of the run."""
    return any(all_gather_object(flag))


@master_only
def link_file(folder: str, source: str, name: str) -> None:
    """Let the file `source` of a local folder have a second name there; a copy, where links cannot be made."""
    folder = os.path.expanduser(folder)
    origin, target = os.path.join(folder, source), os.path.join(folder, name)
    temporary = os.path.join(folder, f".{name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        os.link(origin, temporary)
    except OSError:
        with open(origin, "rb") as read, atomic_write(target) as write:
            shutil.copyfileobj(read, write, 1 << 20)
        return
    os.replace(temporary, target)


@master_only
def sweep(folder: str) -> None:
    """Delete what a killed process of ours left half written in a local folder, long ago."""
    with contextlib.suppress(OSError), os.scandir(os.path.expanduser(folder)) as entries:
        for entry in entries:
            found = _HALF.search(entry.name)
            if found and time.time() - entry.stat().st_mtime > _ABANDONED and not _is_another(int(found[1])):
                os.unlink(entry.path)


def _is_another(process: int) -> bool:
    """Whether another process of this machine has the number; our own may be that of the killed one, in a container."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@master_only
def remove_files(folder: str, names: Sequence[str], backend_args: StorageArgs) -> None:
    """Delete files of `folder`, on rank 0; one that is gone already is fine."""
    for name in names:
        path = join_path(folder, name, backend_args=backend_args)
        if isfile(path, backend_args=backend_args):
            remove(path, backend_args=backend_args)


@master_only
def publish(path: str, keys: Sequence[str], backend_args: StorageArgs, logger: Logger) -> None:
    """Write a copy of a checkpoint with `keys` alone, named by the hash of its bytes: `<stem>-<8 hex digits>.pth`.

    Args:
        path: the checkpoint.
        keys: what the copy keeps of its top level.
        backend_args: options of the storage.
        logger: told what was left out and where the copy is.
    """
    checkpoint = _load_checkpoint(path, map_location="cpu", logger="silent")
    dropped = [key for key in checkpoint if key not in keys]
    absent = [key for key in keys if key not in checkpoint]
    if dropped:
        logger.info(f"Published without {', '.join(dropped)}: published_keys does not name them.")
    if absent:
        logger.warning(f"published_keys names {', '.join(map(repr, absent))}, which {path} does not hold.")
    content = serialize_checkpoint({key: checkpoint[key] for key in keys if key in checkpoint})
    stem, suffix = os.path.splitext(path)
    target = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    put(content, target, backend_args)
    logger.info(f"The checkpoint ({path}) is published to {target}.")
