"""Write `paths.json`: every module path of the contract and the names that can be imported from it.

    python tests/compat/extract.py ../shared/contract/api.json

Names that begin with `_` are kept where a downstream package uses them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def names_by_module(api: dict[str, Any]) -> dict[str, list[str]]:
    """Module path -> names: what it exports, and what it defines."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, content in api["modules"].items():
        found[module].update(content["__all__"])
    for definition in api["definitions"]:
        module, _, name = definition.rpartition(".")
        found[module].add(name)
    for module, names in api["submodule_names_not_exported"].items():
        found[module].update(n for n, entry in names.items() if not n.startswith("_") or entry.get("downstream_use"))
    return {module: sorted(names) for module, names in sorted(found.items())}


def main() -> None:
    """Read the contract named on the command line, write the list beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("api", type=Path, help="the machine-readable contract")
    api = json.loads(parser.parse_args().api.read_text(encoding="utf-8"))
    lines = [f" {json.dumps(module)}: {json.dumps(names)}" for module, names in names_by_module(api).items()]
    (HERE / "paths.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
