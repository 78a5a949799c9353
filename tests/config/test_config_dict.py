"""`ConfigDict`: attributes for keys, lazy imports built on reading."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.config import ConfigDict, LazyObject
from drivetrain.errors import ArgumentTypeError, BuildError, MissingAttributeError, MissingPackageError

names = st.text("abcxyz", min_size=1, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(names, inner),
    max_leaves=12,
)
plain_dicts = st.dictionaries(names, values, max_size=4)


def test_keys_are_attributes_at_every_depth() -> None:
    cfg = ConfigDict(a={"b": [{"c": 1}], "t": ({"d": 2},)})
    assert cfg.a.b[0].c == 1 and cfg.a.t[0].d == 2
    cfg.a.new = {"x": {"y": 3}}
    assert cfg.a.new.x.y == 3 and cfg["a"]["new"]["x"]["y"] == 3
    del cfg.a.new
    assert "new" not in cfg.a


def test_what_is_missing_is_a_key_error_or_an_attribute_error() -> None:
    cfg = ConfigDict(depth=1)
    with pytest.raises(KeyError, match=r"dept"):
        cfg["dept"]
    with pytest.raises(AttributeError, match=r"has no attribute 'dept'") as caught:
        cfg.dept  # noqa: B018
    assert caught.value.obj is cfg and "depth" in dir(cfg)
    with pytest.raises(AttributeError, match=r"has no attribute"):
        del cfg.dept
    assert not hasattr(cfg, "dept") and cfg.get("dept", 3) == 3 and cfg.pop("dept") is None


def test_a_name_of_dict_cannot_be_set_as_an_attribute() -> None:
    with pytest.raises(AttributeError, match=r"write cfg"):
        ConfigDict().items = 3


@given(plain_dicts)
def test_a_config_equals_the_plain_dict_it_came_from(given: dict[str, Any]) -> None:
    cfg = ConfigDict(given)
    assert cfg == given and given == cfg and cfg.to_dict() == given
    assert type(cfg.to_dict()) is dict and dict(**cfg) == given
    assert copy.deepcopy(cfg) == given and pickle.loads(pickle.dumps(cfg)) == given and copy.copy(cfg) == given
    assert ConfigDict(list(given.items())) == given


@given(plain_dicts)
def test_json_takes_it_for_a_dict(given: dict[str, Any]) -> None:
    assert json.loads(json.dumps(ConfigDict(given))) == json.loads(json.dumps(given))


def test_update_goes_into_dicts_and_replaces_the_rest() -> None:
    cfg = ConfigDict(a={"b": 1}, c=[1])
    cfg.update({"a": {"d": 2}, "c": {"e": 3}}, f=4)
    assert cfg == {"a": {"b": 1, "d": 2}, "c": {"e": 3}, "f": 4}
    cfg.update([("a", {"b": 5})])
    assert cfg.a == {"b": 5, "d": 2}
    assert (cfg | {"a": {"z": 1}}).a.z == 1 and "z" not in ConfigDict(cfg.deepcopy()).c
    with pytest.raises(ArgumentTypeError, match=r"takes one dict"):
        cfg.update({}, {})


def test_a_shallow_copy_shares_values_and_a_deep_one_does_not() -> None:
    cfg = ConfigDict(a={"b": 1})
    assert cfg.copy().a is cfg.a
    assert cfg.deepcopy().a is not cfg.a


def test_merge_honours_delete() -> None:
    cfg = ConfigDict(a={"b": 1, "c": 2}, d={"e": 1})
    cfg.merge({"a": {"b": 5}, "d": {"_delete_": True, "f": 2}})
    assert cfg == {"a": {"b": 5, "c": 2}, "d": {"f": 2}}


def test_lazy_imports_are_built_when_they_are_read_and_only_then() -> None:
    cfg = ConfigDict(type=LazyObject("collections", "OrderedDict"), missing=LazyObject("no_such_package", "Net"))
    from collections import OrderedDict

    assert cfg.type is OrderedDict and cfg["type"] is OrderedDict and cfg.get("type") is OrderedDict
    assert ConfigDict(type=LazyObject("collections", "OrderedDict")).items() == [("type", OrderedDict)]
    assert {**ConfigDict(type=LazyObject("collections", "OrderedDict"))}["type"] is OrderedDict
    assert cfg.to_dict() == {"type": "collections.OrderedDict", "missing": "no_such_package.Net"}
    assert pickle.loads(pickle.dumps(cfg)) == cfg and copy.deepcopy(cfg) == cfg and repr(cfg)
    with pytest.raises(MissingPackageError, match=r"no_such_package"):
        cfg.missing  # noqa: B018


def test_a_lazy_import_says_what_is_wrong_with_it() -> None:
    with pytest.raises(MissingAttributeError, match=r"no 'OrderedDickt', imported in a.py, line 3.*'OrderedDict'"):
        LazyObject("collections", "OrderedDickt", "a.py, line 3").build()
    with pytest.raises(BuildError, match=r"torch.nn.Linear was called while the config was read.*dict\(type=Linear"):
        LazyObject("torch.nn", "Linear")(3, 4)
    with pytest.raises(MissingAttributeError, match=r"'json' has no 'lods'.*'loads'"):
        LazyObject("json").lods.build()


def test_attributes_of_a_lazy_module_are_lazy_too() -> None:
    import concurrent.futures

    pool = LazyObject("concurrent").futures.ThreadPoolExecutor
    assert pool.dotted_path == "concurrent.futures.ThreadPoolExecutor" and str(pool) == "ThreadPoolExecutor"
    assert pool.build() is concurrent.futures.ThreadPoolExecutor
