"""Versions as numbers, repositories as hashes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.utils import digit_version, get_git_hash

# What MMEngine 0.10.7 returns.
KNOWN = {
    "1": (1, 0, 0, 0, 0, 0),
    "1.2": (1, 2, 0, 0, 0, 0),
    "1.2.3.4": (1, 2, 3, 4, 0, 0),
    "1.2.3.4.5": (1, 2, 3, 4, 0, 0),
    "v1.2.3": (1, 2, 3, 0, 0, 0),
    "1!2.0rc1": (2, 0, 0, 0, -1, 1),
    "2024.01.02": (2024, 1, 2, 0, 0, 0),
    "2.1.0+cu118": (2, 1, 0, 0, 0, 0),
    "1.0.0rc1+local.1": (1, 0, 0, 0, -1, 1),
    "1.10.0a0+git123": (1, 10, 0, 0, -3, 0),
    "1.0.0a1": (1, 0, 0, 0, -3, 1),
    "1.0.0alpha": (1, 0, 0, 0, -3, 0),
    "1.0.0b2": (1, 0, 0, 0, -2, 2),
    "1.0.0beta": (1, 0, 0, 0, -2, 0),
    "1.0rc1": (1, 0, 0, 0, -1, 1),
    "1.0.0rc10": (1, 0, 0, 0, -1, 10),
    "1.0.0c1": (1, 0, 0, 0, -1, 1),
    "1.0.0preview2": (1, 0, 0, 0, -1, 2),
    "1.0_RC.1": (1, 0, 0, 0, -1, 1),
    "4.5.4-pre": (4, 5, 4, 0, -1, 0),
    "1.0.0.rc": (1, 0, 0, 0, -1, 0),
    "1.0.0.dev1": (1, 0, 0, 0, -4, 0),
    "2.0.0.dev20230101+cu117": (2, 0, 0, 0, -4, 0),
    "4.5.4-dev": (4, 5, 4, 0, -4, 0),
    "1.0.0a1.dev2": (1, 0, 0, 0, -3, 1),
    "1.0.0rc1.post1": (1, 0, 0, 0, -1, 1),
    "1.0.0.post1.dev2": (1, 0, 0, 0, -4, 0),
    "1.0.0.post2": (1, 0, 0, 0, 1, 2),
    "1.0.0-1": (1, 0, 0, 0, 1, 1),
    "1.0.0r3": (1, 0, 0, 0, 1, 3),
    "1.0.0-post": (1, 0, 0, 0, 1, 0),
}


@pytest.mark.parametrize("version", KNOWN)
def test_version_becomes_the_numbers_that_mmengine_gives(version: str) -> None:
    assert digit_version(version) == KNOWN[version]


@pytest.mark.parametrize(("length", "numbers"), [(0, ()), (1, (1,)), (3, (1, 2, 3)), (6, (1, 2, 3, 4, 0, 0))])
def test_length_cuts_or_fills_the_release(length: int, numbers: tuple[int, ...]) -> None:
    assert digit_version("1.2.3.4rc7", length) == (*numbers, -1, 7)


def test_torch_version_is_a_string_too() -> None:
    import torch

    assert digit_version(torch.__version__)[0] >= 2


@pytest.mark.parametrize("text", ["", "abc", "1.x", "1..2", "1.0+", "parrots"])
def test_what_is_no_version_is_named(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"is no version. Expected the form of PEP 440"):
        digit_version(text)


def test_number_is_no_version_string() -> None:
    with pytest.raises(ArgumentTypeError, match=r"got 1.2"):
        digit_version(1.2)  # type: ignore[arg-type]


kinds = st.sampled_from([".dev1", "a1", "b1", "rc1", "rc2", "", ".post1"])
releases = st.lists(st.integers(0, 30), min_size=4, max_size=4)
STAGES = {".dev1": 0, "a1": 1, "b1": 2, "rc1": 3, "rc2": 4, "": 5, ".post1": 6}


@given(releases, kinds, releases, kinds)
def test_numbers_compare_as_versions_do(a: list[int], a_kind: str, b: list[int], b_kind: str) -> None:
    first, second = (".".join(map(str, release)) + kind for release, kind in ((a, a_kind), (b, b_kind)))
    expected = (a, STAGES[a_kind]) < (b, STAGES[b_kind])
    assert (digit_version(first) < digit_version(second)) is expected


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_hash_is_that_of_the_repository_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert get_git_hash() == "unknown" and get_git_hash("none") == "none"
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    assert get_git_hash() == git(tmp_path, "rev-parse", "HEAD")
    assert get_git_hash(digits=7) == git(tmp_path, "rev-parse", "HEAD")[:7]


def test_machine_without_git_has_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert get_git_hash("none") == "none"


@pytest.mark.parametrize("digits", ["7", 7.0, True])
def test_digits_must_be_an_integer(digits: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="digits must be None or an integer"):
        get_git_hash(digits=digits)
