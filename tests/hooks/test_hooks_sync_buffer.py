"""SyncBuffersHook: one averaging per epoch, of floating buffers alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from drivetrain.hooks import SyncBuffersHook
from drivetrain.hooks import sync_buffer_hook as room


def test_alone_nothing_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "all_reduce_params", lambda *args, **kwargs: pytest.fail("nobody to talk to"))
    hook, runner = SyncBuffersHook(), SimpleNamespace(model=nn.BatchNorm1d(2))
    hook.after_train_epoch(runner)
    hook.before_val_epoch(runner)
    assert not hook.distributed and not hook.called_in_train


def test_a_validation_after_a_training_epoch_does_not_reduce_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(room, "all_reduce_params", lambda buffers, op: calls.append((len(buffers), op)))
    hook, runner = SyncBuffersHook(), SimpleNamespace(model=nn.BatchNorm1d(2))
    hook.distributed = True
    hook.after_train_epoch(runner)
    hook.before_val_epoch(runner)
    assert calls == [(2, "mean")]
    hook.before_val_epoch(runner)
    assert calls == [(2, "mean")] * 2
