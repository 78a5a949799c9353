"""Priorities of hooks: lower runs first."""

from __future__ import annotations

from enum import Enum
from typing import Union

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean


class Priority(Enum):
    """Named levels of priority between 0 and 100."""

    HIGHEST = 0
    VERY_HIGH = 10
    HIGH = 30
    ABOVE_NORMAL = 40
    NORMAL = 50
    BELOW_NORMAL = 60
    LOW = 70
    VERY_LOW = 90
    LOWEST = 100


def get_priority(priority: Union[int, str, Priority]) -> int:  # noqa: UP007
    """The number behind a priority given as a number (0 to 100), a name in any case, or a `Priority`.

    Raises:
        ArgumentError: the number is out of range or the name unknown.
        ArgumentTypeError: `priority` is something else.
    """
    if type(priority) is int:
        if not 0 <= priority <= 100:
            raise ArgumentError(f"a hook's priority must lie between 0 (first) and 100 (last), got {priority}.")
        return priority
    if type(priority) is str:
        name = priority.upper()
        if name not in Priority.__members__:
            raise ArgumentError(
                f"{priority!r} is not a priority.{did_you_mean(priority, Priority.__members__)} "
                f"Known: {', '.join(Priority.__members__)}, or a number from 0 to 100."
            )
        return Priority[name].value
    if type(priority) is Priority:
        return priority.value
    raise ArgumentTypeError(f"a hook's priority must be an int, a str or a Priority, got {type(priority).__name__}.")
