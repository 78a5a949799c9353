"""Run the cases under one engine, by the packages' own ``tools/train.py`` and ``tools/test.py``, unchanged.

    python drive.py theirs DIR/theirs/bin/python OUT/theirs [CASE ...]
    python drive.py ours   DIR/ours/bin/python   OUT/ours   [CASE ...]
    python drive.py theirs DIR/theirs/bin/python OUT/theirs [CASE ...] --cross OUT/ours
    python drive.py ours   DIR/ours/bin/python   OUT/ours   [CASE ...] --cross OUT/theirs

For each case, in a new process each: write the config (`prepare.py`), train 20 steps with validation and a checkpoint
in the middle, resume from that checkpoint to the end, test the last checkpoint. With `--cross`, after that: resume from
the middle checkpoint that the other engine left. `parity_hook.py` writes down every loss, rate, metric and a hash of
the weights; `compare.py` reads that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cases import CASES, Case

HERE = Path(__file__).resolve().parent

PREFIX = {"theirs": [], "ours": ["-m", "drivetrain.compat"]}

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
}

# torch >= 2.6 reads plain data only; MMEngine's checkpoints are not plain, and without this it cannot resume.
# drivetrain reads both kinds of files without it.
MORE = {"theirs": {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}, "ours": {}}


class Engine:
    """One engine in one environment."""

    def __init__(self, name: str, python: str, out: Path, data: Path) -> None:
        self.name, self.python, self.out, self.data = name, python, out, data
        answer = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.site = Path(answer.stdout.strip())

    def tool(self, package: str, name: str) -> Path:
        """The package's own script, from the wheel."""
        sites = [self.site, *(Path(p.read_text().strip()) for p in self.site.glob("openmmlab-packages.pth"))]
        return next(p for site in sites if (p := site / package / ".mim" / "tools" / name).exists())

    def run(self, log: Path, script: Path, *args: object) -> None:
        """Run a script; RuntimeError with the last line that it printed if it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [self.python, *PREFIX[self.name], str(script), *map(str, args)]
        environment = {**os.environ, **ENVIRONMENT, **MORE[self.name]}
        with log.open("w") as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=log.parent
            ).returncode
        if code:
            lines = log.read_text().strip().splitlines() or ["(nothing printed)"]
            raise RuntimeError(f"{script.name} exited {code}: {lines[-1][:300]}")


def run_case(engine: Engine, name: str) -> None:
    """All phases of one case, afresh."""
    case, out = CASES[name], engine.out / name
    if out.exists():
        shutil.rmtree(out)
    config = out / f"{name}.py"
    engine.run(out / "prepare.log", HERE / "prepare.py", name, engine.data, config)
    train(engine, case, config, out / "straight")
    middle, last = checkpoints(out / "straight")
    train(engine, case, config, out / "resumed", resume=middle)
    test = engine.tool(case.package, "test.py")
    engine.run(out / "test.log", test, config, last, "--work-dir", out / "test")


def cross_case(engine: Engine, name: str, other: Path) -> None:
    """Resume from the other engine's checkpoint; `run_case` has been there before."""
    out = engine.out / name
    shutil.rmtree(out / "crossed", ignore_errors=True)
    middle, _ = checkpoints(other / name / "straight")
    train(engine, CASES[name], out / f"{name}.py", out / "crossed", resume=middle)


def train(engine: Engine, case: Case, config: Path, work_dir: Path, resume: Path | None = None) -> None:
    """``tools/train.py``, as its own help says to call it."""
    options: list[object] = ["--work-dir", work_dir]
    if resume and case.package == "mmseg":
        options += ["--resume", "--cfg-options", f"load_from={resume}"]
    elif resume:
        options += ["--resume", resume]
    tool = engine.tool(case.package, "train.py")
    engine.run(work_dir.parent / f"{work_dir.name}.log", tool, config, *options)


def checkpoints(work_dir: Path) -> tuple[Path, Path]:
    """The checkpoint in the middle of the run and the one at its end."""
    files = [*work_dir.glob("iter_*.pth"), *work_dir.glob("epoch_*.pth")]
    files.sort(key=lambda p: int(p.stem.split("_")[1]))
    return files[0], files[-1]


def main() -> int:
    """Exit code 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(PREFIX))
    parser.add_argument("python")
    parser.add_argument("out", type=Path)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--cross", type=Path)
    args = parser.parse_args()
    out = args.out.resolve()
    data = out.parent / "data"
    subprocess.run([args.python, "-c", f"import data, pathlib; data.make(pathlib.Path({str(data)!r}))"],
                   check=True, cwd=HERE)  # fmt: skip
    engine = Engine(args.engine, args.python, out, data)
    failed = 0
    for name in args.cases:
        start = time.perf_counter()
        try:
            if args.cross:
                cross_case(engine, name, args.cross.resolve())
            else:
                run_case(engine, name)
            print(f"{name}: done in {time.perf_counter() - start:.0f} s", flush=True)
        except RuntimeError as error:
            failed += 1
            print(f"{name}: FAILED, {error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
