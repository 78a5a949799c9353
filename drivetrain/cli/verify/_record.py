"""Read what starts of a run have written down, and find where two of them differ first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivetrain.cli._checkpoint import read

FIELDS = {
    "samples": "the samples of the batch",
    "batch": "the batch",
    "outputs": "losses and what else the step returned",
    "weights": "weights and buffers",
    "averages": "averaged weights",
    "optimizer": "states of the optimizer",
    "settings": "learning rates and the optimizer's other settings",
    "random": "random generators of the main process",
}
"""What is compared of each step, causes before effects."""

_COMPARED = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")
_COMPARED_OF_OURS = ("random", "train_loop", "window")


@dataclass
class Record:
    """What one start has written.

    Attributes:
        steps: last step that it was to make.
        begun_at: steps made before it.
        rows: by step.
        ended: whether it came to its end.
    """

    steps: int = 0
    begun_at: int = 0
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    ended: bool = False

    @classmethod
    def read(cls, path: Path) -> Record:
        """What a file holds; a line that a kill has cut off is left out."""
        record = cls()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if "step" in row:
                record.rows[row["step"]] = row
            elif "steps" in row:
                record.steps, record.begun_at = row["steps"], row["from"]
            else:
                record.ended = True
        return record


@dataclass
class Difference:
    """The first step that two starts made differently.

    Attributes:
        step: the step.
        start: number of the start that differs from the uninterrupted one: 0 has not been killed yet, 1 once ...
        begun_at: the step that this start went on from.
        expected: what the uninterrupted run wrote.
        found: what this one wrote.
    """

    step: int
    start: int
    begun_at: int
    expected: dict[str, Any]
    found: dict[str, Any]

    @property
    def fields(self) -> list[str]:
        """What differs, causes before effects."""
        return [name for name in FIELDS if self.expected[name] != self.found[name]]

    def paths(self, name: str) -> list[str]:
        """What differs inside a field."""
        return differing(self.expected[name], self.found[name])


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Keys under which two dicts differ."""
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]


def first_difference(whole: Record, parts: list[Record]) -> Difference | None:
    """The first difference between the uninterrupted run and the starts of another."""
    for number, part in enumerate(parts):
        for step, row in sorted(part.rows.items()):
            expected = whole.rows.get(step)
            if expected is not None and any(expected[name] != row[name] for name in FIELDS):
                return Difference(step, number, part.begun_at, expected, row)
    return None


def differing_state(first: str, second: str) -> list[str]:
    """Key paths under which two checkpoints differ, in what training goes on from.

    Args:
        first: a file.
        second: another.
    """
    from ._digest import leaves

    kept, other = _state_of(first), _state_of(second)
    return differing(dict(leaves(kept)), dict(leaves(other)))


def _state_of(path: str) -> dict[str, Any]:
    content = read(path)
    ours = content.get("drivetrain") or {}
    return {
        **{name: content[name] for name in _COMPARED if name in content},
        **{name: ours[name] for name in _COMPARED_OF_OURS if name in ours},
    }
