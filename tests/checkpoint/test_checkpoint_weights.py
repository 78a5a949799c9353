"""Weights into a model: what matches is counted, what does not is said, and a wrong file changes nothing."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.checkpoint import (
    load_checkpoint,
    load_checkpoint_with_prefix,
    load_state_dict,
    match_state_dict,
    save_checkpoint,
)
from drivetrain.errors import ArgumentTypeError, CheckpointError, WeightsMismatchError

Net = Callable[[], nn.Module]


def small_net() -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), neck=nn.Linear(4, 4), head=nn.Linear(4, 2))
    )


def ones_like(model: nn.Module, prefix: str = "") -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + name, torch.ones_like(value)) for name, value in model.state_dict().items())


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_exact_match_is_counted_and_loaded() -> None:
    model = small_net()
    report = load_state_dict(model, ones_like(model), strict=True)
    assert report.exact and len(report.matched) == len(model.state_dict()) and report.share == 1
    assert all(bool((value == 1).all()) for value in model.state_dict().values())


def test_missing_unexpected_and_mis_shaped_entries_are_reported_and_the_rest_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, state = small_net(), ones_like(small_net())
    del state["neck.bias"]
    state["teacher.weight"] = torch.ones(1)
    state["head.weight"], state["head.bias"] = torch.ones(10, 4), torch.ones(10)
    before = values(model)
    log = logging.getLogger("weights-report")
    with caplog.at_level(logging.INFO, "weights-report"):
        report = load_state_dict(model, state, logger=log)
    assert report.missing == ("neck.bias",) and report.unexpected == ("teacher.weight",)
    assert [str(entry) for entry in report.mis_shaped] == [
        "head.weight: file (10, 4), model (2, 4)",
        "head.bias: file (10,), model (2,)",
    ]
    assert "head.weight" not in report.matched
    assert torch.equal(model.head.weight, before["head.weight"]) and bool((model.conv.weight == 1).all())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "8 of the file's 11 entries match (1 missing, 1 unexpected, 2 of another shape)" in record.getMessage()
    assert "head.weight: file (10, 4), model (2, 4)" in record.getMessage()


def test_the_static_report_equals_the_loaded_one() -> None:
    model, state = small_net(), ones_like(small_net())
    del state["neck.bias"]
    state["head.bias"] = torch.ones(10)
    assert match_state_dict(model, state) == load_state_dict(model, state)


def test_missing_batch_counters_are_ignored() -> None:
    model, state = small_net(), ones_like(small_net())
    del state["bn.num_batches_tracked"]
    assert load_state_dict(model, state, strict=True).exact


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "model.student."])
def test_a_prefix_too_many_in_the_file_is_removed_and_reported(prefix: str) -> None:
    model = small_net()
    report = load_state_dict(model, {**ones_like(model, prefix), "steps": torch.tensor(3)})
    assert report.prefix_removed == prefix and report.unexpected == ("steps",) and not report.missing
    assert bool((model.head.weight == 1).all()) and not report.exact
    assert f"the prefix {prefix!r} was removed" in str(report)


def test_a_prefix_too_few_in_the_file_is_added_and_reported() -> None:
    model = nn.ModuleDict({"backbone": small_net()})
    state = small_net().state_dict()
    report = load_state_dict(model, OrderedDict((name, torch.ones_like(value)) for name, value in state.items()))
    assert report.prefix_added == "backbone." and not report.missing and not report.unexpected
    assert bool((model["backbone"].head.weight == 1).all())


def test_a_prefix_is_not_touched_when_most_matches_as_it_stands_nor_in_strict_mode() -> None:
    model = small_net()
    state = {**ones_like(model), "ema.head.bias": torch.zeros(2)}
    assert load_state_dict(model, state).unexpected == ("ema.head.bias",)
    before = values(model)
    with pytest.raises(WeightsMismatchError, match="without strict=True the prefix would be repaired"):
        load_state_dict(model, ones_like(model, "module."), strict=True)
    assert unchanged(model, before)


def test_two_prefixes_that_fit_alike_raise_and_are_named() -> None:
    model = small_net()
    state = {**ones_like(model, "student."), **ones_like(model, "teacher.")}
    with pytest.raises(WeightsMismatchError, match="'student' or 'teacher': load_checkpoint_with_prefix"):
        load_state_dict(model, state)


def test_under_half_of_the_files_entries_raises_with_counts_and_near_names_and_changes_nothing() -> None:
    model, state = small_net(), ones_like(small_net())
    renamed = {
        name.replace("conv", "convs").replace("neck", "nek").replace("bn.", "norm."): v for name, v in state.items()
    }
    before = values(model)
    with pytest.raises(WeightsMismatchError) as raised:
        load_state_dict(model, renamed)
    text = str(raised.value)
    assert "2 of the file's 11 entries match" in text and "at least 50%" in text
    assert "nearest to the file's 'convs.weight': the model's 'conv.weight'" in text
    assert unchanged(model, before)


def test_min_match_lets_a_small_match_through() -> None:
    model = small_net()
    state = {"head.weight": torch.ones(2, 4), **{f"other.{index}": torch.ones(1) for index in range(9)}}
    with pytest.raises(WeightsMismatchError, match="min_match"):
        load_state_dict(model, state)
    assert load_state_dict(model, state, min_match=0.1).matched == ("head.weight",)
    assert bool((model.head.weight == 1).all())


def test_strict_raises_before_anything_changes() -> None:
    model, state = small_net(), ones_like(small_net())
    state["extra"] = torch.ones(1)
    before = values(model)
    with pytest.raises(WeightsMismatchError, match="strict=True asks for an exact match"):
        load_state_dict(model, state, strict=True)
    assert unchanged(model, before)


def test_an_empty_file_raises_but_a_model_without_weights_takes_it() -> None:
    with pytest.raises(WeightsMismatchError, match="0 of the file's 0"):
        load_state_dict(small_net(), {})
    assert load_state_dict(nn.ReLU(), {}, strict=True).exact


def test_a_list_is_no_state_dict() -> None:
    with pytest.raises(ArgumentTypeError, match="got list"):
        load_state_dict(small_net(), [1])  # type: ignore[arg-type]


class Renaming(nn.Linear):
    """Takes files in which its weight is called `kernel`, of any shape, as real models do for position embeddings."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        if prefix + "kernel" in state_dict:
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")[: self.out_features]
        super()._load_from_state_dict(state_dict, prefix, *args)


