"""Start the user's training in a process of its own, and kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from drivetrain.errors import DrivetrainError

from ._plan import Plan
from ._record import Record

_LOOK_EVERY = 0.002
_MODULE = "drivetrain.cli.verify._child"
_LINES_SHOWN = 15


class StartFailed(DrivetrainError):
    """The user's training ended with an error of its own."""


@dataclass(frozen=True)
class Kill:
    """When to kill a start.

    Args:
        step: once it has made this step,
        fraction: and after this part of the time that a step takes.
    """

    step: int
    fraction: float


def run(plan: Plan, name: str, kill: Kill | None = None) -> Record:
    """Start training and wait for its end, or kill it with all its workers.

    Args:
        plan: what it is to do; its plan, record and log are files beside `plan.record`.
        name: what the files are called.
        kill: when to kill it; None for never.

    Raises:
        StartFailed: it ended with an error.
    """
    folder = Path(plan.record).parent
    log = folder / f"{name}.log"
    path = plan.written(folder / f"{name}.json")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(path)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
    try:
        if kill is not None and _reached(process, Path(plan.record), kill):
            _kill(process)
            return Record.read(Path(plan.record))
        code = process.wait()
    finally:
        if process.poll() is None:
            _kill(process)
    if code:
        raise StartFailed(
            f"the run ended with exit code {code} before anything could be compared:\n{_tail(log)}\n"
            f"With --keep DIR its whole output stays, in {log.name}."
        )
    return Record.read(Path(plan.record))


def _environment() -> dict[str, str]:
    """What the process sees: this package where this one has it, and the current folder not before all else."""
    package = str(Path(sys.modules["drivetrain"].__file__ or "").parents[1])
    known = os.environ.get("PYTHONPATH")
    path = package if not known else os.pathsep.join([known, package])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _reached(process: subprocess.Popen[bytes], record: Path, kill: Kill) -> bool:
    """Wait until the step was made and a little longer; False if the process ended before."""
    began = None
    while process.poll() is None:
        made = record.read_bytes().count(b'{"step":') if record.exists() else 0
        began = time.monotonic() if began is None and made else began
        first = Record.read(record).begun_at if made else 0
        if made and first + made >= kill.step:
            seconds = (time.monotonic() - began) / made if began is not None else 0.0
            time.sleep(kill.fraction * seconds)
            return process.poll() is None
        time.sleep(_LOOK_EVERY)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and the workers it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-_LINES_SHOWN:])
