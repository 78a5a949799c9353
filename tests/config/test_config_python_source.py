"""`dump_python`: what it writes, and that Python reads it back."""

from __future__ import annotations

import collections
import enum
import math
import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.config import dump_python, is_config
from drivetrain.errors import ArgumentTypeError
from drivetrain.utils import get_object_from_string


def read_back(cfg: Any) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(dump_python(cfg), {}, namespace)
    top_level = all(type(key) is str and key in namespace for key in cfg)
    return namespace if top_level and set(namespace) == set(cfg) else namespace["cfg"]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(max_size=4)
    | st.complex_numbers(allow_nan=False) | st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=5))
)  # fmt: skip
keys = st.text(max_size=6) | st.sampled_from(
    ["dict", "set", "float", "class", "__debug__", "lr", "ﬁ", "True", "__import__", "cfg"]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.integers() | st.tuples(st.integers()), inner, max_size=2)
        | st.sets(st.integers(), max_size=3)
        | st.frozensets(st.text(max_size=3), max_size=3)
    ),
    max_leaves=15,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_exec_reads_a_plain_config_back_equal(cfg: dict[str, Any]) -> None:
    again = read_back(cfg)
    assert again == cfg
    assert list(again) == list(cfg)
    assert repr(again) == repr(cfg) or "{" in repr(cfg)  # types too: True is not 1, a tuple is not a list


def test_nested_config_has_one_key_a_line() -> None:
    cfg = {"lr": 0.1, "model": {"type": "ResNet", "stages": [1, 2], "head": {"a-b": 1}}, "hooks": [{"type": "A"}]}
    assert dump_python(cfg) == (
        "lr = 0.1\n"
        "model = dict(\n"
        "    type='ResNet',\n"
        "    stages=[1, 2],\n"
        "    head={\n"
        "        'a-b': 1,\n"
        "    },\n"
        ")\n"
        "hooks = [\n"
        "    dict(\n"
        "        type='A',\n"
        "    ),\n"
        "]\n"
    )


def test_long_list_is_broken_one_item_a_line() -> None:
    text = dump_python({"names": ["a name of some length"] * 9})
    assert text.count("\n") == 11
    assert max(map(len, text.splitlines())) <= 120
    assert read_back({"names": ["a name of some length"] * 9}) == {"names": ["a name of some length"] * 9}


def test_key_that_is_no_name_falls_back_to_one_assignment() -> None:
    assert dump_python({"a.b": 1, "lr": 2}).startswith("cfg = {\n    'a.b': 1,\n")


def test_key_that_would_hide_a_builtin_of_the_source_is_not_assigned() -> None:
    cfg = {"dict": 1, "model": {"depth": 50}}
    assert read_back(cfg) == cfg


def test_non_finite_numbers_are_readable_source() -> None:
    again = read_back({"a": math.inf, "b": -math.inf, "c": math.nan})
    assert again["a"] == math.inf and again["b"] == -math.inf and math.isnan(again["c"])


def test_classes_and_functions_become_dotted_paths() -> None:
    again = read_back({"type": collections.OrderedDict, "fn": math.sqrt, "mine": dump_python})
    assert again["type"] == "collections.OrderedDict"
    assert get_object_from_string(again["fn"]) is math.sqrt
    assert get_object_from_string(again["mine"]).__name__ == "dump_python"


def test_live_objects_become_placeholders() -> None:
    class Live:
        pass

    again = read_back({"a": Live(), "b": lambda: 0, "c": Live, "d": np.zeros(2)})
    assert again == {"a": "<Live object>", "b": "<function object>", "c": "<type object>", "d": "<ndarray object>"}


def test_subclasses_of_plain_types_become_plain() -> None:
    class Colour(enum.IntEnum):
        RED = 3

    Pair = collections.namedtuple("Pair", "x y")
    again = read_back(
        {"a": np.float64(0.5), "b": Colour.RED, "c": Pair(1, 2), "d": collections.OrderedDict(k=np.str_("s"))}
    )
    assert again == {"a": 0.5, "b": 3, "c": (1, 2), "d": {"k": "s"}}
    assert [type(value) for value in again.values()] == [float, int, tuple, dict]


def test_set_gives_the_same_text_whatever_its_order() -> None:
    assert dump_python({"a": {"x", "y", "z"}}) == dump_python({"a": {"z", "y", "x"}}) == "a = {'x', 'y', 'z'}\n"


def test_empty_config_is_empty_source() -> None:
    assert dump_python({}) == ""


def test_something_else_than_a_mapping_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"takes a mapping, got list"):
        dump_python([1])  # type: ignore[arg-type]


def test_is_config_tells_mappings_from_objects() -> None:
    assert is_config({"type": "A"}) and is_config({}) and is_config(collections.OrderedDict(a=1))
    assert not is_config({1: 2}) and not is_config([("a", 1)]) and not is_config(None)
