"""Let configs and packages written for MMEngine find this engine under that name, from the moment one asks for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from drivetrain.errors import NotReadyError
from drivetrain.utils import is_alias_active

_NAME = "mmengine"
_COMPAT = "drivetrain.compat"


class _OnFirstImport:
    """A finder that installs the alias when somebody imports `mmengine`, and leaves the import to what it installed.

    A config that never mentions the name costs nothing.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of `mmengine`, from the alias; None for every other name."""
        if name.partition(".")[0] != _NAME:
            return None
        sys.meta_path.remove(self)
        importlib.import_module(_COMPAT).install()
        return importlib.util.find_spec(name)


def offer_alias() -> None:
    """Have `import mmengine` give the alias from now on; nothing is imported yet.

    Raises:
        NotReadyError: the real package was imported before: its registries know nothing of this engine.
    """
    module = sys.modules.get(_NAME)
    if module is not None and not is_alias_active():
        raise NotReadyError(
            f"{_NAME!r} was imported from {getattr(module, '__file__', 'somewhere')} before this command, and what "
            "registers itself there is not found here. Run the command in a process of its own, or call "
            f"{_COMPAT}.install() before the first `import {_NAME}`."
        )
    offered = any(type(finder) is _OnFirstImport for finder in sys.meta_path)
    if module is None and not offered and importlib.util.find_spec(_COMPAT) is not None:
        sys.meta_path.insert(0, _OnFirstImport())


def withdraw_alias() -> None:
    """Take the offer back, if nobody took it up: a process that goes on after a command imports what it wants."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not _OnFirstImport]
