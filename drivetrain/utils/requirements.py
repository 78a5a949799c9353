"""Refuse to call a function whose needs are not met."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from drivetrain.errors import NotReadyError

F = TypeVar("F", bound=Callable[..., Any])


def check_prerequisites(
    prerequisites: str | Sequence[str],
    checker: Callable[[str], bool],
    msg_tmpl: str = 'Prerequisites "{}" are required in method "{}" but not found, please install them first.',
) -> Callable[[F], F]:
    """Make a decorator: each call of the function first checks what it needs.

    Args:
        prerequisites: what the function needs, by name.
        checker: tells whether one of them is there.
        msg_tmpl: the message, with `{}` for what is missing and `{}` for the function.

    Returns:
        The decorator. The decorated function raises `NotReadyError`, a `RuntimeError`, when something is missing.
    """
    needed = [prerequisites] if type(prerequisites) is str else list(prerequisites)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            missing = [name for name in needed if not checker(name)]
            if missing:
                raise NotReadyError(msg_tmpl.format(", ".join(missing), function.__name__))
            return function(*args, **kwargs)

        return cast("F", checked)

    return decorate


def requires_package(prerequisites: str | Sequence[str]) -> Callable[[F], F]:
    """A decorator for a function that needs Python modules, by the name they are imported by.

    >>> @requires_package(["numpy", "PIL"])
    ... def draw(): ...
    """
    return check_prerequisites(prerequisites, _module_found)


def requires_executable(prerequisites: str | Sequence[str]) -> Callable[[F], F]:
    """A decorator for a function that needs commands on the path.

    >>> @requires_executable("ffmpeg")
    ... def cut(clip): ...
    """
    return check_prerequisites(prerequisites, _command_found)


def _module_found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _command_found(name: str) -> bool:
    return shutil.which(name) is not None
