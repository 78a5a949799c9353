"""The text dialect: bases, braces, Python, YAML and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivetrain.config import Config, ConfigDict
from drivetrain.errors import (
    ArgumentTypeError,
    ConfigParsingError,
    DuplicateError,
    MissingFileError,
    MissingPackageError,
    NotFoundError,
)

BASE = "model = dict(type='Net', backbone=dict(depth=50, stages=(1, 2)), head=[dict(type='A', k=1)])\nlr = 3\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> Config:
        """Write files (`a_py` is 'a.py'); read the last."""
        for name, text in files.items():
            path = tmp_path / ".".join(name.rsplit("_", 1))
            path.write_text(text, encoding="utf-8")
        return Config.fromfile(path)

    return write


def test_a_child_overrides_its_bases_dict_by_dict(write: Any) -> None:
    cfg = write(
        base_py=BASE,
        data_yaml="data: {batch: 4, path: /a}\n",
        child_py="_base_ = ['base.py', 'data.yaml']\nmodel = dict(backbone=dict(depth=101), extra=1)\nnew = [1]\n",
    )
    assert cfg.model == {
        "type": "Net",
        "backbone": {"depth": 101, "stages": (1, 2)},
        "head": [{"type": "A", "k": 1}],
        "extra": 1,
    }
    assert list(cfg) == ["model", "lr", "data", "new"] and cfg.data.path == "/a"
    assert cfg.filename.endswith("child.py") and cfg.text.count(".py\n") == 2 and "batch: 4" in cfg.text


def test_delete_drops_what_the_base_has_and_leaves_no_trace(write: Any) -> None:
    cfg = write(
        base_py=BASE,
        child_py="_base_ = 'base.py'\nmodel = dict(_delete_=True, type='Q', x=dict(_delete_=True, y=1))\nn = dict(_delete_=True)\n",
    )
    assert cfg.model == {"type": "Q", "x": {"y": 1}} and cfg.n == {}


def test_values_of_the_bases_are_at_hand(write: Any) -> None:
    cfg = write(
        base_py=BASE,
        child_py="_base_ = ['base.py']\na = {{_base_.lr}}\nb = '{{ _base_.model.backbone }}'\nc = 'x{{_base_.lr}}y'\n"
        "d = [{{_base_.model.head}}]\ne = _base_.lr + 1\nf = {'{{_base_.lr}}': 1}\n_base_.model.backbone.depth = 7\n",
    )
    assert (cfg.a, cfg.b, cfg.c) == (3, {"depth": 50, "stages": (1, 2)}, "x3y")
    assert (cfg.d, cfg.e, cfg.f) == ([[{"type": "A", "k": 1}]], 4, {3: 1})
    assert cfg.model.backbone.depth == 7  # what the file changes in its base is changed
    assert [origin.line for origin in cfg.origins("model.backbone.depth")] == [1, 8]
    cfg.b.depth = 1
    assert cfg.model.backbone.depth == 7


def test_a_value_that_only_a_comment_asks_for_need_not_be_there(write: Any) -> None:
    cfg = write(c_py="a = dict(b=1,\n    # c={{_base_.gone}},\n    d=2)  # {{ _base_.too }}\n")
    assert cfg.a == {"b": 1, "d": 2}


@pytest.mark.parametrize("quote", ["", '"'])
def test_values_of_the_bases_are_at_hand_in_json_and_yaml(write: Any, quote: str) -> None:
    cfg = write(
        base_py=BASE,
        c_json=f'{{"_base_": "base.py", "a": {quote}{{{{_base_.lr}}}}{quote}, "f": "{{{{fileBasename}}}}"}}',
    )
    assert (cfg.a, cfg.f) == (3, "c.json")
    assert write(c_yaml="_base_: base.py\na: '{{_base_.model.backbone}}'\n").a.depth == 50


def test_facts_about_the_file(write: Any, tmp_path: Path) -> None:
    cfg = write(
        exp_py="a = '{{ fileBasenameNoExtension }}'\nb = '{{fileDirname}}/{{fileBasename}}'\nc = '{{ fileExtname }}'\n"
    )
    assert (cfg.a, cfg.b, cfg.c) == ("exp", f"{tmp_path.as_posix()}/exp.py", ".py")


def test_environment_variables_with_and_without_default(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVETRAIN_ROOT", "/data")
    cfg = write(c_py="a = '{{$DRIVETRAIN_ROOT:/x}}/y'\nb = {{'$DRIVETRAIN_NONE:4'}}\nc = '{{ $DRIVETRAIN_NONE:q }}'\n")
    assert (cfg.a, cfg.b, cfg.c) == ("/data/y", 4, "q") and cfg.env_variables == {"DRIVETRAIN_ROOT": "/data"}
    with pytest.raises(
        NotFoundError, match=r"d.py:2 needs the environment variable 'DRIVETRAIN_ROOD'.*'DRIVETRAIN_ROOT'"
    ):
        write(d_py="x = 1\na = '{{$DRIVETRAIN_ROOD}}'\n")


def test_functions_modules_and_dunder_names_are_no_values(write: Any) -> None:
    cfg = write(
        c_py="import os\nimport os.path as osp\n__a = 1\n_b = 2\ndef f(): pass\ng = lambda: 0\np = osp.join('a', 'b')\n"
    )
    assert cfg._cfg_dict == {"_b": 2, "p": "a/b"}


def test_a_base_of_a_package_gets_its_scope(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "somepkg" / ".mim" / "configs"
    folder.mkdir(parents=True)
    (tmp_path / "somepkg" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "b.py").write_text(
        "model = dict(type='Net', inner=dict(type='X'))\npipe = [dict(type='Load'), dict(k=dict(type='Y'))]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = write(c_py="_base_ = 'somepkg::b.py'\n")
    assert cfg.model == {"type": "Net", "inner": {"type": "X"}, "_scope_": "somepkg"}
    assert cfg.pipe == [{"type": "Load", "_scope_": "somepkg"}, {"k": {"type": "Y", "_scope_": "somepkg"}}]


@pytest.mark.parametrize(
    ("files", "kind", "help_"),
    [
        ({"c_py": "_base_ = 'bse.py'\n", "base_py": BASE}, MissingFileError, "bse.py' as its base.*'base.py'"),
        ({"b_py": BASE, "d_py": "lr = 1\n", "c_py": "_base_ = ['b.py', 'd.py']\n"}, DuplicateError, "set 'lr'.*b.py:2 and .*d.py:1"),
        ({"b_py": BASE, "c_py": "_base_ = 'b.py'\n\nlr = dict(a=1)\n"}, ArgumentTypeError, "lr .*c.py:3.*_delete_=True"),
        ({"c_py": "x = dict(a=1\n"}, ConfigParsingError, "c.py:1 is no Python.*never closed"),
        ({"c_py": "x = 1\nmodel = dict(a=lr)\nlrs = 1\n"}, ConfigParsingError, "c.py:2 fails.*NameError.*'lr'"),
        ({"c_py": "_base_ = 'c.py'\n"}, ConfigParsingError, "its own base"),
        ({"c_py": "_base_ = 3\n"}, ArgumentTypeError, "must be a path or a list of paths, got 3"),
        ({"b_py": BASE, "c_py": "_base_ = 'b.py'\na = {{_base_.modl.type}}\n"}, NotFoundError, "no 'modl' there.*'model'"),
        ({"c_py": "_base_ = 'nopkg::b.py'\n"}, MissingPackageError, "'nopkg', which is not installed"),
        ({"c_yaml": "a: [1\n"}, ConfigParsingError, "c.yaml cannot be read"),
        ({"c_yaml": "- 1\n"}, ConfigParsingError, "must hold a mapping.*list"),
        ({"c_py": "custom_imports = dict(imports=['no_such'])\n"}, MissingPackageError, "custom_imports names 'no_such'"),
        ({"c_py": "filename = 1\n"}, DuplicateError, "'filename' is a name that Config itself has"),
        ({"n_py": "with read_base():\n    from .b import *\n", "c_py": "_base_ = 'n.py'\n"}, ConfigParsingError, "n.py:1 uses .*read_base.*_base_ ="),
        ({"c_toml": "a = 1\n"}, ConfigParsingError, "ends in .py, .json"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    write: Any, files: dict[str, str], kind: type[Exception], help_: str
) -> None:
    files = dict(sorted(files.items(), key=lambda item: item[0].startswith("c_")))
    with pytest.raises(kind, match=help_):
        write(**files)


def test_custom_imports_may_fail_if_they_say_so(write: Any) -> None:
    with pytest.warns(UserWarning, match=r"'no_such' cannot be imported"):
        write(c_py="custom_imports = dict(imports='no_such', allow_failed_imports=True)\n")


def test_a_deprecated_config_says_what_to_use(write: Any) -> None:
    with pytest.warns(DeprecationWarning, match=r"use b.py instead. More: https://x"):
        cfg = write(c_py="_deprecation_ = dict(expected='b.py', reference='https://x')\nx = 1\n")
    assert cfg._cfg_dict == {"x": 1}


def test_every_value_knows_the_lines_that_set_it(write: Any) -> None:
    cfg = write(
        base_py="model = dict(\n    type='Net',\n    backbone=dict(\n        depth=50,\n    ),\n    head=dict(type='H'),\n)\npipe = [\n    dict(type='A'),\n    dict(type='B'),\n]\n",
        data_yaml="data:\n  batch: 4\n  list:\n  - a: 1\n",
        child_py="_base_ = ['base.py', 'data.yaml']\n\nmodel = dict(\n    backbone=dict(depth=101),\n    head=dict(_delete_=True, k=1))\nloader = dict(p=_base_.pipe)\nx = y = 3\nz = [i for i in range(2)]\nw = dict(q=z)\n",
    )

    def places(key: str) -> list[str]:
        return [f"{Path(origin.file).name}:{origin.line}" for origin in cfg.origins(key)]

    assert places("model.backbone.depth") == ["base.py:4", "child.py:4"]
    assert places("model.type") == ["base.py:2"]
    assert places("model.head.k") == ["child.py:5"]
    assert places("pipe.1.type") == ["base.py:10"]
    assert places("data.batch") == ["data.yaml:2"] and places("data.list.0.a") == ["data.yaml:4"]
    assert places("x") == ["child.py:7"] and places("z") == ["child.py:8"] and places("w.q") == ["child.py:9"]
    cfg.merge_from_dict({"model.backbone.depth": 18, "new.a": 1})
    assert (
        str(cfg.origins("model.backbone.depth")[-1]) == "--cfg-options"
        and len(cfg.origins("model.backbone.depth")) == 3
    )
    cfg.model.backbone.depth = 9
    assert cfg.origins("model.backbone.depth") == cfg.origins("model.backbone")
    with pytest.raises(NotFoundError, match=r"no value 'model.backbon.depth': there is no 'backbon'"):
        cfg.origins("model.backbon.depth")


def test_from_string_and_from_a_dict() -> None:
    assert Config.fromstring("a = dict(b=1)\n", ".py").a.b == 1
    assert Config.fromstring('{"a": [1]}', ".json").a == [1]
    assert Config({"a": {"b": 1}}).a == ConfigDict(b=1)
    with pytest.raises(ValueError, match=r".py, .json"):
        Config.fromstring("a = 1", ".ini")
    with pytest.raises(TypeError, match=r"must be a dict, got int"):
        Config(3)
