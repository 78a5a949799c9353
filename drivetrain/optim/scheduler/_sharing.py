"""Values computed once for all parameter groups that follow one curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import is_, itemgetter
from typing import Any

Move = Callable[[Any, int], Any]
"""The new value of a setting, from its present value and the index of the parameter group."""

_NUMBERS = {int, float}


class Sharing:
    """Remembers which groups have one value and one curve, so that `apply` computes it once for all of them.

    Thousands of groups (a rate for each layer, no decay for norms) have a handful of curves. What is remembered is
    checked at each step against the groups' present values: a value that was set from outside counts from then on.

    Attributes:
        plain: whether all values are numbers of Python. A tensor is a group of its own, and is to be filled in place.
    """

    __slots__ = ("_classes", "_firsts", "_found", "_spread", "_traits", "plain")

    def __init__(self) -> None:
        self.plain = False
        self._found: list[Any] = []
        self._traits: list[list[Any]] = []
        self._classes = 0
        self._firsts: list[int] = []
        self._spread: Any = None

    def apply(self, move: Move, present: list[Any], traits: list[list[Any]]) -> list[Any]:
        """The groups' new values.

        Args:
            move: gives the value of one group; groups with equal values and traits get the same one.
            present: the groups' values.
            traits: lists, one entry a group, of what `move` looks up by index.
        """
        if traits != self._traits or (not self._same(present) and not self._still_alike(present)):
            self._group(present, traits)
        if not self.plain:
            return [move(value, index) for index, value in enumerate(present)]
        if self._classes == 1:
            self._found = [move(present[0], 0)] * len(self._found)
        else:
            moved = [move(present[index], index) for index in self._firsts]
            self._found = moved if self._spread is None else list(self._spread(moved))
        return self._found

    def _same(self, present: list[Any]) -> bool:
        """Whether the groups hold what was found for them last: the objects, since a tensor may equal a number."""
        return len(present) == len(self._found) and all(map(is_, present, self._found))

    def _still_alike(self, present: list[Any]) -> bool:
        """Whether groups that were alike still are, though another schedule has changed their values."""
        if len(present) != len(self._found) or not _NUMBERS.issuperset(map(type, present)):
            return False
        if self._classes == 1:
            return present.count(present[0]) == len(present)
        return self._spread is None or list(self._spread([present[index] for index in self._firsts])) == present

    def _group(self, present: list[Any], traits: list[list[Any]]) -> None:
        self.plain = _NUMBERS.issuperset(map(type, present))
        self._found, self._traits = [], []
        if not self.plain:
            return
        self._traits = [list(trait) for trait in traits]
        classes: dict[Any, int] = {}
        # Groups that were added after the schedule was made have no traits: they are left out, and stay as they are.
        index = [classes.setdefault(key, len(classes)) for key in zip(present, *traits, strict=False)]
        self._found = present[: len(index)]
        self._classes = len(classes)
        self._firsts = _first_of_each(index)
        self._spread = itemgetter(*index) if len(index) > len(classes) > 1 else None


def _first_of_each(index: Iterable[int]) -> list[int]:
    firsts: list[int] = []
    for position, kind in enumerate(index):
        if kind == len(firsts):
            firsts.append(position)
    return firsts
