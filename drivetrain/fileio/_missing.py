"""The error for a path that is not there: what is there instead, and where we looked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from drivetrain.errors import MissingFileError, did_you_mean

_MOST_NAMES = 2000


def missing_file(path: str | Path, what: str = "file") -> MissingFileError:
    """The error to raise when the local `path` does not exist.

    Args:
        path: the path as the user gave it.
        what: what was expected there, for the message.

    Returns:
        A `MissingFileError` that names the path, the first folder of it that is missing, the nearest existing name
        and, for a relative path, the working directory. Like Python's own it has `filename` and `errno`.
    """
    text = os.fspath(path)
    folder, name = _first_missing(text)
    message = f"no such {what}: {text!r}."
    if os.path.join(folder, name) != os.path.normpath(text):
        message += f" There is no {name!r} in {folder or '.'!r}."
    message += did_you_mean(name, _names_in(folder))
    if not os.path.isabs(text):
        message += f" The path is relative; the working directory is {os.getcwd()!r}."
    return described(message, text)


def described(message: str, path: str) -> MissingFileError:
    """A `MissingFileError` with `errno` and `filename` set, as `open` sets them."""
    error = MissingFileError(message)
    error.errno, error.filename = errno.ENOENT, path
    return error


def _first_missing(path: str) -> tuple[str, str]:
    """The deepest existing folder on the way to `path`, and the name that is missing in it."""
    folder, name = os.path.split(os.path.normpath(path))
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder, name = os.path.split(folder)
    return folder, name


def _names_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return [entry.name for entry, _ in zip(entries, range(_MOST_NAMES), strict=False)]
    except OSError:
        return []
