"""Why a name is not found: each reason has its own message."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivetrain.errors import BuildError, NotFoundError
from drivetrain.registry import Registry


def named(name: str) -> type:
    return type(name, (), {})


@pytest.fixture
def models() -> Registry:
    root = Registry("engine", scope="base")
    detector = Registry("engine", parent=root, scope="det")
    segmentor = Registry("engine", parent=root, scope="seg")
    for registry, names in ((root, ["ResNet", "VGG"]), (detector, ["FasterRCNN"]), (segmentor, ["UPerHead"])):
        for name in names:
            registry.register_module(module=named(name))
    return root


def message(registry: Registry, kind: str) -> str:
    with pytest.raises(NotFoundError) as raised:
        registry.build(dict(type=kind))
    assert isinstance(raised.value, KeyError)
    return str(raised.value)


@pytest.mark.parametrize("wrong", ["ReNet", "resnet", "Resnet", "ResNets"])
def test_a_misspelt_name_gets_the_nearest(models: Registry, wrong: str) -> None:
    text = message(models, wrong)
    assert f"'{wrong}' is not in the registry 'engine' (scope 'base')" in text
    assert "Did you mean 'ResNet'?" in text


def test_a_child_also_hears_its_parents_names(models: Registry) -> None:
    assert "Did you mean 'ResNet'?" in message(models.children["det"], "ReNet")


def test_a_misspelt_name_of_another_scope_is_given_with_its_prefix(models: Registry) -> None:
    assert "Did you mean 'det.FasterRCNN'?" in message(models, "FasterRCN")


def test_a_misspelt_name_after_a_prefix(models: Registry) -> None:
    assert "Did you mean 'FasterRCNN'?" in message(models, "det.FasterRCN")


@pytest.mark.parametrize(("asked", "kind"), [(None, "UPerHead"), ("det", "UPerHead"), (None, "det.UPerHead")])
def test_a_name_of_another_scope_says_which(models: Registry, asked: str | None, kind: str) -> None:
    text = message(models.children[asked] if asked else models, kind)
    assert "registered in scope 'seg' as 'seg.UPerHead'" in text
    assert "default_scope='seg'" in text
    assert "custom_imports" not in text


def test_a_name_of_another_registry_says_which(models: Registry) -> None:
    tools = Registry("tool", scope="base")
    tools.register_module(module=named("Hammer"))
    assert "'Hammer' is not an engine, but the registry 'tool' has it" in message(models, "Hammer")


def test_a_registry_not_filled_yet_is_filled_to_find_the_name(
    models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    tools = Registry("tool", scope="base", locations=["tools_for_explain_test"])
    monkeypatch.setattr("builtins.tools_for_explain_test", tools, raising=False)
    (tmp_path / "tools_for_explain_test.py").write_text("tools_for_explain_test.register_module('Saw', module=len)")
    assert "the registry 'tool' has it" in message(models, "Saw")


def test_roots_of_the_package_are_named_as_they_are_imported() -> None:
    from drivetrain.registry import TASK_UTILS, TRANSFORMS

    TRANSFORMS.register_module(name="FlipForTest", module=named("FlipForTest"))
    try:
        assert "'FlipForTest' is not a task util, but TRANSFORMS has it" in message(TASK_UTILS, "FlipForTest")
    finally:
        del TRANSFORMS.module_dict["FlipForTest"]


def test_a_module_never_imported_gives_the_fix(models: Registry) -> None:
    text = message(models, "SomethingOfMyOwn")
    assert "never imported" in text and "custom_imports=dict(imports=[" in text and "Did you mean" not in text


def test_an_empty_registry_says_so() -> None:
    assert "Nothing is registered in it" in message(Registry("void", scope="v"), "Thing")


def test_an_unknown_scope_names_the_package(models: Registry) -> None:
    text = message(models, "no_such_pkg.ResNet")
    assert "There is no scope 'no_such_pkg' here, and the package 'no_such_pkg' cannot be imported" in text
    assert "registered in scope 'base' as 'base.ResNet'" in text


def test_a_path_whose_package_is_not_installed(models: Registry) -> None:
    assert "the package 'no_such_pkg' cannot be imported" in message(models, "no_such_pkg.models.Thing")


def test_a_path_with_a_wrong_end_says_which_part_is_missing(models: Registry) -> None:
    text = message(models, "collections.OrderdDict")
    assert "'collections' can be imported and has no 'OrderdDict'. Did you mean 'OrderedDict'" in text


def test_a_package_without_registries_says_what_to_check(models: Registry) -> None:
    assert "`import json.registry` creates a child" in message(models, "json.Thing")


def test_a_path_whose_import_raises_chains_the_error(
    models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising_module_for_test.py").write_text("raise OSError('disk on fire')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BuildError, match=r"'raising_module_for_test' .* raised OSError: disk on fire") as raised:
        models.build(dict(type="raising_module_for_test.Thing"))
    assert isinstance(raised.value.__cause__, OSError)


def test_a_broken_neighbour_does_not_hide_the_answer(models: Registry) -> None:
    Registry("engine", parent=models, scope="broken", locations=["no_such_module_at_all"])
    assert "Did you mean 'ResNet'?" in message(models, "ReNet")
