"""How `mmengine` is imported, what is the same object, and what is left behind."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from types import ModuleType
from unittest import mock

import pytest

import drivetrain.compat
from drivetrain.compat._modules import AliasModule
from drivetrain.errors import AliasError
from drivetrain.utils import is_alias_active


def drivetrain_modules() -> dict[str, dict[str, object]]:
    return {name: dict(vars(m)) for name, m in sys.modules.items() if f"{name}.".startswith("drivetrain.")}


def test_nothing_heavy_is_loaded_by_the_root_and_all_its_names(run) -> None:
    out = run(
        "-W",
        "error",
        "-c",
        "import sys, drivetrain.compat; drivetrain.compat.install()\n"
        "import mmengine\n"
        "print(mmengine.__version__, mmengine.version_info, hasattr(mmengine, 'Config'))\n"
        "for name in ('config', 'fileio', 'logging', 'registry', 'utils', 'version'): getattr(mmengine, name)\n"
        "from mmengine import Config, Registry, MMLogger, dump, load, mkdir_or_exist, list_from_file, is_list_of\n"
        "import mmengine.fileio as fileio, mmengine.config.utils, mmengine.registry.root, mmengine.logging.history_buffer\n"
        "from mmengine.utils import dl_utils\n"
        "from mmengine import *\n"
        "print('torch' in sys.modules, fileio.load is load)",
    )
    assert out.splitlines() == ["0.10.7 (0, 10, 7) True", "False True"]


def test_version_lies_in_the_window_that_packages_assert(alias: ModuleType) -> None:
    assert (0, 8, 3) <= alias.version_info < (1, 0, 0)
    assert alias.__version__ == ".".join(map(str, alias.version_info))
    version = importlib.import_module("mmengine.version")
    assert version.__version__ == alias.__version__
    assert version.parse_version_info("1.2.0rc1") == (1, 2, 0, "rc1")


def test_rooms_and_their_files_are_the_same_objects(alias: ModuleType) -> None:
    import mmengine.hooks.checkpoint_hook
    import mmengine.model.wrappers
    import mmengine.optim.scheduler
    import mmengine.runner

    import drivetrain.hooks.checkpoint_hook
    import drivetrain.model.wrappers
    import drivetrain.optim.scheduler
    import drivetrain.runner

    assert mmengine.runner is drivetrain.runner
    assert mmengine.runner.Runner is drivetrain.runner.Runner
    assert mmengine.optim.scheduler is drivetrain.optim.scheduler
    assert mmengine.model.wrappers is drivetrain.model.wrappers
    assert mmengine.hooks.checkpoint_hook is drivetrain.hooks.checkpoint_hook
    assert drivetrain.runner.__spec__.name == "drivetrain.runner"


def test_private_files_of_a_room_are_never_loaded_twice(alias: ModuleType) -> None:
    assert importlib.import_module("mmengine.runner._arguments") is sys.modules["drivetrain.runner._arguments"]
    assert importlib.util.find_spec("mmengine.runner._nothing") is None


def test_deep_modules_are_found_in_every_way(alias: ModuleType) -> None:
    import mmengine.runner.checkpoint as by_name
    from mmengine.runner import checkpoint as by_parent

    assert by_name is by_parent is importlib.import_module("mmengine.runner.checkpoint")
    assert sys.modules["mmengine.runner.checkpoint"] is by_name
    spec = importlib.util.find_spec("mmengine.runner.checkpoint")
    assert spec is not None and spec.name == "mmengine.runner.checkpoint"
    assert pkgutil.resolve_name("mmengine.runner.checkpoint:_load_checkpoint") is by_name._load_checkpoint
    assert inspect.getmodule(by_name.load_checkpoint).__name__.startswith("drivetrain.")  # type: ignore[union-attr]
    assert "load_checkpoint" in dir(by_name)
    assert importlib.reload(by_name) is by_name


def test_deep_modules_are_attributes_of_their_room_without_an_import(alias: ModuleType) -> None:
    assert alias.utils.path.mkdir_or_exist is alias.mkdir_or_exist
    assert alias.logging.history_buffer.HistoryBuffer is alias.HistoryBuffer
    assert alias.registry.root.MODELS is alias.MODELS


def test_a_name_of_mmengine_that_a_file_of_ours_lacks_is_added(alias: ModuleType) -> None:
    from mmengine.runner.runner import ConfigType, Runner

    assert Runner is sys.modules["drivetrain.runner"].Runner
    assert dict[str, object] != ConfigType


def test_a_function_is_not_hidden_by_the_module_of_its_name(alias: ModuleType) -> None:
    module = importlib.import_module("mmengine.utils.dl_utils.collect_env")
    dl_utils = importlib.import_module("mmengine.utils.dl_utils")
    assert type(module) is AliasModule
    assert callable(dl_utils.collect_env)
    assert dl_utils.collect_env is module.collect_env


def test_patching_reaches_class_attributes_and_modules_that_are_the_same(alias: ModuleType) -> None:
    import drivetrain.runner.runner

    with mock.patch("mmengine.runner.Runner.train", return_value="patched"):
        assert drivetrain.runner.Runner.train() == "patched"
    with mock.patch("mmengine.runner.runner.Runner", "patched"):
        assert drivetrain.runner.runner.Runner == "patched"
    with mock.patch("mmengine.runner.checkpoint.load_checkpoint", "patched"):
        assert importlib.import_module("mmengine.runner.checkpoint").load_checkpoint == "patched"
    assert importlib.import_module("mmengine.runner.checkpoint").load_checkpoint != "patched"


def test_classes_are_pickled_by_their_own_name_and_old_names_are_read(alias: ModuleType) -> None:
    import pickle

    from mmengine.logging import HistoryBuffer

    old = b"cmmengine.logging.history_buffer\nHistoryBuffer\n."
    assert pickle.loads(old) is HistoryBuffer
    assert b"mmengine" not in pickle.dumps(HistoryBuffer, 0)


def test_install_after_mmengine_itself_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("mmengine")
    other.__file__ = "/somewhere/mmengine/__init__.py"
    monkeypatch.setitem(sys.modules, "mmengine", other)
    with pytest.raises(AliasError, match=r"/somewhere/mmengine.*install\(\) before anything imports mmengine"):
        drivetrain.compat.install()
    assert not is_alias_active()


def test_install_twice_does_no_harm(alias: ModuleType) -> None:
    before = list(sys.path), list(sys.meta_path), dict(os.environ)
    assert drivetrain.compat.install() is alias
    assert (list(sys.path), list(sys.meta_path), dict(os.environ)) == before
    assert is_alias_active()


def test_uninstall_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runner", "hooks.hook", "utils", "model.wrappers", "optim.optimizer", "visualization"):
        importlib.import_module(f"drivetrain.{name}")
    utils = sys.modules["drivetrain.utils"]
    monkeypatch.setattr(utils, "misc", "something else", raising=False)
    before = drivetrain_modules()
    outside = list(sys.path), list(sys.meta_path), dict(os.environ)
    drivetrain.compat.install()
    for name in ("runner.checkpoint", "runner.runner", "hooks.hook", "utils.misc", "model.wrappers.utils",
                 "optim.optimizer.builder", "visualization.utils"):  # fmt: skip
        importlib.import_module(f"mmengine.{name}")
    assert "checkpoint" in vars(sys.modules["drivetrain.runner"])
    drivetrain.compat.uninstall()
    after = drivetrain_modules()
    changed = {
        name: [key for key, value in after[name].items() if value is not held.get(key)] for name, held in before.items()
    }
    assert {name: keys for name, keys in changed.items() if keys} == {}
    assert {name for name in sys.modules if f"{name}.".startswith("mmengine.")} == set()
    assert (list(sys.path), list(sys.meta_path), dict(os.environ)) == outside
    assert not is_alias_active()


def test_a_registry_under_the_alias_has_the_root_scope_as_parent(alias: ModuleType) -> None:
    from mmengine.registry import MODELS, Registry
    from mmengine.registry.root import MODELS as ROOT

    child = Registry("model", parent=MODELS, scope="h2_scope")
    try:
        assert ROOT is MODELS and child.parent is ROOT and ROOT.scope == "mmengine"
        assert child.get("mmengine.BaseDataPreprocessor") is not None
    finally:
        MODELS.children.pop("h2_scope")
