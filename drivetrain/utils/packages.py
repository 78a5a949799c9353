"""Installed packages: whether, where, and how to get one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib import metadata

from drivetrain.errors import ArgumentError, require_package


def is_installed(package: str) -> bool:
    """Whether a package is installed, by the name of its distribution ('PyYAML') or of its module ('yaml')."""
    return _distribution(package) is not None or _spec(package) is not None


def get_installed_path(package: str) -> str:
    """The folder of an installed package (the file, for a package of a single file).

    Args:
        package: name of the distribution ('PyYAML') or of the module ('yaml').

    Raises:
        MissingPackageError: it is not installed.
    """
    spec = _spec(package if _distribution(package) is None else package2module(package))
    if spec is None:
        raise require_package(package, f"get_installed_path({package!r})")
    return _place(spec)


def package2module(package: str) -> str:
    """The module that a distribution brings: 'yaml' for 'PyYAML'.

    Args:
        package: name of the distribution.

    Raises:
        MissingPackageError: it is not installed.
        ArgumentError: it brings no module.
    """
    distribution = _distribution(package)
    if distribution is None:
        raise require_package(package, f"package2module({package!r})")
    modules = sorted(set(_modules(distribution)), key=lambda name: (_unlike(name, package), name))
    same = package.lower().replace("-", "_")
    if not modules and _spec(same) is not None:
        return same
    if not modules:
        raise ArgumentError(f"the distribution {package!r} lists no module that it brings.")
    return modules[0]


def call_command(cmd: list[str]) -> None:
    """Run a command and wait for its end.

    Raises:
        subprocess.CalledProcessError: it ended with an error.
        FileNotFoundError: there is no such command.
    """
    import subprocess

    subprocess.check_call(cmd)


def install_package(package: str) -> None:
    """Install a package into this interpreter's environment with pip, if it is not there."""
    if not is_installed(package):
        call_command([sys.executable, "-m", "pip", "install", package])


def _distribution(package: str) -> metadata.Distribution | None:
    # It costs 25 ms to import, which nobody should pay who asks for nothing.
    from importlib import metadata

    try:
        # An empty name is any distribution, or an error, as the version of Python has it.
        return metadata.distribution(package) if package else None
    except metadata.PackageNotFoundError:
        return None


def _spec(module: str) -> ModuleSpec | None:
    """How a module would be imported, which for a dotted name imports those above it; None for no module."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _place(spec: ModuleSpec) -> str:
    """The folder or file of a module; a frozen one says where it is only after import."""
    folders = list(spec.submodule_search_locations or ())
    loaded = getattr(sys.modules.get(spec.name), "__file__", None)
    return str(folders[0] if folders else (spec.origin if spec.has_location else loaded or spec.origin))


def _modules(distribution: metadata.Distribution) -> Iterator[str]:
    """The top-level modules of a distribution: as it lists them, else by its files."""
    listed = distribution.read_text("top_level.txt")
    if listed:
        yield from listed.split()
        return
    for file in distribution.files or ():
        if file.suffix == ".py" and len(file.parts) <= 2 and (len(file.parts) == 1 or file.name == "__init__.py"):
            yield Path(file.parts[0]).stem


def _unlike(module: str, package: str) -> tuple[bool, bool]:
    """What puts one module of a package behind another: a private name, then one that is not the package's."""
    return module.startswith("_"), module.lower() != package.lower().replace("-", "_")
