"""Run a script or module under the alias, as Python itself would."""

from __future__ import annotations

import importlib.machinery
import io
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

from drivetrain.errors import IsFolderError, MissingFileError

from ._install import install


def check_script(path: str) -> None:
    """Refuse what is no file.

    Raises:
        MissingFileError: there is nothing at `path`.
        IsFolderError: it is a folder.
    """
    if os.path.isdir(path):
        raise IsFolderError(f"{path} is a folder. Name a Python file, or a module: -m package.module.")
    if not os.path.isfile(path):
        raise MissingFileError(f"there is no file {path!r} (looked in {os.getcwd()}).")


def run_script(path: str, arguments: Sequence[str] = ()) -> None:
    """Run a Python file as `python path arguments...` does: as `__main__`, with its folder first on `sys.path`.

    Raises:
        MissingFileError: there is no such file.
        IsFolderError: it is a folder.
    """
    check_script(path)
    sys.argv[:] = [path, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    install()
    with io.open_code(os.path.abspath(path)) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, _new_main(path).__dict__)


def run_module(name: str, arguments: Sequence[str] = ()) -> None:
    """Run a module as `python -m name arguments...` does; of a package, its `__main__`."""
    sys.argv[:] = [name, *arguments]
    install()
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _new_main(path: str) -> ModuleType:
    """A fresh `__main__`: spawned workers read from it which file to run again."""
    main = ModuleType("__main__")
    main.__file__ = path
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    main.__dict__["__cached__"] = None
    sys.modules["__main__"] = main
    return main
