"""Import modules by name, as configs list them."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

from drivetrain.errors import ArgumentTypeError, MissingPackageError

from .sequences import is_str


def import_modules_from_strings(imports: Any, allow_failed_imports: bool = False) -> Any:
    """Import modules.

    Args:
        imports: the dotted name of a module, or a list of them; nothing at all imports nothing.
        allow_failed_imports: warn about a module that cannot be imported, instead of raising.

    Returns:
        The module, or a list of modules; None stands for one that failed. None for nothing.

    Raises:
        ArgumentTypeError: `imports` is something else.
        MissingPackageError: a module, or one that it imports, cannot be imported; an `ImportError`. Any other error in
            a module passes through.
    """
    if not imports:
        return None
    if type(imports) is str:
        return _imported(imports, allow_failed_imports)
    if type(imports) not in (list, tuple):
        raise ArgumentTypeError(f"imports must be the name of a module or a list of them, got {imports!r}.")
    for name in imports:
        if not is_str(name):
            raise ArgumentTypeError(f"imports must name modules, got {name!r} ({type(name).__name__}) in {imports!r}.")
    return [_imported(name, allow_failed_imports) for name in imports]


def _imported(name: str, allow_failure: bool) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if not allow_failure:
            raise MissingPackageError(f"Failed to import {name}: {error}") from error
        warnings.warn(f"{name} failed to import and is ignored: {error}.", UserWarning, stacklevel=4)
        return None
