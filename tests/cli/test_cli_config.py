"""`drivetrain config show`, `explain`, `diff`, and what help and the start of the command cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from cli_parts import in_a_process

from drivetrain.cli import main
from drivetrain.config import Config

BASE = """\
model = dict(type="ResNet", depth=50, stages=(1, 2))
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))
train_pipeline = [dict(type="Load"), dict(type="Flip", prob=0.5)]
"""
CHILD = """\
_base_ = ["base.py"]
model = dict(depth=101)
optim_wrapper = dict(
    optimizer=dict(lr=0.2),
)
"""


@pytest.fixture(autouse=True)
def configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    Path("base.py").write_text(BASE, encoding="utf-8")
    Path("child.py").write_text(CHILD, encoding="utf-8")


@pytest.fixture
def out(capsys):
    """Run a command; gives its exit code and its standard output."""

    def run(*arguments: str) -> tuple[int, str]:
        return main(list(arguments)), capsys.readouterr().out

    return run


def test_show_prints_source_that_reads_back_as_the_merged_config(out):
    code, text = out("config", "show", "child.py", "--cfg-options", "model.depth=18")
    Path("shown.py").write_text(text, encoding="utf-8")
    expected = Config.fromfile("child.py")
    expected.merge_from_dict({"model.depth": 18})
    assert code == 0 and Config.fromfile("shown.py").to_dict() == expected.to_dict()


def test_show_prints_json_and_yaml(out):
    as_json = json.loads(out("config", "show", "child.py", "--json")[1])
    as_yaml = yaml.safe_load(out("config", "show", "child.py", "--yaml")[1])
    assert as_json == as_yaml
    assert as_json["model"] == {"type": "ResNet", "depth": 101, "stages": [1, 2]}


def test_show_prints_a_part(out):
    assert out("config", "show", "child.py", "optim_wrapper.optimizer.lr")[1] == "lr = 0.2\n"
    assert out("config", "show", "child.py", "train_pipeline.1.prob", "--json")[1] == "0.5\n"
    assert out("config", "show", "child.py", "train_pipeline.1")[1].startswith("value = dict(")


def test_show_imports_neither_custom_modules_nor_what_a_lazy_config_names(out):
    Path("lazy.py").write_text("from nowhere import Net\nmodel = dict(type=Net)\n", encoding="utf-8")
    assert "nowhere.Net" in out("config", "show", "lazy.py")[1]
    Path("custom.py").write_text("custom_imports = dict(imports=['nowhere'])\n", encoding="utf-8")
    assert out("config", "show", "custom.py")[0] == 0


def test_explain_lists_every_place_that_set_the_value_in_order(out):
    options = ("--cfg-options", "optim_wrapper.optimizer.lr=1", "model.depth=3")
    _, text = out("config", "explain", "child.py", "optim_wrapper.optimizer.lr", *options)
    first, *places = text.splitlines()
    assert first == "optim_wrapper.optimizer.lr = 1"
    assert [line.split()[:2] for line in places] == [
        ["set", "base.py:2"], ["overridden", "child.py:4"], ["overridden", "--cfg-options"]
    ]  # fmt: skip
    assert places[1].endswith("optimizer=dict(lr=0.2),") and places[2].endswith("optim_wrapper.optimizer.lr=1")


def test_explain_of_a_dict_prints_all_of_it(out):
    _, text = out("config", "explain", "child.py", "optim_wrapper.optimizer")
    assert "type='SGD'" in text and "child.py:4" in text


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("optim_wrapper.optimiser.lr", "Did you mean 'optim_wrapper.optimizer.lr'?"),
        ("optim_wraper", "Did you mean 'optim_wrapper'?"),
        ("lr", "Did you mean 'optim_wrapper.optimizer.lr'?"),
        ("optimizer.lr", "Did you mean 'optim_wrapper.optimizer.lr'?"),
        ("train_pipeline.7.type", "'train_pipeline' has no '7'."),
        ("model.depth.x", "'model.depth' has no 'x'."),
    ],
)
def test_a_wrong_key_is_answered_with_the_nearest_right_one(key, says, capsys):
    assert main(["config", "explain", "child.py", key]) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_diff_lists_what_differs_with_both_places(out):
    Path("other.py").write_text(CHILD + "extra = 1\n", encoding="utf-8")
    code, text = out("config", "diff", "base.py", "other.py")
    assert code == 1 and text.splitlines() == [
        "  model.depth: 50 -> 101  (base.py:1 -> other.py:2)",
        "  optim_wrapper.optimizer.lr: 0.1 -> 0.2  (base.py:2 -> other.py:4)",
        "+ extra = 1  (other.py:6)",
    ]
    assert out("config", "diff", "other.py", "base.py")[1].splitlines()[-1] == "- extra = 1  (other.py:6)"


def test_diff_tells_lists_of_other_lengths_as_wholes(out):
    Path("other.py").write_text(BASE + "train_pipeline = train_pipeline[:1]\n", encoding="utf-8")
    _, text = out("config", "diff", "base.py", "other.py")
    assert "train_pipeline: [{'type': 'Load'}, {'type': 'Flip', 'prob': 0.5}] -> [{'type': 'Load'}]" in text


def test_diff_of_equal_configs_is_silent(out):
    assert out("config", "diff", "base.py", "base.py") == (0, "")


def test_diff_compares_sources_on_request(out):
    code, text = out("config", "diff", "base.py", "child.py", "--text")
    assert code == 1 and "-    depth=50," in text and "+    depth=101," in text


@pytest.mark.parametrize("command", [["confg"], ["config", "shwo"], ["trian"]])
def test_a_misspelt_command_is_answered_with_the_nearest(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "Did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[], ["train"], ["val"], ["test"], ["config"], ["config", "show"], ["config", "explain"], ["config", "diff"], ["config", "check"], ["env"], ["demo"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: drivetrain {' '.join(command)}".rstrip()) and len(text) > 200


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["config", "show", "child.py"], ["config", "explain", "child.py", "model.depth"], ["config", "diff", "base.py", "child.py"], ["config", "check", "--help"]],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_need_no_torch_load_none(arguments):
    code = f"""
import sys
from drivetrain.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
loaded = [name for name in ("torch", "numpy", "rich", "fsspec", "drivetrain.compat") if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = in_a_process(code)
    assert done.returncode == 0, done.stderr


def test_env_names_versions_devices_and_optional_packages(out):
    import torch

    code, text = out("env")
    assert code == 0 and torch.__version__ in text and "torchvision" in text and "drivetrain" in text
