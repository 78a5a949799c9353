"""Runs that could be mistaken for one another, or for what they are not."""

import io
import logging

import pytest
from rich.console import Console
from toy import build, loader

from drivetrain.hooks import Hook, ProgressHook
from drivetrain.runner._hook_table import HookTable


@pytest.fixture
def warned(monkeypatch):
    """The messages of warnings in any log."""
    messages = []
    original = logging.Logger.callHandlers

    def watched(self, record):
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return original(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", watched)
    return messages


def test_two_runs_begun_in_one_second_share_neither_log_nor_hub_nor_folder(tmp_path):
    first, second = build(tmp_path), build(tmp_path)
    assert first.message_hub is not second.message_hub
    assert first.logger is not second.logger
    assert first.visualizer is not second.visualizer
    assert first.log_dir != second.log_dir


def test_the_best_score_of_one_run_is_not_the_one_to_beat_in_the_next(tmp_path):
    best = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "accuracy"}}
    runners = {name: build(tmp_path / name, default_hooks=best) for name in ("a", "b")}
    for name, runner in runners.items():
        runner.train()
        assert list((tmp_path / name).glob("best_accuracy_*.pth"))


def test_a_longer_schedule_that_the_saved_one_overrides_is_warned_about(tmp_path, warned):
    changes = {"param_scheduler": {"type": "CosineAnnealingLR", "by_epoch": True}, "log_level": "WARNING"}
    build(tmp_path, train_cfg={"max_epochs": 2}, **changes).train()
    warned.clear()
    build(tmp_path, train_cfg={"max_epochs": 2}, resume=True, **changes).train()
    assert warned == []
    build(tmp_path, train_cfg={"max_epochs": 4}, resume=True, **changes).train()
    assert len(warned) == 1 and "CosineAnnealingLR" in warned[0] and "T_max=2" in warned[0] and "load_from" in warned[0]


def test_a_hook_method_that_misses_a_point_by_a_letter_is_warned_about(warned):
    class Misspelt(Hook):
        def after_train_iters(self, runner):
            pass

    class Own(Hook):
        def after_teacher_update(self, runner):
            pass

    table = HookTable()
    table.register(Own())
    assert warned == []
    table.register(Misspelt())
    assert len(warned) == 1 and "'after_train_iters'" in warned[0] and "'after_train_iter'" in warned[0]


def test_a_default_hook_under_a_misspelt_key_is_warned_about(tmp_path, warned):
    build(tmp_path, default_hooks={"chekpoint": {"type": "CheckpointHook", "interval": 5}}, log_level="WARNING")
    assert len(warned) == 1 and "'checkpoint'" in warned[0]


def test_a_numpy_seed_is_a_seed(tmp_path):
    numpy = pytest.importorskip("numpy")
    assert build(tmp_path, randomness={"seed": numpy.int64(3)}, train_dataloader=loader()).seed == 3


def test_a_run_that_fails_gives_the_terminal_back_at_once(tmp_path):
    drawn = io.StringIO()

    class Fails(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise KeyboardInterrupt

    bar = ProgressHook(console=Console(force_terminal=True, file=drawn, width=100))
    runner = build(tmp_path, custom_hooks=[bar, Fails()])
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    hidden, shown = drawn.getvalue().rfind("\x1b[?25l"), drawn.getvalue().rfind("\x1b[?25h")
    assert 0 <= hidden < shown
