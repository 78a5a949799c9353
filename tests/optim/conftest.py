from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from drivetrain.logging import MMLogger


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))


@pytest.fixture
def logged() -> Iterator[list[tuple[str, str]]]:
    """Level and message of what the current logger gets."""
    handler = _Lines()
    logger = MMLogger.get_instance("optim-tests")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
