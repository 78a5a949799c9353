"""Whether code that was written for MMEngine runs on this package, under the name `mmengine`."""

from __future__ import annotations

import sys


def is_alias_active() -> bool:
    """Whether the `mmengine` in `sys.modules` is drivetrain under that name (see `drivetrain.compat`)."""
    return getattr(sys.modules.get("mmengine"), "__drivetrain_alias__", False) is True
