"""Write checkpoints, whole or not at all."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import IO, Any

import torch

from drivetrain.errors import ArgumentError, SaveError
from drivetrain.fileio import atomic_write, put

from ._codec import encode
from ._writer import current_batch


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
    write = functools.partial(_put, name=os.fspath(filename), options=options)
    batch = current_batch()
    if batch is None:
        write(plain)
    else:
        batch.add(plain, write)


def _put(plain: Any, name: str, options: dict[str, Any] | None) -> None:
    if options is not None or "://" in name:
        put(_in_memory(plain, name), name, options)
        return
    try:
        with atomic_write(os.path.expanduser(name)) as file:
            _write(plain, file, name)
    except OSError as error:
        raise SaveError(_failed(name, error)) from error


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
        raise SaveError(_failed(name, cause)) from error


def _failed(name: str, cause: BaseException) -> str:
    return f"the checkpoint {name!r} could not be written, and nothing was replaced: {cause}"
