"""`drivetrain checkpoint inspect FILE`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ._checkpoint import kind_of, mapping, read, tensors_in, units
from ._text import shown_value

_META = (
    *("epoch", "iter", "time", "seed", "experiment_name"),
    *("drivetrain_version", "mmengine_version", "dataset_meta"),
)

_EPILOG = """\
Nothing in the file is run, and no model is built.

examples:
  drivetrain checkpoint inspect work_dirs/resnet50/epoch_12.pth
  drivetrain checkpoint inspect epoch_12.pth --keys                   every tensor with its shape and type
  drivetrain checkpoint inspect epoch_12.pth --keys 'state_dict.head*'
  drivetrain checkpoint inspect epoch_12.pth --json | jq .meta.iter
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", help="a checkpoint, weights, a crash capsule, or a .safetensors file")
    parser.add_argument(
        "--keys",
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="list tensors instead: all, or those whose path fits PATTERN (with * and ?), or has it inside",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, for programs")


def run(options: argparse.Namespace) -> int:
    """Print what the file holds; returns the exit code: 1 where no tensor fits a pattern."""
    content = read(options.file)
    if options.keys is not None:
        return _list_tensors(content, options.keys, options.json)
    facts = facts_of(content, options.file)
    print(json.dumps(facts, indent=4, default=str) if options.json else "\n".join(described(facts)))
    return 0


def facts_of(content: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a checkpoint holds, as plain containers."""
    facts: dict[str, Any] = {"file": path, "bytes": os.path.getsize(path), "kind": kind_of(content)}
    if mapping(content.get("capsule")):
        facts["capsule"] = {key: value for key, value in content["capsule"].items() if key != "traceback"}
    meta = mapping(content.get("meta"))
    if meta:
        known = {key: meta[key] for key in _META if key in meta}
        facts["meta"] = {**known, "other_keys": [str(key) for key in meta if key not in _META]}
    facts["content"] = {str(key): _facts_of_part(str(key), part) for key, part in content.items()}
    return facts


def described(facts: Mapping[str, Any]) -> list[str]:
    """The facts as lines for a reader."""
    lines = [f"{facts['file']}: {facts['kind']}, {units(facts['bytes'])}"]
    for name in ("capsule", "meta"):
        if name in facts:
            entries = {key: value for key, value in facts[name].items() if key != "other_keys"}
            others = facts[name].get("other_keys")
            width = max(map(len, entries), default=0)
            lines += [f"  {name}", *(f"    {key:<{width}}  {shown_value(value)}" for key, value in entries.items())]
            lines += [f"    and {', '.join(others)}"] if others else []
    lines.append("  content")
    width = max(map(len, facts["content"]), default=0)
    lines += [f"    {key:<{width}}  {_in_words(part)}" for key, part in facts["content"].items()]
    return lines


def _facts_of_part(key: str, part: Any) -> dict[str, Any]:
    """Tensors of a part of the file, and what is worth knowing of the parts we know."""
    found = list(tensors_in(part))
    facts: dict[str, Any] = {
        "tensors": len(found),
        "elements": sum(tensor.numel() for _, tensor in found),
        "bytes": sum(tensor.numel() * tensor.element_size() for _, tensor in found),
        "dtypes": dict(Counter(str(tensor.dtype).removeprefix("torch.") for _, tensor in found)),
    }
    return {**facts, **_DETAILS.get(key, _no_details)(part)}


def _no_details(_part: Any) -> dict[str, Any]:
    return {}


def _optimizer(part: Any) -> dict[str, Any]:
    """Groups and learning rates; several optimizers stand under their names."""
    if not hasattr(part, "items"):
        return {}
    if hasattr(part.get("param_groups"), "append"):
        groups = [group for group in part["param_groups"] if hasattr(group, "get")]
        return {"groups": len(groups), "lr": sorted({str(group.get("lr")) for group in groups})}
    return {"optimizers": [str(name) for name, inner in part.items() if hasattr(inner, "items")]}


def _schedules(part: Any) -> dict[str, Any]:
    return {"schedules": len(part)} if hasattr(part, "__len__") else {}


def _message_hub(part: Any) -> dict[str, Any]:
    return {"series": sorted(map(str, mapping(mapping(part).get("log_scalars"))))}


def _run_state(part: Any) -> dict[str, Any]:
    state = mapping(part)
    loader = mapping(mapping(state.get("train_loop")).get("dataloader"))
    position = {key: loader[key] for key in ("pass_index", "consumed") if key in loader}
    names = {key: sorted(map(str, mapping(state.get(key)))) for key in ("random", "hooks")}
    return {"format": state.get("format"), **names, "loader": position}


_DETAILS = {
    "optimizer": _optimizer,
    "param_schedulers": _schedules,
    "message_hub": _message_hub,
    "drivetrain": _run_state,
}


def _in_words(part: Mapping[str, Any]) -> str:
    said = []
    if part["tensors"]:
        types = ", ".join(part["dtypes"])
        values = f"{part['elements']:,} values, {units(part['bytes'])}, {types}"
        said.append(f"{part['tensors']} tensor{'s' * (part['tensors'] != 1)}, {values}")
    for key, value in part.items():
        if key not in ("tensors", "elements", "bytes", "dtypes") and value not in (None, [], {}):
            said.append(f"{key} {_listed(value)}")
    return "; ".join(said) or "no tensors"


def _listed(value: Any) -> str:
    if hasattr(value, "items"):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return shown_value(", ".join(value), 60).strip("'\"") if type(value) is list else str(value)


def _list_tensors(content: Mapping[str, Any], pattern: str, as_json: bool) -> int:
    """Print the tensors whose path fits; returns the exit code."""
    fits = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    rows = [
        {"name": path, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for path, tensor in tensors_in(content)
        if fnmatch.fnmatchcase(path, fits)
    ]
    if as_json:
        print(json.dumps(rows, indent=4))
    else:
        width = max((len(row["name"]) for row in rows), default=0)
        shapes = [str(tuple(row["shape"])) for row in rows]
        wide = max(map(len, shapes), default=0)
        for row, shape in zip(rows, shapes, strict=True):
            print(f"{row['name']:<{width}}  {shape:<{wide}}  {row['dtype']}")
        print(f"{len(rows)} tensor{'s' * (len(rows) != 1)}")
    return int(not rows)
