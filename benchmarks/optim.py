"""Microseconds of an update, of clipping, of schedules and of an average, for 10, 200 and 2,000 parameter groups.

    python benchmarks/optim.py --reference-python PYTHON

Each engine runs in a process of its own, on one thread. There it takes turns with what one writes by hand with torch
alone: both work on a copy of the same parameters, step by step. What counts is process time, of each side its fastest
tenth; a ratio has both sides from one process. A round runs all engines; the table shows medians over rounds.
Gradients are ready before a clock starts: backward is no part of it.

- update: `update_params` against `optimizer.step()` and `zero_grad()`; SGD with momentum and weight decay.
- clip: by norm, logged, against `clip_grad_norm_`.
- schedules: linear warm-up and cosine on the rate and on the momentum, against one factor each, assigned to all groups.
- average: exponential, against `torch._foreach_lerp_`.
- everything on: all of it in one step, and again on a model of 25 million parameters.

A group has one tensor of 64 numbers, or 12,500 in the large model, and rates differ between groups. PYTHON is an
interpreter with mmengine and the same torch; without it that column says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).resolve().parent
PARTS = ("update", "clip", "schedules", "average", "everything on")
GROUPS = (10, 200, 2000)
STEPS, WARMUP, MOMENTUM, MAX_NORM = 100_000, 1000, 0.0002, 1.0
SMALL, LARGE = 64, 12_500
CASES = [(part, groups, SMALL) for part in PARTS for groups in GROUPS] + [("everything on", 2000, LARGE)]


class Ready:
    """A loss whose gradients are there already."""

    def __truediv__(self, number):
        return self

    def backward(self):
        pass


class Side:
    """A model with its optimizer; `prepare` puts the gradients in place."""

    def __init__(self, groups, size):
        torch.manual_seed(0)
        self.model = nn.ParameterList([nn.Parameter(torch.randn(size)) for _ in range(groups)])
        self.parameters = list(self.model)
        self.gradients = [torch.randn(size) for _ in range(groups)]
        rated = [{"params": [p], "lr": 0.1 * 0.9 ** (i % 12)} for i, p in enumerate(self.parameters)]
        self.optimizer = torch.optim.SGD(rated, lr=0.1, momentum=0.9, weight_decay=1e-4)

    def prepare(self):
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient


class ByHand(Side):
    """What a good engineer writes with torch alone."""

    def __init__(self, part, groups, size):
        super().__init__(groups, size)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.steps, self.norms = 0, []
        self.run = {"update": self.update, "clip": self.clip, "schedules": self.schedule, "average": self.lerp,
                    "everything on": self.everything}[part]  # fmt: skip

    def update(self):
        self.optimizer.step()
        self.optimizer.zero_grad()

    def clip(self):
        self.norms = [nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)]

    def schedule(self):
        self.steps += 1
        if self.steps < WARMUP:
            factor = 0.001 + 0.999 * self.steps / WARMUP
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (self.steps - WARMUP) / (STEPS - WARMUP)))
        momentum = 0.9 * factor
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
            group["momentum"] = momentum

    def lerp(self):
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, MOMENTUM)

    def everything(self):
        self.clip()
        self.update()
        self.lerp()
        self.schedule()


class ByEngine(Side):
    """The same through the parts of an engine."""

    def __init__(self, engine, part, groups, size):
        super().__init__(groups, size)
        optim, models = importlib.import_module(f"{engine}.optim"), importlib.import_module(f"{engine}.model")
        clipped = {"clip_grad": {"max_norm": MAX_NORM}} if part in ("clip", "everything on") else {}
        self.wrapper = optim.OptimWrapper(self.optimizer, **clipped)
        self.average = models.ExponentialMovingAverage(self.model, momentum=MOMENTUM)
        self.average.update_parameters(self.model)
        self.schedules = []
        if part in ("schedules", "everything on"):
            for name in ("LR", "Momentum"):
                warm, cosine = getattr(optim, f"Linear{name}"), getattr(optim, f"CosineAnnealing{name}")
                ends = {"by_epoch": False, "begin": WARMUP, "end": STEPS}
                self.schedules.append(warm(self.wrapper, start_factor=0.001, by_epoch=False, end=WARMUP))
                self.schedules.append(cosine(self.wrapper, T_max=STEPS - WARMUP, **ends))
        self.run = {"update": self.update, "clip": self.wrapper._clip_grad, "schedules": self.schedule,
                    "average": self.advance, "everything on": self.everything}[part]  # fmt: skip

    def update(self):
        self.wrapper.update_params(Ready())

    def schedule(self):
        for schedule in self.schedules:
            schedule.step()

    def advance(self):
        self.average.update_parameters(self.model)

    def everything(self):
        self.update()
        self.advance()
        self.schedule()


def measure(engine, part, groups, size, seconds):
    """Microseconds of a step by hand and by the engine, taken in turns: the tenth percentiles."""
    sides = [ByHand(part, groups, size), ByEngine(engine, part, groups, size)]
    times = [[], []]
    end = time.perf_counter() + seconds
    while len(times[0]) < 15 or time.perf_counter() < end:
        for side, taken in zip(sides, times, strict=True):
            side.prepare()
            start = time.process_time_ns()
            side.run()
            taken.append((time.process_time_ns() - start) / 1000)
    return [sorted(taken)[len(taken) // 10] for taken in times]


def run_engine(engine, seconds, out):
    """Measure all cases of one engine in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        version = importlib.import_module(engine).__version__
    except ImportError as error:
        out.write_text(json.dumps({"missing": str(error)}), encoding="utf-8")
        return
    importlib.import_module(f"{engine}.logging").MMLogger.get_instance("benchmark", log_level="ERROR")
    figures = {f"{part}|{groups}|{size}": measure(engine, part, groups, size, seconds) for part, groups, size in CASES}
    out.write_text(json.dumps({"version": version, "torch": torch.__version__, "figures": figures}), encoding="utf-8")


