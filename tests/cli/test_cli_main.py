"""The package as a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

import drivetrain


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drivetrain", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"drivetrain {drivetrain.__version__}\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that tells when it is not read")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = "import sys; from drivetrain.cli import main; sys.exit(main(['env']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)
