"""Tell a config from an object."""

from __future__ import annotations

from typing import Any


def is_config(value: Any) -> bool:
    """Whether a value is a dict or a config, to be built; a class that is one is not."""
    return hasattr(value, "items") and not isinstance(value, type)
