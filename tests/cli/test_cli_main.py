"""The package as a command."""

from __future__ import annotations

import subprocess
import sys

import drivetrain


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drivetrain", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"drivetrain {drivetrain.__version__}\n", "")
