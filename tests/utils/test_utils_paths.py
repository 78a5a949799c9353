"""Folders, links, lists of files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from drivetrain.errors import ArgumentTypeError, MissingFileError
from drivetrain.utils import (
    check_file_exist,
    find_vcs_root,
    fopen,
    is_abs,
    is_filepath,
    mkdir_or_exist,
    scandir,
    symlink,
)  # fmt: skip


def test_paths_are_strings_and_paths() -> None:
    assert is_filepath("a") and is_filepath(Path("a")) and not is_filepath(b"a") and not is_filepath(1)


def test_open_passes_its_arguments_on(tmp_path: Path) -> None:
    with fopen(tmp_path / "a", "w", encoding="utf-8") as file:
        file.write("x")
    with fopen(str(tmp_path / "a"), "rb") as file:
        assert file.read() == b"x"
    with pytest.raises(ArgumentTypeError, match="fopen needs a path, a str or a Path, got 3"):
        fopen(3)  # type: ignore[arg-type]


def test_missing_file_is_an_error_with_the_given_text(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    check_file_exist(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=f'file "{tmp_path}" does not exist'):
        check_file_exist(tmp_path)
    with pytest.raises(MissingFileError, match=r"^lost: x$"):
        check_file_exist("x", "lost: {}")


def test_folder_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("a/b", Path("a/c"), "a/b", "~/d", ""):
        mkdir_or_exist(name)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["a", "a/b", "a/c", "d"]
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError):
        mkdir_or_exist("f")


def test_link_replaces_a_file_unless_told_not_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    symlink("one", link)
    symlink("two", link)
    assert os.readlink(link) == "two"
    with pytest.raises(FileExistsError):
        symlink("three", link, overwrite=False)
    link.unlink()
    link.touch()
    symlink("four", str(link))
    assert os.readlink(link) == "four"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("1.txt", "2.PNG", ".h.txt", "a/3.txt", "a/b/4.jpg", ".hidden/5.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["1.txt", "2.PNG"]),
        ({"recursive": True}, [".hidden/5.txt", "1.txt", "2.PNG", "a/3.txt", "a/b/4.jpg"]),
        ({"suffix": ".txt", "recursive": True}, [".hidden/5.txt", "1.txt", "a/3.txt"]),
        ({"suffix": ".png"}, []),
        ({"suffix": (".png", ".TXT"), "case_sensitive": False}, ["1.txt", "2.PNG"]),
    ],
)
def test_files_are_listed_in_order(tree: Path, options: dict[str, Any], expected: list[str]) -> None:
    assert list(scandir(tree, **options)) == expected
    assert list(scandir(f"{tree}/", **options)) == expected


def test_listing_checks_its_arguments_at_once_and_the_folder_on_use(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="scandir needs a path"):
        scandir(1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="suffix must be a string or a tuple of strings"):
        scandir(tmp_path, [".txt"])  # type: ignore[arg-type]
    files = scandir(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        next(files)


def test_absolute_are_rooted_paths_and_urls() -> None:
    assert all(map(is_abs, ["/a", Path("/a"), "s3://a", "https://a/b", "file:///a"]))
    assert not any(map(is_abs, ["a", "~/a", "./a", "", "a/b://c"]))


def test_root_of_a_repository_is_found_from_below(tmp_path: Path) -> None:
    inside = tmp_path / "repo" / "x" / "y"
    inside.mkdir(parents=True)
    (tmp_path / "repo" / ".mark").touch()
    (inside / "file").touch()
    for path in (inside, inside / "file", tmp_path / "repo"):
        assert find_vcs_root(path, markers=(".other", ".mark")) == str(tmp_path / "repo")
    assert find_vcs_root(inside, markers=(".nothing-has-this",)) is None and find_vcs_root("") is None
