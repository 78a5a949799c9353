"""Write checkpoints, whole or not at all, and find the newest."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, Any

import torch

from drivetrain.errors import ArgumentError, CheckpointError
from drivetrain.fileio import atomic_write, exists, get_text, isfile, join_path, put
from drivetrain.logging import print_log

from ._codec import encode

LAST_CHECKPOINT = "last_checkpoint"
"""The text file in a work_dir with the path of the newest checkpoint."""


def save_checkpoint(
    checkpoint: Any,
    filename: str | Path,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint that `torch.load(weights_only=True)` reads without an allow-list.

    Arrays, paths, sets and the like are tagged, and restored by `load_checkpoint`. On the local disk the file appears
    whole or not at all: until the last byte is on the disk, a file of that name stays what it was.

    Args:
        checkpoint: nested containers of tensors, numbers, strings and the like, most often a dict.
        filename: a local path or a URL such as `s3://bucket/epoch_1.pth`; folders above it are created.
        file_client_args: the old name of `backend_args`.
        backend_args: options of a remote storage.

    Raises:
        CheckpointError: an object that a checkpoint cannot hold (the message has its key path; nothing was written), or
            torch could not write.
        ArgumentError: both kinds of arguments were given.
    """
    options = storage_options(file_client_args, backend_args)
    plain = encode(checkpoint)
    name = os.fspath(filename)
    if options is None and "://" not in name:
        with atomic_write(os.path.expanduser(name)) as file:
            _write(plain, file, name)
    else:
        put(_in_memory(plain, name), name, options)


def serialize_checkpoint(checkpoint: Any) -> bytes:
    """The bytes that `save_checkpoint` would write.

    Raises:
        CheckpointError: see `save_checkpoint`.
    """
    return _in_memory(encode(checkpoint), "in memory")


def _in_memory(plain: Any, name: str) -> bytes:
    buffer = io.BytesIO()
    _write(plain, buffer, name)
    return buffer.getvalue()


def storage_options(
    file_client_args: dict[str, Any] | None, backend_args: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The one set of options out of the two names it may come by.

    Raises:
        ArgumentError: both were given.
    """
    if file_client_args is not None and backend_args is not None:
        raise ArgumentError(
            f"file_client_args={file_client_args!r} and backend_args={backend_args!r} say the same thing: "
            "keep backend_args alone."
        )
    return backend_args if file_client_args is None else file_client_args


def _write(plain: Any, file: IO[bytes], name: str) -> None:
    try:
        torch.save(plain, file)
    except (RuntimeError, RecursionError) as error:
        # torch's writer meets a full disk as "unexpected pos"; the operating system's own error is its cause then.
        cause = error.__cause__ or error.__context__ or error
        raise CheckpointError(
            f"the checkpoint {name!r} could not be written, and nothing was replaced: {cause}"
        ) from error


def find_latest_checkpoint(path: str | Path) -> str | None:
    """The newest checkpoint of a run, by the file `last_checkpoint` in its work_dir.

    A folder that was moved or copied still works: when the recorded file is gone, one of that name in `path` is taken.

    Args:
        path: the work_dir, local or a URL.

    Returns:
        The path of the checkpoint, or None (with a line in the log) when the run has saved none.
    """
    record = join_path(path, LAST_CHECKPOINT)
    if not exists(record):
        print_log(f"There is no {LAST_CHECKPOINT} in {os.fspath(path)!r}: nothing to resume from.", "current")
        return None
    recorded = get_text(record).strip()
    if isfile(recorded):
        return recorded
    beside = join_path(path, recorded.replace("\\", "/").rpartition("/")[2])
    return beside if isfile(beside) else recorded
