"""Compare what `drive.py` left of two engines, bit by bit, as a Markdown table.

    python compare.py THEIRS_OUT OURS_OUT

Columns: the losses and learning rates of the 20 steps; the validation metrics; the metrics of ``tools/test.py``; the
hashes of weights, optimizer state and averaged weights at the end; then three resumes from a checkpoint in the middle:
drivetrain's own against the run that never stopped, drivetrain from MMEngine's file against MMEngine from that file,
and MMEngine from drivetrain's file against MMEngine from its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cases import CASES

Events = dict[str, list[dict[str, Any]]]


def read(work_dir: Path) -> Events | None:
    """The events of one run by kind, None if it left none."""
    files = [work_dir / "parity.jsonl"] if (work_dir / "parity.jsonl").exists() else []
    events: Events = {"step": [], "val": [], "test": [], "end": []}
    for line in "".join(f.read_text() for f in files).splitlines():
        event = json.loads(line)
        events[event.pop("event")].append(event)
    return events if files else None


def steps(one: Events | None, other: Events | None) -> str:
    """ "20/20" when all steps of both runs are equal in every bit."""
    if one is None or other is None:
        return "-"
    theirs = {e["step"]: e for e in other["step"]}
    equal = sum(e == theirs.get(e["step"]) for e in one["step"])
    return f"{equal}/{max(len(one['step']), len(theirs))}"


def same(one: Events | None, other: Events | None, kind: str) -> str:
    """Whether all events of a kind are equal, and there are some."""
    if one is None or other is None or not one[kind]:
        return "-"
    if one[kind] == other[kind]:
        return "equal"
    return _but_tied(one[kind][0], other[kind][0]) if kind == "end" and other[kind] else "DIFFERS"


def _but_tied(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Whether averages alone differ, and of them only those of weights that several layers share.

    MMEngine moves the average of such a weight once for each layer that has it, drivetrain once.
    """
    pairs = list(zip(one["averages"], other["averages"], strict=True))
    names = {name for a, b in pairs for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    if {**one, "averages": 0} != {**other, "averages": 0} or not names <= {
        name for tied in one["tied"] for name in tied
    }:
        return "DIFFERS"
    return f"equal but for averages of {len(names)} tied weights"


def resumed(one: Events | None, other: Events | None) -> str:
    """Steps after the middle, and the end, of a resumed run against another run."""
    if one is None or other is None:
        return "-"
    first = min((e["step"] for e in one["step"]), default=0)
    late = {**other, "step": [e for e in other["step"] if e["step"] >= first]}
    return f"{steps(one, late)}, end {same(one, late, 'end')}"


def row(name: str, theirs: Path, ours: Path) -> list[str]:
    """The cells of one case."""
    case = CASES[name]
    t, o = read(theirs / name / "straight"), read(ours / name / "straight")
    t_resumed = read(theirs / name / "resumed")
    return [
        case.package,
        f"`{case.config}`",
        case.kind,
        steps(o, t),
        same(o, t, "val"),
        same(read(ours / name / "test"), read(theirs / name / "test"), "test"),
        same(o, t, "end"),
        resumed(read(ours / name / "resumed"), o),
        resumed(read(ours / name / "crossed"), t_resumed),
        resumed(read(theirs / name / "crossed"), t_resumed),
    ]


HEAD = [
    "package",
    "shipped config",
    "kind",
    "steps",
    "val",
    "test",
    "weights, optimizer, EMA",
    "resume: ours = uninterrupted",
    "MMEngine's file: ours = MMEngine",
    "our file: MMEngine = its own",
]


def main(theirs: str, ours: str) -> int:
    """Print the table; exit code 1 if the engines differ (the column of our own resumes is about ours alone)."""
    rows = [row(name, Path(theirs), Path(ours)) for name in CASES if (Path(ours) / name).exists()]
    for cells in (HEAD, ["---"] * len(HEAD), *rows):
        print("| " + " | ".join(cells) + " |")
    own = HEAD.index("resume: ours = uninterrupted")
    return int(any("DIFFERS" in cell for cells in rows for i, cell in enumerate(cells) if i != own))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
