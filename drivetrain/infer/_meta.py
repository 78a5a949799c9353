"""The check of an inferencer class when it is defined."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

from drivetrain.errors import ArgumentError

STEPS = ("preprocess_kwargs", "forward_kwargs", "visualize_kwargs", "postprocess_kwargs")
"""Class attributes that name the arguments of each step of a call."""


class InferencerMeta(ABCMeta):
    """Checks that each argument of a call belongs to one step only.

    Raises:
        ArgumentError: a class names its steps' arguments in something else than sets of strings, or one argument twice.
    """

    def __init__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner: dict[str, str] = {}
        for step in STEPS:
            names = getattr(cls, step)
            if type(names) not in (set, frozenset) or any(type(name) is not str for name in names):
                raise ArgumentError(
                    f"{cls.__name__}.{step} must be a set of argument names, such as {{'show'}}, got {names!r}."
                )
            for name in sorted(names):
                if name in owner:
                    raise ArgumentError(
                        f"{cls.__name__} names {name!r} both in {owner[name]} and in {step}: a call would not know "
                        "which method gets it. Keep it in one."
                    )
                owner[name] = step
