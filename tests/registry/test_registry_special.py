"""The build functions of models, optimizers, schedulers and runners; scopes; views."""

# ruff: noqa: C408  (configs are written as users write them: dict(type=...))

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, NotReadyError
from drivetrain.registry import (
    MODELS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    RUNNERS,
    DefaultScope,
    Registry,
    _scope,
    _special,
    _tree,
    build_model_from_cfg,
    build_optimizer_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
    count_registered_modules,
    init_default_scope,
    set_sequential_container,
    traverse_registry_tree,
)


class Schedule:
    def __init__(self, step: int, by_epoch: bool = True) -> None:
        self.step, self.by_epoch = step, by_epoch

    @classmethod
    def build_iter_from_epoch(cls, step: int, by_epoch: bool = True, epoch_length: int = 0) -> Schedule:
        return cls(step * epoch_length, by_epoch=False)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(_scope, "warn", lines.append)
    monkeypatch.setattr(_tree, "_inform", lines.append)
    return lines


@pytest.fixture
def container() -> Iterator[None]:
    before = _special._sequential
    yield
    _special._sequential = before


def test_roots_carry_their_build_functions() -> None:
    assert MODELS.build_func is build_model_from_cfg
    assert OPTIMIZERS.build_func is build_optimizer_from_cfg
    assert PARAM_SCHEDULERS.build_func is build_scheduler_from_cfg
    assert RUNNERS.build_func is build_runner_from_cfg


@pytest.mark.usefixtures("container")
def test_a_list_of_models_builds_a_container() -> None:
    models = Registry("model", build_func=build_model_from_cfg, scope="m")
    set_sequential_container(lambda *modules: ("sequential", *modules))  # type: ignore[arg-type]
    assert models.build([dict(type=dict, a=1), dict(type=dict)]) == ("sequential", {"a": 1}, {})
    assert models.build([]) == ("sequential",)
    assert models.build(dict(type=dict, a=1)) == {"a": 1}


@pytest.mark.usefixtures("container")
def test_a_list_without_a_container_says_what_to_import() -> None:
    _special._sequential = None
    with pytest.raises(NotReadyError, match=r"Import drivetrain.model"):
        build_model_from_cfg([], Registry("model", scope="m"))


def test_an_optimizer_of_an_optional_package_gives_the_install_line() -> None:
    optimizers = Registry("optimizer", build_func=build_optimizer_from_cfg, scope="o")
    with pytest.raises(NotFoundError, match="pip install lion-pytorch"):
        optimizers.build(dict(type="Lion", params=[]))
    with pytest.raises(NotFoundError, match="not in the registry 'optimizer'"):
        optimizers.build(dict(type="NoSuchOptimizer", params=[]))


def test_a_scheduler_is_converted_on_request() -> None:
    plain = build_scheduler_from_cfg(dict(type=Schedule, step=2, epoch_length=5), PARAM_SCHEDULERS)
    assert (plain.step, plain.by_epoch) == (2, True)
    cfg = dict(type=Schedule, step=2, convert_to_iter_based=True)
    converted = PARAM_SCHEDULERS.build(cfg, default_args=dict(epoch_length=5))
    assert (converted.step, converted.by_epoch) == (10, False)
    assert cfg == dict(type=Schedule, step=2, convert_to_iter_based=True)


@pytest.mark.parametrize(
    ("extra", "reason"), [(dict(), "needs epoch_length"), (dict(epoch_length=3, by_epoch=False), "by_epoch is False")]
)
def test_a_conversion_that_cannot_be_done_says_why(extra: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=f"Schedule: .*{reason}"):
        PARAM_SCHEDULERS.build(dict(type=Schedule, step=2, convert_to_iter_based=True, **extra))


def test_a_runner_is_built_from_the_whole_config() -> None:
    runners = Registry("runner", build_func=build_runner_from_cfg, scope="r")

    class Runner:
        @classmethod
        def from_cfg(cls, cfg: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            return cls.__name__, cfg

    class Other(Runner):
        pass

    runners.register_module(module=Runner)
    runners.register_module(module=Other)
    assert runners.build(dict(model=1)) == ("Runner", dict(model=1))
    cfg = dict(runner_type="Other", model=1, _scope_="r")
    assert runners.build(cfg) == ("Other", dict(runner_type="Other", model=1))
    assert "_scope_" in cfg
    with pytest.raises(ArgumentTypeError, match="config of a runner must be a dict"):
        runners.build(3)


def test_init_default_scope_warns_only_when_it_changes(said: list[str]) -> None:
    init_default_scope("one")
    current = DefaultScope.get_current_instance()
    assert current is not None and current.scope_name == current.instance_name == "one"
    init_default_scope("one")
    assert not said
    init_default_scope("two")
    assert "was 'one' and is now 'two'" in said[0]
    init_default_scope("one")
    current = DefaultScope.get_current_instance()
    assert current is not None and current.scope_name == "one" and current.instance_name != "one"


def test_package_name_and_root_scope_are_one_default_scope(said: list[str]) -> None:
    init_default_scope("mmengine")
    init_default_scope("drivetrain")
    assert not said


def test_overwrite_default_scope_ends_with_its_block() -> None:
    with DefaultScope.overwrite_default_scope(None):
        assert DefaultScope.get_current_instance() is None
    with pytest.raises(RuntimeError), DefaultScope.overwrite_default_scope("inner"):
        current = DefaultScope.get_current_instance()
        assert current is not None and current.scope_name == "inner"
        raise RuntimeError
    assert DefaultScope.get_current_instance() is None
    assert not DefaultScope.check_instance_created("overwrite-inner")


def test_scope_name_must_be_a_str() -> None:
    with pytest.raises(ArgumentTypeError, match="scope_name must be a str"):
        DefaultScope("a", 3)  # type: ignore[arg-type]


def test_traverse_starts_at_the_root_and_goes_depth_first(said: list[str]) -> None:
    root = Registry("x", scope="a")
    child = Registry("x", parent=root, scope="b")
    Registry("x", parent=child, scope="c")
    Registry("x", parent=root, scope="d")
    child.register_module(name="Thing", module=Path)
    child.register_module(name="decode", module=json.JSONDecoder)
    found = traverse_registry_tree(child)
    assert [node["scope"] for node in found] == ["a", "b", "c", "d"]
    assert found[0] == {"num_modules": 0, "scope": "a"}
    assert found[1]["num_modules"] == 2 and found[1]["json"] == ["decode"]
    assert len(said) == 4 and "Found 2 modules" in said[1]
    traverse_registry_tree(root, verbose=False)
    assert len(said) == 4


def test_count_writes_what_it_returns(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivetrain.registry._roots.named_roots", lambda: {"X": Registry("x", scope="a")})
    result = count_registered_modules(str(tmp_path))
    assert list(result) == ["scan_date", "registries"]
    assert result["registries"] == {"X": [{"num_modules": 0, "scope": "a"}]}
    assert json.loads((tmp_path / "modules_statistic_results.json").read_text()) == result
    assert "modules_statistic_results.json" in said[-1]