def adapting() -> nn.Module:
    return nn.Sequential(Renaming(2, 2, bias=False), Renaming(2, 2, bias=False), nn.Linear(2, 2, bias=False))


def old_file() -> dict[str, Tensor]:
    return {"0.kernel": torch.ones(5, 2), "1.kernel": torch.ones(5, 2), "2.weight": torch.ones(2, 2)}


@pytest.mark.parametrize("strict", [False, True])
def test_a_module_that_adapts_old_files_is_believed(strict: bool) -> None:
    model = adapting()
    report = load_state_dict(model, old_file(), strict=strict)
    assert report.exact and len(report.matched) == 3
    assert bool((model[1].weight == 1).all())


def test_a_module_that_adapts_files_is_put_back_when_even_so_it_does_not_fit() -> None:
    model = adapting()
    before, weight = values(model), model[0].weight
    with pytest.raises(WeightsMismatchError):
        load_state_dict(model, {"0.kernel": torch.ones(5, 2), **{f"x.{index}": torch.ones(1) for index in range(5)}})
    assert unchanged(model, before) and model[0].weight is weight


def test_wrappers_around_and_inside_the_model_are_looked_through() -> None:
    inner = nn.Sequential(nn.DataParallel(nn.Linear(1, 2)), nn.Linear(2, 1))
    state = {
        "0.weight": torch.ones(2, 1),
        "0.bias": torch.ones(2),
        "1.weight": torch.ones(1, 2),
        "1.bias": torch.ones(1),
    }
    assert load_state_dict(nn.DataParallel(inner), state, strict=True).exact
    assert bool((inner[0].module.weight == 1).all())


