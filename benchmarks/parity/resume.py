"""Checkpoints go over: MMEngine 0.10.7 writes and drivetrain goes on, and the other way round, bit by bit.

    python benchmarks/parity/resume.py --reference-python PYTHON [PYTHON ...] [--write-data DIR]

Each PYTHON is the interpreter of an environment with mmengine==0.10.7 and the same torch; give one with NumPy 1.26 and
one with NumPy 2. The runs are those of `tests/checkpoint/foreign_runs.py`. For each, five trainings:

    whole       under MMEngine, from beginning to end; saves in the middle
    ours        the same under drivetrain
    over        drivetrain goes on from MMEngine's file
    again       MMEngine goes on from its own file
    back        MMEngine goes on from drivetrain's file

and each is compared with the first over the steps they share: losses, learning rates, weights at the end. MMEngine runs
with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1, since it reads nothing under today's torch without. Exits with 1 if a bit
differs. `--write-data` also puts MMEngine's files, and what it came to from there, where the tests read them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "checkpoint"))

import foreign_runs  # noqa: E402

KEPT = {"epochs": "1", "two_optimizers": "2", "amp": "2"}
"""The NumPy whose file of a case is kept for the tests."""


def train(engine: str, case: str, out: str, source: str | None) -> None:
    torch.set_num_threads(1)
    runner, rows = foreign_runs.train(engine, case, str(Path(out).parent / Path(out).stem), source)
    torch.save({"rows": rows, "weights": foreign_runs.weights_of(runner)}, out)


def start(python: str, engine: str, case: str, folder: Path, name: str, source: Path | None = None) -> dict:
    out = folder / f"{case}_{name}.pt"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1" if engine == "mmengine" else "0",
    }
    if engine == "drivetrain":
        environment["PYTHONPATH"] = str(ROOT)
    command = [python, __file__, "--train", engine, case, str(out), *([str(source)] if source else [])]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return torch.load(out, weights_only=True)


def verdict(whole: dict, other: dict) -> tuple[bool, str]:
    if "error" in other:
        return False, other["error"]
    steps = sorted(set(whole["rows"]) & set(other["rows"]))
    rows = sum(whole["rows"][step] == other["rows"][step] for step in steps)
    weights = sum(torch.equal(value, other["weights"][name]) for name, value in whole["weights"].items())
    good = bool(steps) and rows == len(steps) and weights == len(whole["weights"])
    text = f"{rows} of {len(steps)} steps equal, {weights} of {len(whole['weights'])} tensors equal at the end"
    return good, text


def numpy_of(python: str) -> str:
    return subprocess.check_output([python, "-c", "import numpy; print(numpy.__version__)"], text=True).strip()


def compare(python: str, case: str, folder: Path, data: Path | None) -> bool:
    saved = foreign_runs.SAVED[case]
    numpy = numpy_of(python)
    whole = start(python, "mmengine", case, folder, "whole")
    if "error" in whole:
        print(f"{case:<15} {numpy:<8} whole  {whole['error']}")
        return False
    theirs, ours = folder / f"{case}_whole" / saved, folder / f"{case}_ours" / saved
    others = {
        "ours": start(sys.executable, "drivetrain", case, folder, "ours"),
        "over": start(sys.executable, "drivetrain", case, folder, "over", theirs),
        "again": start(python, "mmengine", case, folder, "again", theirs),
        "back": start(python, "mmengine", case, folder, "back", ours),
    }
    verdicts = {name: verdict(whole, other) for name, other in others.items()}
    for name, (good, text) in verdicts.items():
        print(f"{case:<15} {numpy:<8} {name:<6} {'equal' if good else 'DIFFERS'}  {text}", flush=True)
    if data is not None and numpy[0] == KEPT[case]:
        keep(case, numpy, whole, others["again"], theirs, data)
    return all(good for good, _ in verdicts.values())


def keep(case: str, numpy: str, whole: dict, again: dict, source: Path, data: Path) -> None:
    """Put a file of MMEngine's, and what MMEngine itself comes to from it, beside the tests."""
    shutil.copy(source, data / f"{case}.pth")
    facts = {
        "mmengine": "0.10.7",
        "numpy": numpy,
        "torch": torch.__version__,
        "rows": {str(step): row for step, row in again["rows"].items()},
        "weights": {name: value.tolist() for name, value in whole["weights"].items()},
    }
    (data / f"{case}.json").write_text(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", nargs="+", default=[])
    parser.add_argument("--write-data", type=Path)
    parser.add_argument("--train", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        engine, case, out, *source = options.train
        train(engine, case, out, source[0] if source else None)
        return
    good = True
    for python in options.reference_python:
        with tempfile.TemporaryDirectory() as folder:
            for case in foreign_runs.CASES:
                good &= compare(python, case, Path(folder), options.write_data)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
