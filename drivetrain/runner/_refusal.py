"""A state that cannot be taken over is refused with one clear error, whichever part stumbles over it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from drivetrain.errors import CheckpointError, DrivetrainError

_STUMBLES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)


@contextmanager
def refused_clearly(name: str) -> Iterator[None]:
    """Say that the state in the file `name` does not fit, where a part of the run fails to take it over.

    Raises:
        CheckpointError: a part did; its own error is the cause. Errors of this package are clear as they are.
    """
    try:
        yield
    except (DrivetrainError, torch.OutOfMemoryError):
        raise
    except _STUMBLES as error:
        said = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{name} does not fit this run, or was changed after it was saved: {said}") from error


def clearly(resume: Callable[..., None]) -> Callable[..., None]:
    """Have a function of a runner and a file's name refuse clearly."""

    @functools.wraps(resume)
    def refusing(runner: Any, filename: str, *arguments: Any) -> None:
        with refused_clearly(str(filename)):
            resume(runner, filename, *arguments)

    return refusing
