"""A file over its base, whatever the two hold; options as text."""

from __future__ import annotations

import copy
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.config import Config, DictAction
from drivetrain.errors import ArgumentTypeError

names = st.sampled_from(["lr", "model", "depth", "a1", "hooks"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab ='\"{", max_size=4)
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
files = st.dictionaries(names, values, max_size=4)
deleting = st.booleans()


class Clash(Exception):
    """A dict stands over something else."""


def over(base: Any, child: Any) -> Any:
    """The rule of the contract, written as plainly as can be."""
    if not isinstance(child, dict):
        return child
    if not isinstance(base, dict):
        raise Clash
    result = dict(base)
    for key, value in child.items():
        known = key in base and not (isinstance(value, dict) and value.get("_delete_"))
        result[key] = over(base[key], value) if known else without_marks(value)
    return result


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_marks(item) for key, item in value.items() if key != "_delete_"}
    return [without_marks(item) for item in value] if isinstance(value, list) else value


def marked(value: Any, draw: st.DataObject) -> Any:
    """`value` with `_delete_` in some of its dicts."""
    if not isinstance(value, dict):
        return value
    inside = {key: marked(item, draw) for key, item in value.items()}
    return {**inside, "_delete_": True} if draw.draw(deleting) else inside


def written(folder: str, name: str, content: dict[str, Any]) -> str:
    path = Path(folder) / name
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in content.items()), encoding="utf-8")
    return str(path)


@given(files, files, st.data())
def test_a_file_over_its_base_follows_the_rule(
    base: dict[str, Any], child: dict[str, Any], draw: st.DataObject
) -> None:
    child = {key: marked(value, draw) for key, value in child.items()}
    with tempfile.TemporaryDirectory() as folder:
        written(folder, "base.py", base)
        path = written(folder, "child.py", {"_base_": "./base.py", **child})
        try:
            expected = over(base, child)
        except Clash:
            with pytest.raises(ArgumentTypeError, match="_delete_=True"):
                Config.fromfile(path)
            return
        cfg = Config.fromfile(path)
        assert cfg._cfg_dict == expected
        for key in expected:
            files_of_key = [Path(origin.file).name for origin in cfg.origins(key)]
            assert files_of_key == [name for name, keys in (("base.py", base), ("child.py", child)) if key in keys]


@given(files, files)
def test_merging_leaves_both_sides_as_they_were(base: dict[str, Any], options: dict[str, Any]) -> None:
    cfg, before = Config(copy.deepcopy(base)), copy.deepcopy(options)
    try:
        expected = over(base, options)
    except Clash:
        kept = cfg.to_dict()
        with pytest.raises(ArgumentTypeError):
            cfg.merge_from_dict(options, allow_list_keys=False)
        assert cfg.to_dict() == kept and options == before
        return
    cfg.merge_from_dict(options, allow_list_keys=False)
    assert options == before and cfg._cfg_dict == expected


plain_texts = st.text("abcxyz_/.-", min_size=1, max_size=6).filter(
    lambda text: text == DictAction._parse_iterable(text)
)
parsed = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | plain_texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


def as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        opening, closing = "[]" if isinstance(value, list) else "()"
        return opening + ",".join(map(as_text, value)) + closing
    return value if isinstance(value, str) else repr(value)


@given(st.dictionaries(names, parsed, min_size=1, max_size=3))
def test_an_option_reads_back_what_was_written(options: dict[str, Any]) -> None:
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    words = [f"{key}={as_text(value)}" for key, value in options.items()]
    assert parser.parse_args(["--cfg-options", *words]).cfg_options == options
