"""What the backends of experiment trackers share: numbers, nested configs, files to upload."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drivetrain.errors import ArgumentError

from ._values import check_type, plain_number

_NUMBERS = (int, float, bool)


def numbers_of(scalar_dict: dict[str, Any], tracker: str) -> dict[str, int | float]:
    """The numbers of one step; what is no single number is left out with a warning that names the tracker.

    Raises:
        ArgumentTypeError: it is no dict.
        ArgumentError: it holds a `step`, which would become a metric.
    """
    check_type("scalar_dict", scalar_dict, dict)
    if "step" in scalar_dict:
        raise ArgumentError("scalar_dict holds the key 'step': pass it as the argument `step`.")
    plain = {name: plain_number(value) for name, value in scalar_dict.items()}
    left_out = [name for name, value in plain.items() if type(value) not in _NUMBERS]
    if left_out:
        warnings.warn(f"{tracker} takes numbers: left out {', '.join(map(repr, left_out))}.", stacklevel=4)
    return {name: value for name, value in plain.items() if name not in left_out}


def image_file(name: str, step: int) -> str:
    """The file of an image: `<name>_<step>.png`, or the name itself where it has an ending."""
    return name if Path(name).suffix.lower() in (".png", ".jpg", ".jpeg") else f"{name}_{step}.png"


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts and lists by dotted path; a list of plain values is one leaf."""
    if hasattr(value, "items"):
        nested = value.items()
    elif type(value) in (list, tuple) and any(hasattr(item, "items") for item in value):
        nested = enumerate(value)
    else:
        yield prefix, value
        return
    for key, item in nested:
        yield from flat(item, f"{prefix}.{key}" if prefix else str(key))


def plain_config(value: Any) -> Any:
    """A config as dicts, lists, numbers and strings; anything else as its text."""
    if hasattr(value, "items"):
        return {str(key): plain_config(item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return [plain_config(item) for item in value]
    return value if value is None or type(value) in (*_NUMBERS, str) else str(value)


def files_to_upload(
    config: Mapping[str, Any] | None, suffix: str | Sequence[str], is_own: Callable[[Path], bool] | None = None
) -> Iterator[tuple[Path, str | None]]:
    """Files below the config's work_dir with such an ending, and the folder of each in it; None is the top.

    Args:
        config: the config of the run, if it was written.
        suffix: an ending, or several.
        is_own: tells files of the tracker itself, which are left out.
    """
    work_dir = None if config is None else config.get("work_dir")
    if work_dir is None or not os.path.isdir(work_dir):
        return
    top, endings = Path(work_dir).resolve(), suffix if type(suffix) is str else tuple(suffix)
    for file in sorted(top.rglob("*")):
        if file.is_file() and file.name.endswith(endings) and not (is_own and is_own(file)):
            folder = file.parent.relative_to(top).as_posix()
            yield file, None if folder == "." else folder
