"""Every module path and name of the contract is there, or says why it is not."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from drivetrain.compat import why_left_out
from drivetrain.compat._left_out import LEFT_OUT, REASONS
from drivetrain.compat._modules import known_modules, names_of, resolve, twin_of
from drivetrain.errors import LeftOutError

PATHS = json.loads((Path(__file__).parent / "paths.json").read_text())
MODULES = [module for module in PATHS if module != "mmengine"]
LEFT = sorted(path for paths in LEFT_OUT.values() for path in paths.split())


def below(module: str, name: str) -> str:
    return f"{module}.{name}".partition(".")[2]


@pytest.mark.parametrize("module", PATHS)
def test_module_is_importable_and_holds_its_names(alias: ModuleType, module: str) -> None:
    found = importlib.import_module(module)
    names = [name for name in PATHS[module] if why_left_out(below(module, name)) is None]
    missing = [name for name in names if not hasattr(found, name)]
    assert missing == []


def test_every_entry_of_the_table_resolves() -> None:
    targets = {target for path in known_modules() for target in names_of(path).values()}
    missing = []
    for target in sorted(targets):
        try:
            resolve(target)
        except (ImportError, AttributeError):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("path", LEFT)
def test_left_out_name_says_why_and_what_to_use(alias: ModuleType, path: str) -> None:
    module, _, name = f"mmengine.{path}".rpartition(".")
    assert name in PATHS[module], "the contract has no such name"
    with pytest.raises(AttributeError, match=f"mmengine.{path} exists in MMEngine and is left out of drivetrain: "):
        getattr(importlib.import_module(module), name)


def test_import_of_a_left_out_name_says_why_too(alias: ModuleType) -> None:
    with pytest.raises(LeftOutError, match=r"FlexibleRunner exists in MMEngine .* Use drivetrain.runner.Runner"):
        exec("from mmengine.runner import FlexibleRunner")
    with pytest.raises(LeftOutError, match=r"_strategy.DDPStrategy exists in MMEngine"):
        exec("from mmengine._strategy import DDPStrategy")
    with pytest.raises(LeftOutError, match="load_from_pavi exists in MMEngine"):
        exec("from mmengine.runner.checkpoint import load_from_pavi")
    assert not hasattr(alias._strategy, "DDPStrategy")


def test_reasons_are_all_used_and_name_a_way_out() -> None:
    assert set(LEFT_OUT) == set(REASONS)
    assert all(any(word in reason for word in ("Use ", "Write ", "Register ", "Import ", "goes ", "go "))
               for reason in REASONS.values())  # fmt: skip


def test_unknown_names_and_modules_are_told_with_the_nearest(alias: ModuleType) -> None:
    checkpoint = importlib.import_module("mmengine.runner.checkpoint")
    with pytest.raises(AttributeError, match=r"'mmengine.runner.checkpoint' has no .*Did you mean 'load_checkpoint'"):
        _ = checkpoint.load_chekpoint
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mmengine.runer'"):
        importlib.import_module("mmengine.runer")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mmengine.compat'"):
        importlib.import_module("mmengine.compat")


def test_no_deep_module_takes_the_place_of_something_else_in_a_room() -> None:
    """The import system sets a sub-module as an attribute of its parent, which is a room of drivetrain."""
    taken = []
    for path in known_modules():
        parent, _, name = path.rpartition(".")
        if parent and twin_of(parent) and not twin_of(path):
            taken += [path] if name in vars(importlib.import_module(twin_of(parent) or "")) else []
    assert taken == []


def test_star_import_of_the_root_gives_all_of_its_names(alias: ModuleType) -> None:
    names: dict[str, object] = {}
    exec("from mmengine import *", names)
    public = {name for name in PATHS["mmengine"] if not name.startswith("_")}
    assert public - set(names) == {name for name in public if why_left_out(name)}
    assert len(PATHS["mmengine"]) == 128


def test_star_import_of_a_deep_module_gives_its_names_and_no_more(alias: ModuleType) -> None:
    names: dict[str, object] = {}
    exec("from mmengine.structures.instance_data import *", names)
    assert set(names) - {"__builtins__"} == {"InstanceData", "BoolTypeTensor", "LongTypeTensor", "IndexType"}
