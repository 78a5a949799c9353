"""Find and inspect Python objects."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

from drivetrain.errors import ArgumentTypeError


def get_object_from_string(obj_name: str) -> Any:
    """The object behind a dotted path such as `torch.optim.SGD`, or None when there is no such module or attribute.

    An error raised *inside* an imported module is not swallowed: it passes through, so that a broken module is told
    apart from a missing one.
    """
    parts = obj_name.split(".")
    for split in range(len(parts), 0, -1):
        name = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                return None
            found = getattr(found, attribute)
        return found
    return None


def is_method_overridden(method: str, base_class: type, derived_class: type | object) -> bool:
    """Whether `derived_class` (a class or an instance) defines its own `method`.

    Raises:
        ArgumentTypeError: `base_class` is no class.
    """
    if not isinstance(base_class, type):
        raise ArgumentTypeError(f"base_class must be a class, got an instance: {base_class!r}.")
    derived = derived_class if isinstance(derived_class, type) else type(derived_class)
    return getattr(derived, method) is not getattr(base_class, method)


def has_method(obj: object, method: str) -> bool:
    """Whether `obj` has something callable under that name."""
    return callable(getattr(obj, method, None))


def is_seq_of(seq: Any, expected_type: type | tuple[type, ...], seq_type: type | None = None) -> bool:
    """Whether `seq` is a sequence (of `seq_type`, if given) whose items are all `expected_type`."""
    kind: type = Sequence if seq_type is None else seq_type
    return isinstance(seq, kind) and all(isinstance(item, expected_type) for item in cast("Sequence[Any]", seq))


def is_list_of(seq: Any, expected_type: type | tuple[type, ...]) -> bool:
    """Whether `seq` is a list whose items are all `expected_type`."""
    return is_seq_of(seq, expected_type, list)


def is_tuple_of(seq: Any, expected_type: type | tuple[type, ...]) -> bool:
    """Whether `seq` is a tuple whose items are all `expected_type`."""
    return is_seq_of(seq, expected_type, tuple)
