"""Files by path or URL: local disk and remote storage behave alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivetrain import fileio
from drivetrain.errors import ArgumentError, ArgumentTypeError, IsFolderError, MissingFileError, MissingPackageError


@pytest.fixture(params=["local", "memory", "file-url"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder on each kind of storage."""
    if request.param != "memory":
        yield str(tmp_path) if request.param == "local" else f"file://{tmp_path}"
        return
    import fsspec

    store = fsspec.filesystem("memory")
    store.makedirs("/root", exist_ok=True)
    yield "memory://root"
    store.rm("/root", recursive=True)


def test_what_is_put_is_got(root: str) -> None:
    path = fileio.join_path(root, "new", "folder", "a.bin")
    fileio.put(b"\x00\xff", path)
    assert fileio.get(path) == b"\x00\xff"
    fileio.put_text("é\r\nb\rc\n", path)
    assert fileio.get(path) == "é\r\nb\rc\n".encode()
    assert fileio.get_text(path) == "é\nb\nc\n"
    assert fileio.get_text(path, "latin1").startswith("Ã©")


def test_files_and_folders_are_told_apart(root: str) -> None:
    fileio.put(b"", fileio.join_path(root, "d", "f"))
    folder, file, none = (fileio.join_path(root, name) for name in ("d", "d/f", "d/none"))
    assert [fileio.exists(p) for p in (folder, file, none)] == [True, True, False]
    assert [fileio.isdir(p) for p in (folder, file, none)] == [True, False, False]
    assert [fileio.isfile(p) for p in (folder, file, none)] == [False, True, False]


def test_listing_is_sorted_and_relative(root: str) -> None:
    for name in ("b.txt", "a.png", "d/c.txt", "d/e/f.txt", ".hidden", ".d/g.txt"):
        fileio.put(b"", fileio.join_path(root, name))

    def listed(**options: Any) -> list[str]:
        return list(fileio.list_dir_or_file(root, **options))

    assert listed() == [".d", "a.png", "b.txt", "d"]
    assert listed(list_dir=False) == ["a.png", "b.txt"]
    assert listed(list_file=False, recursive=True) == [".d", "d", "d/e"]
    assert listed(list_dir=False, suffix=".txt", recursive=True) == [".d/g.txt", "b.txt", "d/c.txt", "d/e/f.txt"]
    assert listed(list_dir=False, suffix=(".png", ".txt")) == ["a.png", "b.txt"]
    with pytest.raises(ArgumentTypeError, match=r"suffix='.txt' selects files, so it needs list_dir=False"):
        fileio.list_dir_or_file(root, suffix=".txt")


def test_missing_file_is_named(root: str) -> None:
    path = fileio.join_path(root, "none.bin")
    for call in (fileio.get, fileio.remove, lambda p: list(fileio.list_dir_or_file(p))):
        with pytest.raises(MissingFileError, match=r"none\.bin") as caught:
            call(path)
        assert caught.value.filename in (path, path.removeprefix("file://")) and caught.value.errno == 2


def test_remove_deletes_a_file(root: str) -> None:
    path = fileio.join_path(root, "a")
    fileio.put(b"", path)
    fileio.remove(path)
    assert not fileio.exists(path)


def test_local_copy_has_the_content_and_the_suffix(root: str) -> None:
    path = fileio.join_path(root, "clip.mp4")
    fileio.put(b"film", path)
    with fileio.get_local_path(path) as local:
        assert Path(local).read_bytes() == b"film" and Path(local).suffix == ".mp4"
    assert Path(local).exists() is not root.startswith("memory")


def test_copy_into_a_folder_and_to_a_new_name(root: str, tmp_path: Path) -> None:
    source, folder = fileio.join_path(root, "a.txt"), fileio.join_path(root, "d")
    fileio.put(b"1", source)
    fileio.put(b"", fileio.join_path(folder, "other"))
    assert fileio.copyfile(source, folder) == fileio.join_path(folder, "a.txt")
    assert fileio.get(fileio.join_path(folder, "a.txt")) == b"1"
    target = tmp_path / "deep" / "b.txt"
    assert fileio.copyfile(source, target) is target
    assert target.read_bytes() == b"1"
    with pytest.raises(MissingFileError):
        fileio.copyfile(fileio.join_path(root, "none"), target)


def test_joining_follows_the_storage(tmp_path: Path) -> None:
    assert fileio.join_path("s3://bucket/a/", "/b/", "c.txt") == "s3://bucket/a/b/c.txt"
    assert fileio.join_path(tmp_path, "a", Path("b")) == str(tmp_path / "a" / "b")
    assert fileio.join_path("a", "/b") == "/b"


def test_missing_local_file_error_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").touch()
    with pytest.raises(FileNotFoundError) as caught:
        fileio.get("data/trian.json")
    assert str(caught.value) == (
        f"no such file: 'data/trian.json'. Did you mean 'train.json'? "
        f"The path is relative; the working directory is {str(tmp_path)!r}."
    )
    with pytest.raises(FileNotFoundError, match=r"There is no 'dat' in '.'. Did you mean 'data'\?"):
        fileio.get("dat/train.json")
    with pytest.raises(FileNotFoundError) as absolute:
        fileio.get(tmp_path / "data" / "x.bin")
    assert "relative" not in str(absolute.value)


def test_folder_is_not_removed_and_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(IsFolderError, match="is a folder"):
        fileio.remove(tmp_path)
    with pytest.raises(IsADirectoryError, match="a folder stands there"):
        fileio.put(b"", tmp_path)


def test_backend_args_choose_the_storage(tmp_path: Path) -> None:
    fileio.put(b"1", tmp_path / "a", backend_args={"backend": "local"})
    fileio.put(b"2", "root/b", backend_args={"backend": "memory"})
    assert fileio.get(tmp_path / "a", backend_args={}) == b"1"
    assert fileio.get("memory://root/b") == b"2"
    assert fileio.join_path("root", "b", backend_args={"backend": "memory"}) == "memory://root/b"
    fileio.copyfile("memory://root/b", tmp_path / "c", backend_args={"skip_instance_cache": True})
    assert (tmp_path / "c").read_bytes() == b"2"
    fileio.remove("memory://root/b")
    with pytest.raises(ArgumentTypeError, match=r"is a local path, which takes no backend_args, got \{'key': 1\}"):
        fileio.get(tmp_path / "a", backend_args={"key": 1})


def test_missing_package_of_a_scheme_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingPackageError, match=r"opening 's3://bucket/a' .*pip install \"s3fs\""):
        fileio.get("s3://bucket/a")


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"cannot open 's4://bucket/a'"):
        fileio.get("s4://bucket/a")


def test_local_files_load_no_fsspec_and_no_numpy(tmp_path: Path) -> None:
    code = (
        f"import sys; from drivetrain import fileio; p = {str(tmp_path / 'a.json')!r}\n"
        "fileio.dump({'a': 1}, p); fileio.load(p); fileio.copyfile(p, p + 'b'); list(fileio.list_dir_or_file('.'))\n"
        "print(sorted({'torch', 'fsspec', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
