"""`drivetrain config check CONFIG`: all faults of a config, each with its line, in seconds."""

from ._command import add_arguments as add_arguments
from ._command import run as run
