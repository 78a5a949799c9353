"""Every config file in the wheels of mmpretrain, mmsegmentation and mmdet, under MMEngine and under drivetrain.

    python benchmarks/configs.py --ours DIR/ours/bin/python --theirs DIR/theirs/bin/python [--rounds 5]

The two interpreters come from ``benchmarks/openmmlab/setup_env.sh DIR``. Each file, in both dialects, is loaded with
every base resolved and, by drivetrain, dumped and loaded back; MMEngine loads what drivetrain dumped. Then both engines
load all files, and the deepest ones, in turn. Printed: counts, every file that is not equal, and ratios of time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

PACKAGES = ("mmpretrain", "mmseg", "mmdet")

PREFIX = {"theirs": [], "ours": ["-m", "drivetrain.compat"]}


def config_files(site: Path) -> list[Path]:
    """All config files of the installed wheels: ``.mim/configs`` (text dialect), ``configs`` (Python dialect)."""
    roots = [site / package / part for package in PACKAGES for part in (".mim/configs", "configs")]
    return sorted(p for root in roots for p in root.rglob("*.py") if p.name != "__init__.py")


def depth(path: Path, seen: dict[Path, int]) -> int:
    """Length of the longest chain of bases below `path`, read from the text."""
    if path not in seen:
        seen[path] = 0
        text = path.read_text() if path.exists() else ""
        block = re.search(r"^_base_\s*=\s*(\[.*?\]|\(.*?\)|'.*?'|\".*?\")", text, re.S | re.M)
        names = re.findall(r"['\"]([^'\"]+\.py)['\"]", block[1]) if block else []
        bases = [(path.parent / name).resolve() for name in names if "::" not in name]
        dotted = re.findall(r"^\s+from (\.+)([\w.]+) import", text, re.M) if "read_base" in text else []
        for dots, name in dotted:
            folder = path.parents[len(dots) - 1]
            bases.append(folder.joinpath(*name.split(".")).with_suffix(".py"))
        seen[path] = max((1 + depth(base, seen) for base in bases), default=0)
    return seen[path]


# What runs inside an engine's interpreter, the same for both: `mmengine` is MMEngine, or drivetrain's alias of it.


def plain(value: Any) -> Any:
    """`value` in a form whose text is the same for equal values of both engines."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    return repr(value) if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def digest(values: Any) -> str:
    """A short hash of a loaded config's values."""
    return hashlib.sha256(json.dumps(plain(values)).encode()).hexdigest()[:16]


def load(path: str) -> Any:
    """The config of a file, without the packages that it wants imported."""
    from mmengine.config import Config

    with contextlib.redirect_stdout(io.StringIO()):
        return Config.fromfile(path, import_custom_modules=False)


def judge(path: str, dump_to: str | None) -> dict[str, Any]:
    """What came of one file: its digest, or its error and cause; with `dump_to`, also what its dump reads as."""
    try:
        config = load(path)
    except Exception as error:
        kinds = [*type(error).__mro__, *type(error.__cause__).__mro__]
        return {"error": [kind.__name__ for kind in kinds], "message": str(error)[:200]}
    answer = {"values": digest(config.to_dict())}
    if dump_to:
        try:
            config.dump(dump_to)
            answer["again"] = digest(load(dump_to).to_dict())
        except Exception as error:
            answer["again"] = f"{type(error).__name__}: {error}"[:200]
    return answer


def work(task: dict[str, Any]) -> Any:
    """One task in an engine's process: `judge` all files, or time their loading, `repeats` times each."""
    files = task["files"]
    if "repeats" not in task:
        return [judge(path, target) for path, target in zip(files, task["dumps"], strict=True)]
    seconds = []
    for path in files:
        if task["repeats"] > 1:
            load(path)
        times = []
        for _ in range(task["repeats"]):
            start = time.perf_counter()
            load(path)
            times.append(time.perf_counter() - start)
        seconds.append(statistics.median(times))
    return seconds


# What runs outside.


