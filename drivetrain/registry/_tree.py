"""Views on registries: a table of one, the tree of all."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._registry import Registry

_RESULT_FILE = "modules_statistic_results.json"


def render_table(registry: Registry) -> str:
    """The entries of a registry as a table of names and objects, sorted by name."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Registry of {registry.name}")
    table.add_column("Names", justify="left", style="cyan")
    table.add_column("Objects", justify="left", style="green")
    for name, entry in sorted(registry.module_dict.items()):
        table.add_row(name, str(entry))
    console = Console()
    with console.capture() as capture:
        console.print(table, end="")
    return capture.get()


def traverse_registry_tree(registry: Registry, verbose: bool = True) -> list[dict[str, Any]]:
    """What is registered in the tree that `registry` belongs to, its modules imported first.

    Args:
        registry: any registry of the tree; the walk begins at its root.
        verbose: write one line per registry to the log.

    Returns:
        One dict per registry, parents before children: `num_modules`, `scope`, and for each folder of the packages
        (such as `"mmdet/models"`) the names whose classes are defined in it.
    """
    found: list[dict[str, Any]] = []
    pending = [registry.root]
    while pending:
        node = pending.pop(0)
        node.import_from_location()
        found.append({"num_modules": len(node), "scope": node.scope, **_names_by_folder(node)})
        if verbose:
            _inform(f"Found {len(node)} modules in the registry {node.name!r} of scope {node.scope!r}.")
        pending = [*node.children.values(), *pending]
    return found


def count_registered_modules(save_path: str | None = None, verbose: bool = True) -> dict[str, Any]:
    """What is registered in the trees of all root registries of this package.

    Args:
        save_path: folder for the result as `modules_statistic_results.json`; not written when None.
        verbose: write one line per registry, and the path of the file, to the log.

    Returns:
        `scan_date`, and `registries`: by registry name what `traverse_registry_tree` returns.
    """
    from . import _roots

    trees = {name: traverse_registry_tree(root, verbose) for name, root in sorted(_roots.named_roots().items())}
    result = {"scan_date": datetime.now().strftime("%Y-%m-%d %H:%M:%S"), "registries": trees}
    if save_path is not None:
        target = Path(save_path) / _RESULT_FILE
        target.write_text(json.dumps(result, indent=2), encoding="utf-8")
        if verbose:
            _inform(f"The result was written to {target}.")
    return result


def _names_by_folder(registry: Registry) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for name, entry in registry.module_dict.items():
        module = str(getattr(entry, "__module__", "") or "")
        folders.setdefault("/".join(module.split(".")[:-1]), []).append(name)
    return folders


def _inform(message: str) -> None:
    from drivetrain.logging import print_log

    print_log(message, logger="current", level=logging.INFO)
