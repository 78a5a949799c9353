"""Text files of one item a line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivetrain.errors import ArgumentError

from ._io import get_text
from ._serialize import merge_backend_args


def list_from_file(
    filename: str | Path,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> list[str]:
    """Read a text file as a list of its lines, without their ends; other white space is kept.

    Args:
        filename: a local path or a URL.
        prefix: put before each line.
        offset: number of lines to skip.
        max_num: number of lines to read after those; 0 for all.
        encoding: of the file.
        file_client_args: the older name of `backend_args`.
        backend_args: options of the remote storage.

    Raises:
        MissingFileError: no such file.
    """
    text = get_text(filename, encoding, merge_backend_args(file_client_args, backend_args))
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    stop = offset + max_num if max_num > 0 else None
    return [prefix + line for line in lines[offset:stop]]


def dict_from_file(
    filename: str | Path,
    key_type: Callable[[str], Any] = str,
    encoding: str = "utf-8",
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> dict[Any, str | list[str]]:
    """Read a text file of `key value` or `key value value ...` lines, separated by white space.

    Args:
        filename: a local path or a URL.
        key_type: what to make of a key: `str`, `int` ...
        encoding: of the file.
        file_client_args: the older name of `backend_args`.
        backend_args: options of the remote storage.

    Returns:
        The value of each key: a string, or a list of strings where a line has several.

    Raises:
        ArgumentError: a line has no value, or `key_type` refuses its key; the message names the line.
        MissingFileError: no such file.
    """
    mapping: dict[Any, str | list[str]] = {}
    lines = list_from_file(filename, "", 0, 0, encoding, file_client_args, backend_args)
    for number, line in enumerate(lines, start=1):
        key, *values = line.split() or [""]
        place = f"{os.fspath(filename)}, line {number}"
        if not values:
            raise ArgumentError(f"{place}: expected a key and at least one value, got {line!r}.")
        mapping[_converted(key, key_type, place)] = values[0] if len(values) == 1 else values
    return mapping


def _converted(key: str, key_type: Callable[[str], Any], place: str) -> Any:
    try:
        return key_type(key)
    except ValueError as error:
        raise ArgumentError(f"{place}: the key {key!r} does not convert with key_type={key_type!r}: {error}") from error
