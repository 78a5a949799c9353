"""Where log lines for people go: standard output, or a live display that owns the terminal for the moment."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_writers: list[Callable[[str], None]] = []


@contextmanager
def console_writer(writer: Callable[[str], None]) -> Iterator[None]:
    """Send every console line through `writer` inside the block.

    A progress bar redraws its own lines all the time: text written past it would be torn. It passes a `writer` that
    prints above the bar. The innermost block wins; log files are not affected.

    Args:
        writer: gets a line or several, without the last newline, possibly with ANSI colours.
    """
    _writers.append(writer)
    try:
        yield
    finally:
        _writers.remove(writer)


def write_console(text: str, stream: TextIO | None = None) -> None:
    """Write `text` and a newline where people look: above a live display if there is one, else to `stream`."""
    if _writers:
        _writers[-1](text)
        return
    stream = stream or sys.stdout
    stream.write(text + "\n")
    stream.flush()


def shows_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not asked for plain text (the NO_COLOR convention)."""
    return not os.environ.get("NO_COLOR") and bool(getattr(stream, "isatty", bool)())


class ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes records to standard output as it is *now* (captured, redirected), or above a live display.

    Args:
        coloured: the formatter for terminals; `setFormatter` sets the one for everything else.
    """

    def __init__(self, coloured: logging.Formatter | None = None) -> None:
        super().__init__(sys.stdout)
        self._coloured = coloured
        self._follows_stdout = True

    def setStream(self, stream: Any) -> Any:
        """Write to `stream` from now on, whatever standard output is."""
        self._follows_stdout = False
        return super().setStream(stream)

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`, coloured on a terminal only."""
        if self._coloured is not None and shows_colour(self.stream):
            return self._coloured.format(record)
        return super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of `record`."""
        if self._follows_stdout:
            self.stream = sys.stdout
        try:
            write_console(self.format(record), self.stream)
        except Exception:  # a logger never ends the program it reports on
            self.handleError(record)
