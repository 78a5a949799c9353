"""load, dump and the line files."""

from __future__ import annotations

import io
import json
import pickle
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingFileError
from drivetrain.fileio import dict_from_file, dump, list_from_file, load, put, put_text

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(string.printable + "éß漢", max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(plain)
def test_plain_values_survive_every_format(obj: Any) -> None:
    for file_format in ("json", "yaml", "pickle"):
        content = dump(obj, file_format=file_format)
        stream = io.BytesIO(content) if file_format == "pickle" else io.StringIO(content)
        assert load(stream, file_format=file_format) == obj


@pytest.mark.parametrize("ending", ["json", "yaml", "yml", "pickle", "pkl", "JSON"])
@pytest.mark.parametrize("root", ["local", "memory://serialize"])
def test_ending_tells_the_format(ending: str, root: str, tmp_path: Path) -> None:
    path = f"{tmp_path if root == 'local' else root}/new/a.{ending}"
    assert dump({"b": [1, "é"], "a": None}, path) is None
    assert load(path, trusted=True) == {"b": [1, "é"], "a": None}


def test_format_argument_wins_over_the_ending(tmp_path: Path) -> None:
    dump([1], tmp_path / "a.txt", file_format="json")
    assert (tmp_path / "a.txt").read_text() == "[1]"
    assert load(tmp_path / "a.txt", file_format="yaml") == [1]


def test_open_files_are_read_and_written() -> None:
    text, binary = io.StringIO(), io.BytesIO()
    dump([1], text, file_format="json")
    dump([1], binary, file_format="pkl")
    assert text.getvalue() == "[1]" and pickle.loads(binary.getvalue()) == [1]
    assert not text.closed and not binary.closed


def test_keyword_arguments_reach_the_writer_and_the_reader(tmp_path: Path) -> None:
    dump({"b": 1, "a": 2}, tmp_path / "a.json", indent=1, sort_keys=True)
    assert (tmp_path / "a.json").read_text() == '{\n "a": 2,\n "b": 1\n}'
    assert load(tmp_path / "a.json", parse_int=str) == {"a": "2", "b": "1"}
    assert dump({"b": 1, "a": 2}, file_format="yaml", sort_keys=False) == "b: 1\na: 2\n"


@pytest.mark.parametrize("file_format", ["json", "yaml"])
def test_arrays_and_numpy_scalars_become_lists_and_numbers(file_format: str) -> None:
    obj = {"a": np.arange(3), "f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "m": np.zeros((2, 1)),
           "d": np.float64(0.1), "z": np.array(3), "t": torch.tensor([1, 2])}  # fmt: skip
    content = dump(obj, file_format=file_format)
    assert load(io.StringIO(content), file_format=file_format) == {
        "a": [0, 1, 2], "f": 0.5, "i": 3, "b": True, "m": [[0.0], [0.0]], "d": 0.1, "z": 3, "t": [1, 2]
    }  # fmt: skip


def test_json_turns_sets_and_ranges_into_lists() -> None:
    assert dump({"s": {1}, "r": range(3), "t": (1, 2)}, file_format="json") == '{"s": [1], "r": [0, 1, 2], "t": [1, 2]}'


@pytest.mark.parametrize("value", [object(), 1j, np.complex64(1), b"x", Path("a"), frozenset([1])])
def test_value_that_json_cannot_hold_is_named(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"not {type(value).__name__}"):
        dump({"a": value}, file_format="json")


def test_yaml_keeps_tuples() -> None:
    content = dump({"a": (1, (2,))}, file_format="yaml")
    assert load(io.StringIO(content), file_format="yaml") == {"a": (1, (2,))}


def test_yaml_that_names_python_objects_needs_trust() -> None:
    text = "a: !!python/object/apply:os.getpid []\n"
    with pytest.raises(ArgumentError, match="trusted=True"):
        load(io.StringIO(text), file_format="yaml")
    assert type(load(io.StringIO(text), file_format="yaml", trusted=True)["a"]) is int


def test_pickle_from_remote_storage_needs_trust(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    put(pickle.dumps(Bomb()), "memory://serialize/bomb.pkl")
    with pytest.raises(ArgumentError, match=r"'memory://serialize/bomb.pkl' comes from remote storage.*trusted=True"):
        load("memory://serialize/bomb.pkl")
    assert not (tmp_path / "ran").exists()
    load("memory://serialize/bomb.pkl", trusted=True)
    assert (tmp_path / "ran").exists()


def test_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"'jsn'.*there are json, yaml.*Did you mean 'json'\?"):
        load(tmp_path / "a.jsn")
    with pytest.raises(ArgumentTypeError, match="no reader or writer for the format 'txt'"):
        dump([1], tmp_path / "a.txt")
    with pytest.raises(ArgumentTypeError, match="with an open file need file_format"):
        load(io.StringIO("[1]"))
    with pytest.raises(ArgumentError, match="without a file need file_format"):
        dump([1])


def test_missing_file_is_ours(tmp_path: Path) -> None:
    dump([1], tmp_path / "annotations.json")
    with pytest.raises(MissingFileError, match=r"Did you mean 'annotations.json'\?"):
        load(tmp_path / "anotations.json")


def test_old_name_of_backend_args_warns(tmp_path: Path) -> None:
    dump([1], tmp_path / "a.json")
    with pytest.warns(DeprecationWarning, match="old name of backend_args"):
        assert load(tmp_path / "a.json", file_client_args={"backend": "disk"}) == [1]
    with pytest.raises(ArgumentError, match="give backend_args only"):
        load(tmp_path / "a.json", file_client_args={}, backend_args={})


def test_lines_are_read_whole_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a b\r\n\tc \n\nf")
    assert list_from_file(tmp_path / "a.txt") == ["a b", "\tc ", "", "f"]
    assert list_from_file(tmp_path / "a.txt", prefix="p/", offset=1, max_num=2) == ["p/\tc ", "p/"]
    assert list_from_file(tmp_path / "a.txt", offset=9) == []
    put_text("x\ny\n", "memory://serialize/l.txt")
    assert list_from_file("memory://serialize/l.txt") == ["x", "y"]


@given(st.lists(st.text("ab \t\x0b\x85", max_size=4)))
def test_list_from_file_splits_at_line_ends_only(lines: list[str]) -> None:
    put_text("".join(f"{line}\n" for line in lines), "memory://serialize/p.txt")
    assert list_from_file("memory://serialize/p.txt") == lines


@given(st.lists(st.text("ab", max_size=2)), st.integers(0, 6), st.integers(0, 6))
def test_offset_and_max_num_are_a_slice(lines: list[str], offset: int, max_num: int) -> None:
    put_text("".join(f"{line}\n" for line in lines), "memory://serialize/s.txt")
    expected = lines[offset : offset + max_num] if max_num else lines[offset:]
    assert list_from_file("memory://serialize/s.txt", "", offset, max_num) == expected


@given(plain, st.sampled_from(["json", "yaml", "pkl"]))
def test_plain_values_survive_in_a_storage(obj: Any, ending: str) -> None:
    dump(obj, f"memory://serialize/p.{ending}")
    assert load(f"memory://serialize/p.{ending}", trusted=ending == "pkl") == obj


def test_mapping_file_has_one_value_or_several(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("1 cat\n2  dog   cow\n")
    assert dict_from_file(tmp_path / "m.txt") == {"1": "cat", "2": ["dog", "cow"]}
    assert dict_from_file(tmp_path / "m.txt", key_type=int) == {1: "cat", 2: ["dog", "cow"]}


def test_broken_mapping_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("1 cat\nlonely\n")
    with pytest.raises(ArgumentError, match=r"m\.txt, line 2: expected a key and at least one value, got 'lonely'"):
        dict_from_file(tmp_path / "m.txt")
    (tmp_path / "m.txt").write_text("x cat\n")
    with pytest.raises(ArgumentError, match=r"line 1: the key 'x' does not convert"):
        dict_from_file(tmp_path / "m.txt", key_type=int)


def test_json_written_is_json(tmp_path: Path) -> None:
    dump({"a": [np.float32(1)]}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1.0]}
