"""How the commands write: help that keeps its line breaks, paths as the reader would type them, long values cut."""

from __future__ import annotations

import argparse
import os
from typing import Any


class Help(argparse.RawDescriptionHelpFormatter):
    """Help whose descriptions and examples keep their line breaks."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"max_help_position": 30, **settings})


def shown_path(path: str) -> str:
    """`path` relative to the current folder where that is shorter; what is no path is left alone."""
    if not os.path.isabs(path):
        return path
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return relative if len(relative) < len(path) else path


def shown_value(value: Any, width: int = 72) -> str:
    """`repr(value)` on one line, cut to `width` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
