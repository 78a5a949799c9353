"""Functions in the place of methods of single objects, for a while."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

_ABSENT: Any = object()


class Taps:
    """Puts functions in the place of methods of single objects, and takes them away again.

    What is put is a method bound to its object. So a deep copy made meanwhile, of a model say, has a method of its own
    that calls the copy, and a pickle has none.
    """

    def __init__(self) -> None:
        self._put: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, make: Callable[[Callable[..., Any], bool], Callable[..., Any]]) -> bool:
        """Replace `owner.name` if it is there.

        Args:
            owner: the object; objects without a `__dict__` are left alone.
            name: name of the method.
            make: called with what is there now and with whether that takes the owner as its first argument; returns a
                function that does.

        Returns:
            Whether it was replaced.
        """
        found = getattr(owner, name, None)
        if not callable(found) or not hasattr(owner, "__dict__"):
            return False
        owned = getattr(found, "__self__", None) is owner and hasattr(found, "__func__")
        function: Any = make(found.__func__ if owned else found, owned)
        function.__name__ = name  # by which pickle finds a method
        if owned:
            function.__wrapped__ = found.__func__  # whose signature error messages show
        self.replace(owner, name, types.MethodType(function, owner))
        return True

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until `remove`. Past `__setattr__`, which modules and wrappers have for other purposes."""
        self._put.append((owner, name, value, vars(owner).get(name, _ABSENT)))
        vars(owner)[name] = value

    def remove(self) -> None:
        """Take everything away, the newest first; what somebody else has put in the place of ours stays."""
        for owner, name, value, before in reversed(self._put):
            if vars(owner).get(name) is not value:
                continue
            if before is _ABSENT:
                del vars(owner)[name]
            else:
                vars(owner)[name] = before
        self._put.clear()
