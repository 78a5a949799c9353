"""The finder of `mmengine` and everything below it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import _modules as modules
from ._shim import SHIM

_PACKAGE = "drivetrain."


class AliasFinder(MetaPathFinder):
    """Finds `mmengine.*` in drivetrain; explains names of MMEngine that were left out."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of `mmengine`, None for every other.

        Raises:
            LeftOutError: a name that was left out is imported from its module.
        """
        root, _, below = fullname.partition(".")
        if root == modules.ROOT:
            return self._spec(fullname, below)
        if fullname.startswith(_PACKAGE):
            modules.refuse_left_out(below)
        return None

    def _spec(self, fullname: str, below: str) -> ModuleSpec | None:
        if not modules.exists(below):
            modules.refuse_left_out(below)
            return None
        twin = modules.twin_of(below)
        spec = ModuleSpec(fullname, AliasLoader() if twin is None else TwinLoader(twin), is_package=True)
        if not below:
            spec.origin = str(SHIM / "mmengine" / "__init__.py")
            spec.has_location = True
            spec.submodule_search_locations = [str(SHIM / "mmengine")]
        return spec


class AliasLoader(Loader):
    """Makes a module of the alias."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module whose names are found on first use."""
        return modules.AliasModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Remember what the module takes the place of: the import system sets it as an attribute of its parent."""
        parent, _, name = module.__name__.rpartition(".")
        present = vars(sys.modules[parent]).get(name) if parent else None
        if present is not None and type(present) is not modules.AliasModule:
            module.__dict__["_displaced"] = present


class TwinLoader(Loader):
    """Puts a module of drivetrain in the place of one of `mmengine`."""

    def __init__(self, twin: str) -> None:
        self._twin = twin

    def create_module(self, spec: ModuleSpec) -> None:
        """Import the twin; the import system makes a place-holder of its own, so that the twin's own spec stays."""
        importlib.import_module(self._twin)

    def exec_module(self, module: ModuleType) -> None:
        """Put the twin in the place-holder's place, where the import system takes it from."""
        twin = sys.modules[self._twin]
        modules.extend(twin, self._twin.removeprefix(_PACKAGE))
        sys.modules[module.__name__] = twin
