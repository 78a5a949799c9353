"""Switch the alias on and off."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec
from types import ModuleType

from drivetrain.errors import AliasError
from drivetrain.utils import is_alias_active

from . import _modules as modules
from ._finder import AliasFinder
from ._shim import SHIM

_finder = AliasFinder()


def install() -> ModuleType:
    """Let `import mmengine` and everything below it find drivetrain, in this process and in those it starts.

    Child processes find a tiny package `mmengine` that does the same: its folder is put on `sys.path` (which spawned
    workers inherit) and in the environment's PYTHONPATH; it also makes `importlib.metadata.version("mmengine")` work.
    Calling it twice does no harm.

    Returns:
        The module `mmengine`.

    Raises:
        AliasError: MMEngine itself was imported before.
    """
    if is_alias_active():
        return sys.modules[modules.ROOT]
    present = sys.modules.get(modules.ROOT)
    by_shim = getattr(present, "__drivetrain_shim__", False)
    if present is not None and not by_shim:
        raise AliasError(
            f"mmengine was imported before the alias, from {getattr(present, '__file__', None)}: classes of both would "
            "mix. Call drivetrain.compat.install() before anything imports mmengine, or start the script with "
            "python -m drivetrain.compat SCRIPT."
        )
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if not by_shim:
        _tell_children()
    return _make_root()


def uninstall() -> None:
    """Undo `install`: `mmengine` is gone from `sys.modules`, and the environment as before. Meant for tests."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{modules.ROOT}.")]:
        module = sys.modules.pop(name)
        if type(module) is not modules.AliasModule:
            modules.restore(module)
    if str(SHIM) in sys.path:
        sys.path.remove(str(SHIM))
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry != str(SHIM)]
    _set_python_path(entries)


def _make_root() -> ModuleType:
    spec = _finder.find_spec(modules.ROOT)
    if spec is None:  # the finder knows its own root
        raise AliasError(f"the alias cannot find {modules.ROOT}.")
    root = module_from_spec(spec)
    sys.modules[modules.ROOT] = root
    return root


def _tell_children() -> None:
    """Put the tiny package before site-packages (MMEngine may be installed there), behind the script's own folder."""
    if str(SHIM) not in sys.path:
        sys.path.insert(1, str(SHIM))
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if str(SHIM) not in entries:
        _set_python_path([str(SHIM), *entries])


def _set_python_path(entries: list[str]) -> None:
    if any(entries):
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        os.environ.pop("PYTHONPATH", None)