def start(engine, python, options, folder):
    """One round of an engine in a process of its own: its figures, or what is missing."""
    out = Path(folder) / "result.json"
    out.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if engine == "drivetrain":
        environment["PYTHONPATH"] = str(HERE.parent)
    command = [python, str(HERE / "optim.py"), "--engine", engine, "--seconds", str(options.seconds), "--out", str(out)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        return {"missing": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    return json.loads(out.read_text(encoding="utf-8"))


def summary(rounds, case):
    """Medians over rounds: microseconds by hand, by the engine, their ratio, and what the engine adds."""
    pairs = [result["figures"]["|".join(map(str, case))] for result in rounds]
    columns = ([h for h, _ in pairs], [e for _, e in pairs], [e / h for h, e in pairs], [e - h for h, e in pairs])
    return [statistics.median(column) for column in columns]


def row(case, ours, theirs):
    part, groups, size = case
    hand, time_, ratio, added = summary(ours, case)
    name = f"{part}, 25 M parameters" if size == LARGE else part
    cells = [name, f"{groups:,}", f"{hand:,.0f}", f"{time_:,.0f}", f"{ratio:.2f}"]
    if theirs and "missing" not in theirs[0]:
        _, other, other_ratio, other_added = summary(theirs, case)
        fewer = f"{other_added / added:.1f}" if added > 0 else "no cost of ours"
        cells += [f"{other:,.0f}", f"{other_ratio:.2f}", fewer]
    else:
        cells += ["-", "-", "-"]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", help="interpreter with mmengine==0.10.7")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="for each case and engine in a round")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run_engine(options.engine, options.seconds, options.out)
        return 0
    pythons = {"drivetrain": sys.executable, "mmengine": options.reference_python}
    results = {"drivetrain": [], "mmengine": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for engine, python in pythons.items():
                known_missing = results[engine] and "missing" in results[engine][0]
                if python and not known_missing:
                    results[engine].append(start(engine, python, options, folder))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    ours, theirs = results["drivetrain"], results["mmengine"]
    if "missing" in ours[0]:
        print(ours[0]["missing"], file=sys.stderr)
        return 1
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"torch {ours[0]['torch']}, one thread; microseconds a step, medians of {options.rounds} rounds")  # fmt: skip
    if not theirs or "missing" in theirs[0]:
        print(f"mmengine: not run: {theirs[0]['missing'] if theirs else 'no --reference-python'}")
    version = theirs[0].get("version", "") if theirs else ""
    print(f"\n| part | groups | by hand | drivetrain | ratio | mmengine {version} | ratio | its overhead / ours |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(row(case, ours, theirs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
