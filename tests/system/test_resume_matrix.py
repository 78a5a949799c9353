"""Runs killed by SIGKILL at random steps and resumed, three times each: bit by bit those that were never stopped.

A few cells run always; `-m slow` runs all of them and prints their table.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).with_name("resume_run.py")
STEPS = 21
KEYS = ("loop", "workers", "persistent", "accumulation", "streams")
CELLS = [
    dict(zip(KEYS, values, strict=True))
    for values in itertools.product(("epoch", "iteration"), (0, 2), (False, True), (1, 3), ("sample", "worker"))
    if values[1] or not values[2]
]
SAMPLE = [
    dict(zip(KEYS, values, strict=True))
    for values in [
        ("epoch", 2, True, 3, "worker"),
        ("iteration", 2, False, 3, "sample"),
        ("epoch", 0, False, 3, "sample"),
    ]
]


def name_of(cell: dict) -> str:
    return "-".join(str(cell[key]) for key in KEYS)


@pytest.fixture(scope="module")
def starter():
    """A process that makes a process for each run it is asked for."""
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def start(starter: subprocess.Popen, folder: Path, cell: dict, kill_at: int) -> None:
    """Run until the end or the kill."""
    folder.mkdir(exist_ok=True)
    starter.stdin.write(json.dumps({"folder": str(folder), "cell": cell, "kill_at": kill_at}) + "\n")
    starter.stdin.flush()
    status = int(starter.stdout.readline())
    expected = 0 if kill_at < 0 else -signal.SIGKILL
    assert status == expected, f"{status}: {(folder / 'log.txt').read_text()[-3000:]}"


def steps_of(folder: Path) -> dict[int, list]:
    """What each step saw, which must be the same each time where it was made more than once."""
    steps: dict[int, list] = {}
    for line in (folder / "steps.jsonl").read_text().splitlines():
        number, *seen = json.loads(line)
        assert steps.setdefault(number, seen) == seen, f"step {number} was made again with other data or loss"
    return steps


def check(starter: subprocess.Popen, tmp_path: Path, cell: dict, kills: list[int], whole: Path) -> None:
    """A run that is killed before each of `kills` equals `whole`."""
    if not (whole / "end.pth").exists():
        start(starter, whole, cell, -1)
    cut = tmp_path / f"cut-{name_of(cell)}-{'-'.join(map(str, kills))}"
    for kill in [*kills, -1]:
        start(starter, cut, cell, kill)
    assert steps_of(cut) == steps_of(whole)
    ends = [torch.load(folder / "end.pth", weights_only=False) for folder in (cut, whole)]
    differing = difference(*ends)
    assert differing == "", f"{differing} differs at the end"


def difference(first: object, second: object, path: str = "") -> str:
    """The path of the first value that differs, or an empty text."""
    if isinstance(first, torch.Tensor):
        return "" if torch.equal(first, second) else path
    if isinstance(first, (dict, list, tuple)):
        if len(first) != len(second):
            return path
        keys = first if isinstance(first, dict) else range(len(first))
        return next((found for key in keys if (found := difference(first[key], second[key], f"{path}/{key}"))), "")
    return "" if first == second else path


def kill_points(number: int, cell: dict, count: int = 3) -> list[int]:
    return sorted(random.Random(f"{number}{name_of(cell)}").sample(range(2, STEPS), count))


@pytest.mark.system
@pytest.mark.parametrize("cell", SAMPLE, ids=name_of)
def test_a_run_that_is_killed_twice_is_the_run_that_was_never_stopped(starter, tmp_path, cell):
    check(starter, tmp_path, {**cell, "interval": 2}, kill_points(0, cell, 2), tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_whole_matrix(starter, tmp_path):
    table = []
    for cell in CELLS:
        for number, interval in enumerate((1, 2)):
            kills = kill_points(number, cell)
            check(starter, tmp_path, {**cell, "interval": interval}, kills, tmp_path / f"whole-{name_of(cell)}")
            table.append(f"{name_of(cell):36} interval {interval} killed before {kills}: equal")
            print(table[-1], flush=True)
    assert len(table) == 2 * len(CELLS)
