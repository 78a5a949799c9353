"""`Config`: options over values, dumps, copies, differences."""

from __future__ import annotations

import copy
import pickle
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.config import Config, ConfigDict, DictAction
from drivetrain.errors import ArgumentTypeError, NotFoundError

names = st.text("abcxyz", min_size=1, max_size=3)  # none of them is 'new'
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
values = st.recursive(
    json_values,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.integers(), inner),
    max_leaves=6,
)
top = names.filter(lambda name: name not in ("text", "filename"))


def dumped_and_read(cfg: Config, suffix: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"c{suffix}"
        cfg.dump(path)
        return Config.fromfile(path)


@given(st.dictionaries(top, values, max_size=4))
def test_python_source_reads_back_equal(given: dict[str, Any]) -> None:
    cfg = Config(given)
    assert dumped_and_read(cfg, ".py")._cfg_dict == given
    assert Config.fromstring(cfg.pretty_text, ".py")._cfg_dict == given


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
@given(given=st.dictionaries(top, json_values, max_size=4))
def test_json_and_yaml_read_back_equal(suffix: str, given: dict[str, Any]) -> None:
    assert dumped_and_read(Config(given), suffix)._cfg_dict == given


@given(
    st.dictionaries(top, st.dictionaries(names, json_values, max_size=3), min_size=1, max_size=3),
    st.data(),
    json_values,
)
def test_an_option_sets_its_value_and_no_other(given: dict[str, Any], data: st.DataObject, value: Any) -> None:
    key = data.draw(st.sampled_from(sorted(given)))
    cfg = Config(copy.deepcopy(given))
    cfg.merge_from_dict({f"{key}.new": value})
    expected = copy.deepcopy(given)
    expected[key]["new"] = value
    assert cfg._cfg_dict == expected


def test_options_change_items_of_lists() -> None:
    cfg = Config({"p": [{"type": "A"}, {"type": "B", "k": [1, 2]}], "t": (1,)})
    cfg.merge_from_dict({"p.0.type": "C", "p.1.k.-1": 5, "p.1.new": 1})
    assert cfg.p == [{"type": "C"}, {"type": "B", "k": [1, 5], "new": 1}]
    with pytest.raises(NotFoundError, match=r"p is a list of 2 items and has no index 7"):
        cfg.merge_from_dict({"p.7.type": "C"})
    with pytest.raises(ArgumentTypeError, match=r"'x' is no index"):
        cfg.merge_from_dict({"p.x": 1})
    with pytest.raises(ArgumentTypeError, match=r"t \(--cfg-options\) is a dict.*tuple"):
        cfg.merge_from_dict({"t.0": 1})
    with pytest.raises(ArgumentTypeError, match=r"p .*is a dict.*list"):
        cfg.merge_from_dict({"p.0.type": "Z"}, allow_list_keys=False)
    assert cfg.p[0].type == "C"


def test_copies_and_pickles_are_equal_and_apart() -> None:
    cfg = Config({"a": {"b": [1]}})
    for other in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert other._cfg_dict == cfg._cfg_dict and other.a is not cfg.a
    assert cfg.copy().a is cfg.a and type(cfg.copy()) is Config
    assert (len(cfg), list(cfg), "a" in cfg, cfg["a"].b) == (1, ["a"], True, [1])
    cfg.c = {"d": 1}
    assert type(cfg.c) is ConfigDict and repr(cfg).startswith("Config (path: None): {'a'")
    del cfg.c, cfg["a"]
    assert len(cfg) == 0


def test_diff_shows_the_lines_that_differ() -> None:
    text = Config.diff(Config({"a": 1, "b": 2}), Config({"a": 1, "b": 3}))
    assert "-b = 2" in text and "+b = 3" in text and "-a" not in text


def test_a_parser_with_an_option_for_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.py"
    path.write_text("lr = 0.1\nmodel = dict(depth=18, flag=False)\nsizes = [1, 2]\n")
    monkeypatch.setattr("sys.argv", ["train", str(path), "--model.depth", "50"])
    parser, cfg = Config.auto_argparser("train")
    arguments = vars(parser.parse_args())
    assert arguments["model.depth"] == 50 and cfg.model.depth == 18


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a=1", 1), ("a=1.5", 1.5), ("a=1e-3", 0.001), ("a=TRUE", True), ("a=false", False), ("a=None", None), ("a=none", "none"),
        ("a=[1,2]", [1, 2]), ("a=(1,)", (1,)), ("a=1,x", [1, "x"]), ("a=[(1,2),[a,b],c]", [(1, 2), ["a", "b"], "c"]),
        ("a='x y'", "x y"), ("a=b=c", "b=c"), ("a=", ""), ("a=[]", []), ("a=(a,b),(c,d)", [("a", "b"), ("c", "d")]),
    ],
)  # fmt: skip
def test_options_of_the_command_line(given: str, expected: Any) -> None:
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    assert parser.parse_args(["--cfg-options", given]).cfg_options == {"a": expected}


def test_options_add_up_and_a_pair_without_a_sign_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    given = ["--cfg-options", "a=1", "b.c=2", "--cfg-options", "a=3"]
    assert parser.parse_args(given).cfg_options == {"a": 3, "b.c": 2}
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", "lr"])
    assert "takes key=value, got 'lr'" in capsys.readouterr().err