def test_post_hooks_run_once_and_see_the_missing_keys() -> None:
    model, seen = small_net(), []
    model.head.register_load_state_dict_post_hook(lambda module, keys: seen.append(list(keys.missing_keys)))
    state = ones_like(model)
    del state["neck.bias"]
    load_state_dict(model, state)
    assert seen == [["neck.bias"]]


def test_versions_in_metadata_reach_the_modules() -> None:
    seen = []

    class Versioned(nn.Linear):
        _version = 3

        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
            seen.append(local_metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    model = nn.Sequential(Versioned(1, 1))
    load_state_dict(model, model.state_dict())
    wrapped = nn.DataParallel(model).state_dict()
    load_state_dict(model, wrapped)
    assert seen == [3, 3]


def test_load_checkpoint_revises_names_and_returns_the_whole_file(tmp_path: Path) -> None:
    path, model = tmp_path / "a.pth", small_net()
    save_checkpoint({"state_dict": ones_like(model, "module.net."), "meta": {"epoch": 2}}, path)
    rules = [(r"^module\.", ""), (r"^net\.", "")]
    assert load_checkpoint(model, path, strict=True, revise_keys=rules)["meta"] == {"epoch": 2}
    assert bool((model.head.weight == 1).all())


def test_load_checkpoint_takes_a_bare_state_dict_and_strips_module(tmp_path: Path) -> None:
    path, model = tmp_path / "a.pth", small_net()
    torch.save(ones_like(model, "module."), path)
    load_checkpoint(model, str(path), strict=True)
    assert bool((model.head.weight == 1).all())


def test_load_checkpoint_points_at_weights_under_another_key(tmp_path: Path) -> None:
    save_checkpoint({"model_ema": dict(ones_like(small_net())), "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsMismatchError, match="tensors under 'model_ema'"):
        load_checkpoint(small_net(), tmp_path / "a.pth")


def test_load_checkpoint_refuses_what_is_no_dict(tmp_path: Path) -> None:
    save_checkpoint([1, 2], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(small_net(), tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_a_prefix_selects_a_part_of_a_file(tmp_path: Path, prefix: str) -> None:
    state = {**ones_like(small_net(), "backbone."), "backbones.w": torch.ones(1)}
    save_checkpoint({"state_dict": state}, tmp_path / "a.pth")
    model = small_net()
    load_state_dict(model, load_checkpoint_with_prefix(prefix, tmp_path / "a.pth"), strict=True)
    assert bool((model.conv.weight == 1).all())


def test_a_prefix_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    save_checkpoint({"state_dict": ones_like(small_net(), "backbone.")}, tmp_path / "a.pth")
    with pytest.raises(WeightsMismatchError, match=r"Did you mean 'backbone'\? .*begin with: backbone\."):
        load_checkpoint_with_prefix("bakbone", tmp_path / "a.pth")


names = st.text("ab.", min_size=1, max_size=5)


@given(st.dictionaries(names, st.integers(0, 2), max_size=6))
def test_every_entry_of_the_file_is_counted_once(shapes: dict[str, int]) -> None:
    state = {name: torch.ones(2, size) for name, size in shapes.items()}
    model = nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.ModuleDict({"a": nn.Linear(2, 2, bias=False)})})
    report = match_state_dict(model, state)
    assert report.entries == len(state) and 0 <= report.share <= 1
    assert set(report.rename(state)) == {
        *report.matched,
        *report.unexpected,
        *(entry.name for entry in report.mis_shaped),
    }


def test_matching_a_thousand_layers_is_quick() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(1000)])
    report = match_state_dict(model, {f"net.body.{name}": value for name, value in model.state_dict().items()})
    assert report.prefix_removed == "net.body."
