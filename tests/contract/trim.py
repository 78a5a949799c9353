"""Write `contract.json` and the list in `README.md` from the whole contract.

    python tests/contract/trim.py ../shared/contract/api.json

What is kept: the names of the rooms below with parameters, defaults, methods and properties. A name is *claimed* when a
downstream package uses it, when a room exports it today, or when it was claimed before; the test checks claimed names.
Of the names outside every `__all__` only the claimed ones are kept; a name of an `__all__` that is not claimed must be
one that the alias explains, `drivetrain/compat/_left_out.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

from drivetrain.compat._left_out import LEFT_OUT, REASONS

HERE = Path(__file__).parent
ROOMS = (
    "registry",
    "logging",
    "model",
    "optim",
    "structures",
    "dataset",
    "evaluator",
    "visualization",
    "hooks",
    "runner",
    "config",
    "fileio",
    "utils",
    "dist",
    "device",
    "infer",
    "hub",
    "analysis",
    "testing",
)
APART = ("mmengine.utils.dl_utils", "mmengine.testing._internal")
"""Sub-packages that are no part of their room here: they exist under the alias only, see `tests/compat`."""
KINDS = {"pos": "POSITIONAL_OR_KEYWORD", "kwonly": "KEYWORD_ONLY", "varargs": "VAR_POSITIONAL", "varkw": "VAR_KEYWORD"}
KNOWN = {"INF": int(1e9), "dict": dict, "tuple": tuple, "int": int, "logging": logging, "__builtins__": {}}
ANY = "*"
"""Stands for a default or value that has no literal form: only its presence is checked."""

Json = dict[str, Any]


def literal(expression: str) -> str:
    """The `repr` of the value of an expression, or `ANY`."""
    with contextlib.suppress(Exception):
        return repr(eval(expression, dict(KNOWN)))
    return ANY


def parameters(callable_: Json) -> list[Json]:
    """Name, kind and default of each parameter."""
    return [
        {"name": p["name"], "kind": KINDS[p["kind"]], **({"default": literal(p["default"])} if "default" in p else {})}
        for p in callable_["params"]
    ]


def method(entry: Json) -> Json:
    """Parameters of a method, and how it is bound."""
    bound = [d for d in entry.get("decorators", []) if d in ("staticmethod", "classmethod")]
    return {"params": parameters(entry), **({"bound": bound[0]} if bound else {})}


def trimmed(entry: Json, protected: set[str]) -> Json:
    """What the test needs of one definition."""
    out: Json = {"kind": entry["kind"]}
    if entry["kind"] == "function":
        out["params"] = parameters(entry)
    elif entry["kind"] != "class":
        # A table that starts empty is filled later, when the module is imported or by others.
        out["value"] = ANY if entry["value"] == "{}" else literal(entry["value"])
    else:
        out |= trimmed_class(entry, protected)
    if entry.get("registered"):
        out["registered"] = [[r["registry"], r["name"]] for r in entry["registered"]]
    return out


def trimmed_class(entry: Json, protected: set[str]) -> Json:
    """Constructor, methods, properties, class attributes and bases of a class."""
    used = {name: m for name, m in entry.get("private_methods", {}).items() if name in protected}
    parts = {
        "methods": {name: method(m) for name, m in {**entry["methods"], **used}.items()},
        "properties": {name: bool(p["setter"]) for name, p in entry["properties"].items()},
        "attributes": {n: literal(a["value"]) for n, a in entry["class_attrs"].items() if "value" in a},
        "inherited": sorted(entry["inherited_members"]),
        "ancestors": [place for a in entry["mmengine_ancestors"] if (place := place_of(a))],
    }
    init = {"init": parameters(entry["init"])} if entry.get("init") else {}
    return {**init, **{key: value for key, value in parts.items() if value}}


def place_of(definition: str) -> str | None:
    """`room.Name` for a definition of the rooms (or of `utils`), else None."""
    _, room, *_, name = definition.split(".")
    return f"{room}.{name}" if room in (*ROOMS, "utils") else None


def protected_names(api: Json) -> dict[str, set[str]]:
    """Per class, the `_` methods that downstream overrides or calls."""
    out: dict[str, set[str]] = {}
    for table in (api["downstream_overrides"], api["downstream_self_use"]):
        for key, members in table.items():
            out.setdefault(key.replace(":", "."), set()).update(m for m in members if m.startswith("_") and m[1] != "_")
    return out


def room_names(api: Json, room: str) -> dict[str, Json]:
    """All names of a room: in the `__all__` of it and its sub-packages, and importable from deeper modules."""
    prefix, found = f"mmengine.{room}", {}
    for module, content in api["modules"].items():
        if (module == prefix or module.startswith(prefix + ".")) and module not in APART:
            found.update({n: (q, {**api["definitions"][q], "listed": True}) for n, q in content["names"].items()})
    for module, names in api["submodule_names_not_exported"].items():
        if module.startswith(prefix + ".") and not module.startswith(APART):
            for name, entry in names.items():
                if not name.startswith("_") or entry.get("downstream_use"):
                    found.setdefault(name, (f"{module}.{name}", entry))
    protected = protected_names(api)
    return {
        name: {
            "used_by": entry.get("downstream_use", {}).get("packages", 0),
            "listed": entry.get("listed", False),
            **trimmed(entry, protected.get(path, set())),
        }
        for name, (path, entry) in sorted(found.items())
    }


def claim(rooms: dict[str, dict[str, Json]], before: dict[str, dict[str, Json]]) -> None:
    """Set `claimed` on every name that is used, exported today, or was claimed before."""
    for room, names in rooms.items():
        try:
            module = importlib.import_module(f"drivetrain.{room}")
        except ImportError as error:
            print(f"drivetrain.{room} cannot be imported, so only used names are claimed: {error}", file=sys.stderr)
            module = None
        for name, entry in names.items():
            claimed = entry["used_by"] or hasattr(module, name) or before.get(room, {}).get(name, {}).get("claimed")
            entry["claimed"] = bool(claimed)
        for name in [name for name, entry in names.items() if not entry["claimed"] and not entry["listed"]]:
            del names[name]


def write_json(rooms: dict[str, dict[str, Json]]) -> None:
    """One line per name, so that a change of the contract reads well in a diff."""
    blocks = []
    for room, names in rooms.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in names.items()]
        blocks.append(f" {json.dumps(room)}: {{\n" + ",\n".join(lines) + "\n }")
    (HERE / "contract.json").write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def reason(room: str, name: str) -> str:
    """Why a name is left out, as the alias tells who imports it."""
    for why, paths in LEFT_OUT.items():
        if any(path.startswith(f"{room}.") and path.endswith(f".{name}") for path in paths.split()):
            return REASONS[why]
    raise SystemExit(f"drivetrain.{room} has no {name}, and drivetrain/compat/_left_out.py does not say why.")


def write_readme(rooms: dict[str, dict[str, Json]]) -> None:
    """Renew the list of names left, below its heading."""
    readme = HERE / "README.md"
    head, heading, _ = readme.read_text(encoding="utf-8").partition("## Names left\n")
    left = [(room, name) for room, names in rooms.items() for name, entry in names.items() if not entry["claimed"]]
    lines = [heading, "", "No downstream package uses them.", "", "| Name | Why |", "|---|---|"]
    lines += [f"| `drivetrain.{room}.{name}` | {reason(room, name)} |" for room, name in left]
    readme.write_text(head + "\n".join(lines).replace("\n\n\n", "\n\n") + "\n", encoding="utf-8")


def main() -> None:
    """Read the contract named on the command line, write the two files beside this one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("api", type=Path, help="the machine-readable contract")
    api = json.loads(parser.parse_args().api.read_text(encoding="utf-8"))
    target = HERE / "contract.json"
    before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    rooms = {room: room_names(api, room) for room in ROOMS}
    claim(rooms, before)
    write_json(rooms)
    write_readme(rooms)


if __name__ == "__main__":
    main()
