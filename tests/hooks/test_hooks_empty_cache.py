"""EmptyCacheHook: at the points asked for, and only with an accelerator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy import build

from drivetrain.hooks import EmptyCacheHook
from drivetrain.hooks import empty_cache_hook as room


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        ({}, 4),  # two epochs of training, two of validation
        ({"after_epoch": False}, 0),
        ({"before_epoch": True}, 8),
        ({"after_epoch": False, "after_iter": True}, 2 * 5 + 2 * 2),
    ],
)
def test_it_empties_at_the_points_asked_for(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, bool], times: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(room, "_empty_cache", lambda: calls.append(1))
    runner = build(
        tmp_path,
        train_cfg={"by_epoch": True, "max_epochs": 2},
        default_hooks={"checkpoint": None},
        custom_hooks=[{"type": "EmptyCacheHook", **arguments}],
    )
    runner.train()
    assert len(calls) == times


@pytest.mark.skipif(torch.accelerator.is_available(), reason="says what happens without an accelerator")
def test_without_an_accelerator_nothing_happens() -> None:
    EmptyCacheHook(before_epoch=True)._before_epoch(None)  # type: ignore[arg-type]


def test_with_an_accelerator_its_cache_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: calls.append(1))
    EmptyCacheHook()._after_epoch(None)  # type: ignore[arg-type]
    assert calls == [1]
