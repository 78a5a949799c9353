"""Reading an annotation file: its form, its paths, and what goes wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.fileio import isfile, join_path, list_from_file


def lines(value: Any) -> Any:
    """The lines of the text file that a string names, if it names one."""
    if not isinstance(value, str) or value.startswith(("http://", "https://")):
        return value
    return list_from_file(value) if value and isfile(value) else value


def checked(annotations: Any, path: str) -> tuple[Mapping[str, Any], list[Any]]:
    """The two parts of an annotation file."""
    form = "dict(metainfo=dict(...), data_list=[dict(...), ...])"
    if not hasattr(annotations, "keys"):
        raise ArgumentTypeError(
            f"{path} must hold a dict of the form {form}, and holds a {type(annotations).__name__}. Rewrite "
            "it, or override load_data_list()."
        )
    missing = [key for key in ("metainfo", "data_list") if key not in annotations]
    if missing:
        raise ArgumentError(
            f"{path} lacks {' and '.join(map(repr, missing))}; its keys are {list(annotations)}."
            f"{did_you_mean(missing[0], annotations)} It must be of the form {form}; for another, override "
            "load_data_list()."
        )
    metainfo, raw_list = annotations["metainfo"], annotations["data_list"]
    if not hasattr(metainfo, "items") or hasattr(raw_list, "items") or not hasattr(raw_list, "__iter__"):
        raise ArgumentTypeError(
            f"{path} must be of the form {form}; its metainfo is a {type(metainfo).__name__} and its data_list a "
            f"{type(raw_list).__name__}."
        )
    return metainfo, raw_list


def one(info: Any, dataset: Any) -> Any:
    """A sample's annotations as `parse_data_info` returned them, if they are a dict."""
    if not hasattr(info, "items"):
        raise ArgumentTypeError(
            f"{type(dataset).__name__}.parse_data_info must return a dict or a list of dicts, and returned "
            f"{type(info).__name__}: {info!r}. To drop samples, override filter_data()."
        )
    return info


def below(root: str | None, path: str) -> str:
    """`path` below `root`, unless it is absolute, a URL, or there is no root."""
    return path if not root or "://" in path or os.path.isabs(path) else join_path(root, path)


def joined(prefix: str, path: Any) -> str:
    """A path of an annotation below its prefix."""
    try:
        return join_path(prefix, path) if "://" in prefix else os.path.join(prefix, path)
    except TypeError:
        raise ArgumentTypeError(
            f"a path of an annotation must be a str, got {type(path).__name__}: {path!r}. Its key stands in "
            "data_prefix; leave it out there, or override parse_data_info()."
        ) from None


def check_serialize(serialize_data: Any) -> None:
    """Refuse a text other than 'columns'."""
    if type(serialize_data) is str and serialize_data != "columns":
        raise ArgumentError(
            f"serialize_data must be True, False or 'columns', got {serialize_data!r}."
            f"{did_you_mean(serialize_data, ['columns'])}"
        )
