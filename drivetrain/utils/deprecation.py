"""Keep old names working, with a warning."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from drivetrain.errors import ArgumentTypeError

F = TypeVar("F", bound=Callable[..., Any])


def deprecated_api_warning(name_dict: dict[str, str], cls_name: str | None = None) -> Callable[[F], F]:
    """Make a decorator that takes keyword arguments by their old names, with a `DeprecationWarning`.

    Args:
        name_dict: the new name of each old one.
        cls_name: class of the function, for the message.

    Returns:
        The decorator. The decorated function raises `ArgumentTypeError` when it gets both names of an argument.
    """

    def decorate(function: F) -> F:
        shown = f"{cls_name}.{function.__name__}" if cls_name else function.__name__

        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> Any:
            for old, new in name_dict.items():
                if old in kwargs:
                    _warn_of_rename(old, new, shown, both=new in kwargs)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast("F", renamed)

    return decorate


def _warn_of_rename(old: str, new: str, function: str, both: bool) -> None:
    if both:
        raise ArgumentTypeError(f"{function} got {old!r} and {new!r}, which are one argument: give {new!r} only.")
    message = f'"{old}" is deprecated in `{function}`, please use "{new}" instead'
    warnings.warn(message, DeprecationWarning, stacklevel=3)


def deprecated_function(since: str, removed_in: str, instructions: str) -> Callable[[F], F]:
    """Make a decorator for a function that will go: each call gives a `DeprecationWarning`, the docstring says so.

    Args:
        since: version since which it is deprecated.
        removed_in: version that will not have it.
        instructions: what to do instead, as a sentence without its full stop.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def deprecated(*args: Any, **kwargs: Any) -> Any:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        name = f"{function.__module__}.{function.__name__}"
        message = (
            f"{name!r} is deprecated in version {since} and will be removed in version {removed_in}. "
            f"Please {instructions}."
        )
        note = f".. deprecated:: {since}\n    Deprecated and will be removed in version {removed_in}.\n"
        deprecated.__doc__ = f"{note}    Please {instructions}.\n\n\n{inspect.getdoc(function) or ''}"
        return cast("F", deprecated)

    return decorate
