"""How a user says that a file may run code."""

from __future__ import annotations

import os

TRUST_VARIABLE = "DRIVETRAIN_TRUST_PICKLES"
"""Environment variable that, set to 1, trusts every pickle: for code that cannot be changed."""

HOW_TO_TRUST = (
    "If you trust its author: load(..., trusted=True), or set the environment variable "
    f"{TRUST_VARIABLE}=1 for code that you cannot change."
)


def all_pickles_trusted() -> bool:
    """Whether the environment says so."""
    return os.environ.get(TRUST_VARIABLE) == "1"
