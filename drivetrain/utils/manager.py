"""Named instances of a class: one table per class, and one "current" instance.

The current instance is the last one created in the process. `ManagerMixin.use` overrides it for a block of code in one
context (PEP 567), so that two runs in one process do not meet; see docs/decisions/0004-current-objects.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError

_lock = threading.RLock()


class ManagerMeta(type):
    """Gives each class its own table of instances and its own "current" slot."""

    def __init__(cls, *args: Any) -> None:
        cls._instance_dict: dict[str, Any] = {}
        cls._override: ContextVar[Any] = ContextVar(f"current_{cls.__name__}", default=None)
        super().__init__(*args)


class ManagerMixin(metaclass=ManagerMeta):
    """Base of classes whose instances are found by name.

    Args:
        name: name of the instance; `get_instance` passes its own.

    Raises:
        ArgumentError: the name is empty.
    """

    def __init__(self, name: str = "", **kwargs: Any) -> None:
        if type(name) is not str or not name:
            raise ArgumentError(f"{type(self).__name__} needs a name of at least one character, got {name!r}.")
        self._instance_name = name

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> Self:
        """The instance called `name`, created with `kwargs` (and thereby made current) if there is none.

        An existing instance is returned as it is: `kwargs` do not change it.
        """
        if type(name) is not str:
            raise ArgumentTypeError(f"the name of a {cls.__name__} must be a str, got {type(name).__name__}.")
        with _lock:
            table = cls._instance_dict
            if name not in table:
                table[name] = cls(name=name, **kwargs)
            return table[name]

    @classmethod
    def get_current_instance(cls) -> Self:
        """The instance that `use` set in this context, else the last one created.

        Raises:
            NotReadyError: none was created.
        """
        current = cls._current_or_none()
        if current is None:
            raise NotReadyError(
                f"no {cls.__name__} was created yet: call {cls.__name__}.get_instance(name, ...) first."
            )
        return current

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Whether an instance called `name` exists."""
        return name in cls._instance_dict

    @classmethod
    @contextmanager
    def use(cls, instance: Self) -> Iterator[Self]:
        """Make `instance` the current one inside the block, for this context only."""
        token = cls._override.set(instance)
        try:
            yield instance
        finally:
            cls._override.reset(token)

    @property
    def instance_name(self) -> str:
        """The name this instance was created with."""
        return self._instance_name

    @classmethod
    def _current_or_none(cls) -> Self | None:
        override = cls._override.get()
        if override is not None:
            return override
        table = cls._instance_dict
        return next(reversed(table.values())) if table else None
