"""Compare 100 steps under drivetrain and under MMEngine 0.10.7, bit by bit.

    python benchmarks/parity/compare.py --reference-python PYTHON

PYTHON is the interpreter of an environment with mmengine==0.10.7 and the same torch. Exits with 1 if a bit differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


def run(python: str, engine: str, by: str, workers: int, folder: Path) -> dict:
    out = folder / f"{engine}_{by}_{workers}.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if engine == "drivetrain":
        environment["PYTHONPATH"] = str(HERE.parents[1])
    subprocess.run(
        [python, str(HERE / "run.py"), "--engine", engine, "--by", by, "--workers", str(workers), "--out", str(out)],
        check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return torch.load(out, weights_only=False)


def report(by: str, workers: int, ours: dict, theirs: dict) -> bool:
    steps = len(theirs["rows"])
    columns = {"loss": 0, "loss_ce": 1, "grad norm": 2, "lr": 3, "ids": 4}
    equal = {
        name: sum(a[i] == b[i] for a, b in zip(ours["rows"], theirs["rows"], strict=False))
        for name, i in columns.items()
    }
    weights = sum(torch.equal(ours["weights"][name], value) for name, value in theirs["weights"].items())
    metrics = ours["metrics"] == theirs["metrics"]
    good = (
        len(ours["rows"]) == steps
        and all(count == steps for count in equal.values())
        and weights == len(theirs["weights"])
        and metrics
    )
    row = "  ".join(f"{name} {count}/{steps}" for name, count in equal.items())
    print(f"by {by:5}  workers {workers}  {row}  weights {weights}/{len(theirs['weights'])}  metrics {metrics}"
          f"  -> {'bit-equal' if good else 'DIFFERENT'}")  # fmt: skip
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", required=True, help="interpreter with mmengine==0.10.7")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, one thread; losses, norms, rates and ids of 100 steps, final weights, validation"
    )
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for by in ("epoch", "iter"):
            for workers in (0, 2):
                ours = run(sys.executable, "drivetrain", by, workers, Path(scratch))
                theirs = run(options.reference_python, "mmengine", by, workers, Path(scratch))
                good &= report(by, workers, ours, theirs)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
