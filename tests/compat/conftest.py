"""The alias for one test, and scripts in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import drivetrain.compat

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def alias() -> Iterator[ModuleType]:
    """`mmengine`, gone again after the test."""
    yield drivetrain.compat.install()
    drivetrain.compat.uninstall()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run Python in a folder of its own; returns what it printed, with its errors where a code other than 0 is due.

    `path` goes in front of what Python searches; drivetrain is found unless `alone`.
    """

    def call(*arguments: str, code: int = 0, path: str = "", alone: bool = False) -> str:
        search = [path] if alone else [path, str(ROOT)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, search))}
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr if code else done.stdout

    return call
