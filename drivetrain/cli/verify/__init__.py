"""`drivetrain verify-resume`: whether a run that is killed and resumed is the run that was never stopped."""

from ._command import add_arguments as add_arguments
from ._command import run as run
