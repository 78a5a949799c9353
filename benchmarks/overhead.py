"""Microseconds that engines add to a training step: a tiny MLP, default hooks, a log line to a file every 50 steps.

    python benchmarks/overhead.py --peers-python PYTHON
    python benchmarks/overhead.py --device cuda

Each engine runs in a process of its own, on one thread, from `DataLoader(batch_size=None)`. A round runs all engines
one after another; of each the fastest window of 100 steps counts, in process time (on a GPU in wall time), against the
bare loop of the same round. The table shows medians over rounds, and the spread.

PYTHON is an interpreter with the peers: pytorch-ignite, mmengine, lightning, accelerate, and the same torch. What it
lacks is a line in the table. They are no dependency of drivetrain; an environment for them is made by

    python -m venv PEERS && PEERS/bin/pip install pytorch-ignite mmengine lightning accelerate
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from engines import BATCH, ENGINES

HERE = Path(__file__).resolve().parent
SAMPLES = ("samples", "samples, stream per sample")
"""drivetrain on batches of BATCH samples that the main process fetches, without and with a stream for each."""
OURS = ("bare", "drivetrain", "drivetrain, stream per sample", *SAMPLES)


def measure(engine: str, python: str, options: argparse.Namespace, folder: Path) -> dict:
    """One run in a process of its own: its windows in microseconds, or what is missing."""
    out = folder / "result.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if engine in OURS:
        environment["PYTHONPATH"] = str(HERE.parent)
    command = [python, str(HERE / "engines.py"), "--engine", engine, "--steps", str(options.steps),
               "--device", options.device, "--out", str(out)]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"missing": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    return json.loads(out.read_text(encoding="utf-8"))


def row(engine: str, rounds: list[dict], bare: list[dict]) -> str:
    label = f"{engine} {rounds[0].get('version', '')}".strip()
    if "missing" in rounds[0]:
        return f"| {label} | not run: {rounds[0]['missing']} | | | |"
    times = [min(result["windows"]) for result in rounds]
    bases = [min(result["windows"]) for result in bare]
    over = [time - base for time, base in zip(times, bases, strict=True)]
    ratio = statistics.median(time / base for time, base in zip(times, bases, strict=True))
    spread = f"{min(over):.1f} to {max(over):.1f}"
    return f"| {label} | {statistics.median(times):.1f} | {statistics.median(over):.1f} | {spread} | {ratio:.2f} |"


def streams_line(without: list[dict], with_streams: list[dict]) -> str:
    pairs = zip(without, with_streams, strict=True)
    costs = [(min(streams["windows"]) - min(plain["windows"])) / BATCH for plain, streams in pairs]
    spread = f"{min(costs):.1f} to {max(costs):.1f}"
    return f"\nA random stream costs {statistics.median(costs):.1f} us a sample ({spread}), in batches of {BATCH}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter with the other engines")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    engines = ["bare", *(name for name in options.engines if name != "bare")]
    results: dict[str, list[dict]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name in engines:
                if results[name] and "missing" in results[name][0]:
                    continue
                python = sys.executable if name in OURS else options.peers_python
                results[name].append(measure(name, python, options, Path(folder)))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    if "missing" in results["bare"][0]:
        print(results["bare"][0]["missing"], file=sys.stderr)
        return 1
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"torch {results['bare'][0]['torch']}, {options.device}, one thread; {options.rounds} rounds of "
          f"{options.steps} steps")  # fmt: skip
    print("\n| engine | us/step | over bare, us | over rounds | ratio |\n|---|---|---|---|---|")
    for name in engines:
        if name not in SAMPLES:
            print(row(name, results[name], results["bare"]))
    if all(name in results for name in SAMPLES):
        print(streams_line(*(results[name] for name in SAMPLES)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
