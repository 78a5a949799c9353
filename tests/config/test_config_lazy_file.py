"""The Python dialect: `read_base`, lazy imports."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from drivetrain.config import Config
from drivetrain.errors import BuildError, ConfigParsingError, MissingFileError

BASE = "from collections_extra import Net\nimport torchy.optim\nmodel = dict(type=Net, sub=dict(opt=torchy.optim.SGD, k=[dict(a=1)]))\nx = 1\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files: str) -> Config:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Config.fromfile(path)

    return write


def test_a_child_changes_what_its_bases_set(write: Any) -> None:
    cfg = write(
        base=BASE,
        sub__other="y = dict(a=1)\nz = 2\n",
        child="from drivetrain.config import read_base\n\nwith read_base():\n    from .base import *\n"
        "    from .sub.other import y as yy, z\n\nmodel.update(depth=5)\nmodel.sub.k[0].b = Net\nyy.a = 3\ndel z\n",
    )
    assert cfg.to_dict() == {
        "model": {
            "type": "collections_extra.Net",
            "sub": {"opt": "torchy.optim.SGD", "k": [{"a": 1, "b": "collections_extra.Net"}]},
            "depth": 5,
        },
        "x": 1,
        "yy": {"a": 3},
    }
    assert cfg.to_dict(keep_imported=True)["Net"] == "collections_extra.Net"
    assert [f"{Path(o.file).name}:{o.line}" for o in cfg.origins("model.sub.k.0.b")] == ["child.py:8"]
    assert [f"{Path(o.file).name}:{o.line}" for o in cfg.origins("yy.a")] == ["other.py:1", "child.py:9"]
    assert [f"{Path(o.file).name}:{o.line}" for o in cfg.origins("model.type")] == ["base.py:3"]


def test_the_mark_may_come_from_the_root_that_the_config_was_written_for(write: Any) -> None:
    assert (
        write(
            b="x = 1\n", c="from mmengine.config import read_base\nwith read_base():\n    from .b import x\ny = x + 1\n"
        ).y
        == 2
    )


def test_what_is_imported_is_there_when_it_is_read(write: Any) -> None:
    cfg = write(
        tool__code="from collections import OrderedDict as Net\n", tool____init__="",
        c="from tool.code import Net\nimport tool.code as code\na = dict(type=Net, again=code.Net)\n",
    )  # fmt: skip
    assert cfg.a.type is OrderedDict and cfg.a.again is OrderedDict


def test_pythons_own_modules_are_no_reason_to_be_lazy_and_work(write: Any) -> None:
    cfg = write(
        b="y = 1\n",
        c="import os\nfrom io import StringIO\n_base_ = 'b.py'\nx = os.path.join('a', 'b')\nz = StringIO('t').read()\n",
    )
    assert (cfg.x, cfg.y, cfg.z) == ("a/b", 1, "t")
    cfg = write(d="import os.path as osp\nfrom nopkg import Net\nx = osp.join('a', 'b')\nm = dict(type=Net)\n")
    assert cfg.x == "a/b" and cfg.to_dict()["m"] == {"type": "nopkg.Net"}


def test_a_dump_reads_back_equal(write: Any, tmp_path: Path) -> None:
    cfg = write(
        base=BASE,
        c="from drivetrain.config import read_base\nwith read_base():\n    from .base import *\nx = (1, 'a')\n",
    )
    cfg.dump(tmp_path / "out.py")
    assert Config.fromfile(tmp_path / "out.py").to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    ("files", "kind", "help_"),
    [
        ({"c": "from pkg import Net\nm = Net(3)\n"}, BuildError, r"pkg.Net was called.*c.py, line 1.*dict\(type=Net"),
        ({"c": "from pkg import *\n"}, ConfigParsingError, "c.py:1: name what is imported from pkg"),
        ({"c": "from pkg import a\nfrom .b import x\n"}, ConfigParsingError, "c.py:2: a base is imported under"),
        ({"b": "rate = 1\n", "c": "with read_base():\n    from .b import rates\n"}, ConfigParsingError, "c.py:2 imports 'rates'.*'rate'"),
        ({"c": "with read_base():\n    from .nob import x\n"}, MissingFileError, "nob.py"),
        ({"b": "\n_base_ = 'x.py'\n", "c": "with read_base():\n    from .b import *\n"}, ConfigParsingError, "b.py:2 uses `_base_ = "),
        ({"c": "with read_base():\n    import b\n"}, ConfigParsingError, "c.py:2: under .* only"),
        ({"c": "with read_base():\n    from .c import x\n"}, ConfigParsingError, "its own base"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_said_with_its_place(
    write: Any, files: dict[str, str], kind: type[Exception], help_: str
) -> None:
    with pytest.raises(kind, match=help_):
        write(**files)
