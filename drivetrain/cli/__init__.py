"""Commands: `drivetrain demo` and what later joins it."""

from ._main import main as main