class Engine:
    """One engine in one interpreter; each task is a fresh process."""

    def __init__(self, name: str, python: str) -> None:
        self.command = [python, *PREFIX[name], __file__, "--work"]

    def do(self, **task: Any) -> Any:
        """The answer of `work`."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        with tempfile.TemporaryDirectory() as folder:
            question, answer = Path(folder, "task.json"), Path(folder, "answer.json")
            question.write_text(json.dumps(task))
            done = subprocess.run([*self.command, str(question), str(answer)], env=environment, cwd=folder,
                                  capture_output=True, text=True)  # fmt: skip
            if not answer.exists():
                raise SystemExit(f"{self.command}: {done.stderr.strip().splitlines()[-1]}")
            return json.loads(answer.read_text())


def verdict(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """How the two answers about one file stand to each other."""
    if "error" in theirs and "error" in ours:
        return "fails under both, same kind" if theirs["error"][0] in ours["error"] else "fails under both, other kind"
    if "error" in theirs or "error" in ours:
        return "fails under drivetrain only" if "error" in ours else "fails under MMEngine only"
    return "equal" if theirs["values"] == ours["values"] else "differs"


def compare(theirs: Engine, ours: Engine, files: list[Path], folder: str) -> list[Path]:
    """Print the counts; return the files that both load."""
    dumps = [str(Path(folder, f"dump_{i}.py")) for i in range(len(files))]
    paths = [str(p) for p in files]
    mine = ours.do(files=paths, dumps=dumps)
    reference = theirs.do(files=paths, dumps=[None] * len(paths))
    counts: collections.Counter[str] = collections.Counter()
    good, odd = [], []
    for path, r, o in zip(files, reference, mine, strict=True):
        word = verdict(r, o)
        counts[word] += 1
        if word == "equal":
            good.append(path)
        else:
            odd.append((word, short(path), r.get("message", ""), o.get("message", "")))
    loaded = [(d, o["values"], o["again"], p) for d, o, p in zip(dumps, mine, files, strict=True) if "values" in o]
    round_trips = [p for _, values, again, p in loaded if values != again]
    answers = theirs.do(files=[d for d, *_ in loaded], dumps=[None] * len(loaded))
    read = [p for (_, values, _, p), a in zip(loaded, answers, strict=True) if a.get("values") != values]
    print(f"{len(files)} files: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))
    print(f"dumped by drivetrain and read back equal: {len(loaded) - len(round_trips)} of {len(loaded)}")
    print(f"dumped by drivetrain and read equal by MMEngine: {len(loaded) - len(read)} of {len(loaded)}")
    for row in sorted(odd):
        print("  " + " | ".join(row))
    for label, paths_left in (("not read back equal", round_trips), ("not read equal by MMEngine", read)):
        for path in paths_left[:20]:
            print(f"  {label}: {short(path)}")
    return good


def short(path: Path) -> str:
    """The path from the package on."""
    return str(path).split("site-packages/")[-1]


def race(theirs: Engine, ours: Engine, label: str, files: list[Path], rounds: int, repeats: int) -> None:
    """Print each engine's time for `files`, median of `rounds` runs that alternate, and their ratio."""
    paths = [str(p) for p in files]
    totals: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(rounds):
        for name, engine in (("theirs", theirs), ("ours", ours)):
            totals[name].append(sum(engine.do(files=paths, repeats=repeats)))
    t, o = statistics.median(totals["theirs"]), statistics.median(totals["ours"])
    print(
        f"{label}: drivetrain {o:.3f} s, MMEngine {t:.3f} s, ratio {o / t:.3f} "
        f"(rounds: {', '.join(f'{a / b:.3f}' for a, b in zip(totals['ours'], totals['theirs'], strict=True))})"
    )


def main() -> None:
    """Compare and race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="interpreter of DIR/ours")
    parser.add_argument("--theirs", required=True, help="interpreter of DIR/theirs")
    parser.add_argument("--rounds", type=int, default=5, help="0: compare only")
    parser.add_argument("--deepest", type=int, default=20, help="how many of the deepest files to time by themselves")
    args = parser.parse_args()
    theirs, ours = Engine("theirs", args.theirs), Engine("ours", args.ours)
    answer = subprocess.run(
        [args.ours, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], capture_output=True, text=True
    )
    files = config_files(Path(answer.stdout.strip()))
    with tempfile.TemporaryDirectory() as folder:
        good = compare(theirs, ours, files, folder)
    if not args.rounds:
        return
    seen: dict[Path, int] = {}
    deep = sorted(good, key=lambda p: (-depth(p.resolve(), seen), str(p)))[: args.deepest]
    deepest = depth(deep[0].resolve(), seen)
    race(theirs, ours, f"the deepest, {deepest} bases below {short(deep[0])}", deep[:1], args.rounds, 20)
    race(theirs, ours, f"the {len(deep)} deepest", deep, args.rounds, 5)
    race(theirs, ours, f"all {len(good)}", good, max(1, args.rounds // 2), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        warnings.simplefilter("ignore")
        Path(sys.argv[3]).write_text(json.dumps(work(json.loads(Path(sys.argv[2]).read_text()))))
    else:
        main()
