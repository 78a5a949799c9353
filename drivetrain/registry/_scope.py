"""Scopes: which package's registries a plain name refers to."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drivetrain.errors import ArgumentTypeError
from drivetrain.utils import ManagerMixin

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT_SCOPE = "mmengine"
"""Scope of the root registries: the name that configs written for the contract use."""

PACKAGE = __name__.split(".", maxsplit=1)[0]


def canonical_scope(scope: str) -> str:
    """`scope`, with the name of this package turned into the root scope."""
    return ROOT_SCOPE if scope == PACKAGE else scope


class DefaultScope(ManagerMixin):
    """The scope in which names without a prefix are looked up first.

    Args:
        name: name of this instance; a run uses its experiment name.
        scope_name: the scope, such as `"mmdet"`.

    Raises:
        ArgumentTypeError: the scope is not a str.
    """

    def __init__(self, name: str, scope_name: str) -> None:
        super().__init__(name)
        if type(scope_name) is not str:
            raise ArgumentTypeError(f"scope_name must be a str, such as 'mmdet', got {type(scope_name).__name__}.")
        self._scope_name = scope_name

    @property
    def scope_name(self) -> str:
        """The scope, as it was given."""
        return self._scope_name

    @classmethod
    def get_current_instance(cls) -> Self | None:  # type: ignore[override]
        """The scope in force in this context; None when none was set."""
        return cls._current_or_none()

    @classmethod
    @contextmanager
    def overwrite_default_scope(cls, scope_name: str | None) -> Iterator[None]:
        """Use another scope inside the block, in this context only; None changes nothing."""
        if scope_name is None:
            yield
            return
        with cls.use(cls(name=f"overwrite-{scope_name}", scope_name=scope_name)):
            yield


def init_default_scope(scope: str) -> None:
    """Make `scope` the default scope of the process, with a warning when another one was set."""
    current = DefaultScope.get_current_instance()
    if current is not None and canonical_scope(current.scope_name) == canonical_scope(scope):
        return
    if current is not None:
        warn(
            f"The default scope was {current.scope_name!r} and is now {scope!r}: names without a prefix are looked up "
            f"there first. Use DefaultScope.overwrite_default_scope({scope!r}) to change it for one block of code."
        )
    taken = DefaultScope.check_instance_created(scope)
    DefaultScope.get_instance(f"{scope}-{time.time_ns()}" if taken else scope, scope_name=scope)


def warn(message: str) -> None:
    """Write a warning to the run's logger."""
    from drivetrain.logging import print_log

    print_log(message, logger="current", level=logging.WARNING)
