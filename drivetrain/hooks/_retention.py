"""Which checkpoints stay: the newest few, and the best; files go only when what replaces them is on the disk."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from logging import Logger
from typing import Any

from drivetrain.checkpoint import _load_checkpoint, serialize_checkpoint
from drivetrain.dist import master_only
from drivetrain.fileio import isfile, join_path, put, remove

StorageArgs = dict[str, Any] | None


def take_surplus(ids: deque[int], most: int) -> list[int]:
    """Take the oldest of `ids` out until `most` are left; those taken out. With `most` <= 0 all stay."""
    return [ids.popleft() for _ in range(max(0, len(ids) - most))] if most > 0 else []


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
