"""What a class promises about the methods that it defines."""

from __future__ import annotations

from typing import Any

_METHODS = ("forward", "cast_data")


def promises(preprocessor: Any, name: str) -> bool:
    """Whether each class that defines one of the preprocessor's methods itself sets the attribute `name` to true.

    A subclass that writes another `forward` has to promise anew: what held for the old one says nothing of its own.

    >>> class Parent:
    ...     pure = True
    ...     def forward(self): ...
    ...     def cast_data(self): ...
    >>> class Child(Parent):
    ...     def forward(self): ...
    >>> promises(Parent(), "pure"), promises(Child(), "pure")
    (True, False)
    """
    definers = [_definer(preprocessor, method) for method in _METHODS]
    # An object may take back what its class promises: one that draws random numbers, say, is not pure.
    kept = getattr(preprocessor, name, None) is True
    return kept and all(definer is not None and vars(definer).get(name) is True for definer in definers)


def _definer(owner: Any, method: str) -> type | None:
    """The class that gives `owner` its method; None where the instance has one of its own, or nobody has."""
    if owner is None or method in vars(owner):
        return None
    return next((kind for kind in type(owner).__mro__ if method in vars(kind)), None)
