"""Every error that drivetrain raises on purpose.

Each class is also one of Python's own exceptions, so that an `except KeyError` or `except ValueError` written for
another engine still catches it. A message says what happened, what was expected and how to fix it; `did_you_mean` adds
the nearest right name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DrivetrainError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:
        """The plain message (`KeyError` alone would print its `repr`)."""
        return self.args[0] if len(self.args) == 1 and type(self.args[0]) is str else super().__str__()


class ArgumentError(DrivetrainError, ValueError):
    """An argument has the right type and a wrong value, or two arguments contradict each other."""


class ArgumentTypeError(DrivetrainError, TypeError):
    """An argument has a wrong type, or a call has an argument the callee does not know."""


class MissingAttributeError(DrivetrainError, AttributeError):
    """An object lacks an attribute or method that its role needs."""


class NotFoundError(DrivetrainError, KeyError):
    """A name was looked up and is not there: a registry entry, a metric, a field."""


class DuplicateError(DrivetrainError, KeyError):
    """A name is taken."""


class BuildError(DrivetrainError, RuntimeError):
    """Something could not be built from its config; the cause says why."""


class MissingFileError(DrivetrainError, FileNotFoundError):
    """A file or folder is not there."""


class IsFolderError(DrivetrainError, IsADirectoryError):
    """A folder stands where a file was expected."""


class NotAFolderError(DrivetrainError, NotADirectoryError):
    """A file stands where a folder was expected."""


class MissingPackageError(DrivetrainError, ImportError):
    """An optional package is needed and not installed; the message holds the `pip install` line."""


class BatchError(DrivetrainError, TypeError):
    """A batch has a form that the model's step cannot unpack."""


class CollateError(DrivetrainError, RuntimeError, TypeError):
    """The samples of a batch do not fit together."""


class LossError(DrivetrainError, TypeError, ValueError, KeyError):
    """A model returned no loss, or something that is not one."""


class MetricError(DrivetrainError, TypeError, ValueError):
    """A metric returned something that is not a dict of results, or two metrics share a key."""


class CheckpointError(DrivetrainError, RuntimeError):
    """A checkpoint cannot be written, read or trusted."""


class WeightsMismatchError(CheckpointError):
    """The weights of a file do not fit the model."""


class HookError(DrivetrainError, TypeError):
    """A hook point is unknown, or a hook was called with arguments it does not take."""


class NotReadyError(DrivetrainError, RuntimeError):
    """A method was called before what it needs was set up."""


class FieldError(DrivetrainError, AttributeError):
    """A field of a data element has a reserved name, or is already a field of the other kind."""


class OutOfRangeError(DrivetrainError, IndexError):
    """An index lies outside of what it indexes."""


class SampleError(DrivetrainError, RuntimeError):
    """A dataset could not give a sample."""


class NotSupportedError(DrivetrainError, NotImplementedError):
    """A class has no such method, or one that makes sense only for its members."""


class BatchDtypeError(BatchError, RuntimeError):
    """A network was given a dtype that it cannot compute with, such as the bytes of images that nobody normalised."""


class CompileError(DrivetrainError, RuntimeError):
    """A model cannot be compiled as asked."""


class CaptureError(DrivetrainError, RuntimeError):
    """A training step cannot be captured in a graph."""


class NonFiniteError(DrivetrainError, ArithmeticError, RuntimeError):
    """A loss, a gradient or a weight became NaN or infinite; `step` says at which training step, from 1, if known."""

    step: int | None = None


class ConfigParsingError(DrivetrainError, RuntimeError):
    """A config file cannot be read, or breaks a rule of its dialect."""


class AliasError(DrivetrainError, ImportError):
    """The name `mmengine` is taken, so drivetrain cannot stand under it."""


class LeftOutError(DrivetrainError, ImportError):
    """A name of MMEngine that drivetrain does not have is imported; the message says why, and what to use instead."""


class UntrustedFileError(ArgumentError):
    """Reading a file would run code that it names, and nobody said that its author is trusted."""


class SaveError(CheckpointError, OSError):
    """A checkpoint could not be brought to the disk; the file that stood there before is as it was."""


def nearest(name: str, options: Iterable[str], count: int = 3) -> list[str]:
    """The options closest to `name`, best first, judged without case."""
    by_folded: dict[str, str] = {}
    for option in options:
        by_folded.setdefault(str(option).lower(), str(option))
    return [by_folded[hit] for hit in difflib.get_close_matches(str(name).lower(), by_folded, n=count, cutoff=0.6)]


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """A sentence with the nearest names, with a space before it; empty when nothing is near.

    >>> did_you_mean("ReNet", ["ResNet", "VGG"])
    " Did you mean 'ResNet'?"
    """
    hits = nearest(name, options)
    return f" Did you mean {' or '.join(map(repr, hits))}?" if hits else ""


def require_package(package: str, purpose: str, extra: str | None = None) -> MissingPackageError:
    """The error to raise when the optional `package` is missing; `extra` is the extra of drivetrain that brings it."""
    install = f"drivetrain[{extra}]" if extra else package
    return MissingPackageError(
        f'{purpose} needs the package {package!r}, which is not installed. Install it with: pip install "{install}"'
    )
