"""CheckpointHook: what is saved when, what stays, what is best, and that a resumed run goes on the same."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.checkpoint import _load_checkpoint, find_latest_checkpoint, save_checkpoint
from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError, NotFoundError
from drivetrain.hooks import CheckpointHook
from drivetrain.logging import MessageHub

log = logging.getLogger("checkpoint-hook")


class FakeRunner:
    """A run of two iterations an epoch that validates after every epoch, and saves what a runner saves."""

    def __init__(self, work_dir: Path, max_epochs: int = 4, validates: bool = True) -> None:
        self.work_dir, self.max_epochs, self.max_iters = str(work_dir), max_epochs, 2 * max_epochs
        self.epoch = self.iter = 0
        self.logger = log
        self.message_hub = MessageHub(f"hub-of-{work_dir.name}")
        self.train_loop = SimpleNamespace(stop_training=False)
        self.val_loop = object() if validates else None
        self.saves: list[tuple[str, dict[str, Any]]] = []

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: Any = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: Any = None,
        by_epoch: bool = True,
        backend_args: Any = None,
    ) -> None:
        position = {"epoch": self.epoch + by_epoch, "iter": self.iter + (not by_epoch)}
        checkpoint = {
            "meta": {**position, **(meta or {})},
            "state_dict": {"w": torch.ones(1)},
            "message_hub": self.message_hub.state_dict(),
        }
        if save_optimizer:
            checkpoint["optimizer"] = {}
        if save_param_scheduler:
            checkpoint["param_schedulers"] = []
        self.saves.append((filename, checkpoint["meta"]))
        save_checkpoint(checkpoint, os.path.join(out_dir, filename))

    def train(self, hook: CheckpointHook, scores: list[Any], stop_at: int | None = None) -> FakeRunner:
        hook.before_train(self)
        while self.epoch < self.max_epochs and not self.train_loop.stop_training:
            for index in range(2):
                hook.after_train_iter(self, index)
                self.iter += 1
            hook.after_train_epoch(self)
            self.epoch += 1
            if scores:
                score = scores[self.epoch - 1]
                hook.after_val_epoch(self, score if type(score) is dict else {"acc": score})
            self.train_loop.stop_training = self.epoch == stop_at
        hook.after_train(self)
        return self

    def resume(self, path: str) -> FakeRunner:
        checkpoint = _load_checkpoint(path)
        self.epoch, self.iter = checkpoint["meta"]["epoch"], checkpoint["meta"]["iter"]
        self.message_hub.load_state_dict(checkpoint["message_hub"])
        return self

    def infos(self) -> dict[str, Any]:
        return {key: value for key, value in self.message_hub.runtime_info.items() if "ckpt" in key or "best" in key}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_interval_and_the_last_are_saved(tmp_path: Path) -> None:
    FakeRunner(tmp_path).train(CheckpointHook(interval=3), [])
    assert files(tmp_path) == ["epoch_3.pth", "epoch_4.pth", "last_checkpoint"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_4.pth")


@pytest.mark.parametrize(
    ("arguments", "saved"),
    [
        ({"interval": -1}, ["epoch_4.pth"]),
        ({"interval": -1, "save_last": False}, []),
        ({"interval": 3, "save_last": False}, ["epoch_3.pth"]),
        ({"interval": 1, "save_begin": 2}, ["epoch_2.pth", "epoch_3.pth", "epoch_4.pth"]),
        ({"interval": 2, "save_begin": 1}, ["epoch_1.pth", "epoch_3.pth", "epoch_4.pth"]),
        ({"interval": 3, "by_epoch": False}, ["iter_3.pth", "iter_6.pth", "iter_8.pth"]),
        ({"interval": 4, "filename_tmpl": "run_{:03d}.pt"}, ["run_004.pt"]),
    ],
)
def test_intervals_begins_units_and_names(tmp_path: Path, arguments: dict[str, Any], saved: list[str]) -> None:
    runner = FakeRunner(tmp_path).train(CheckpointHook(**arguments), [])
    assert [name for name, _ in runner.saves] == saved


def test_what_a_file_says_about_its_position(tmp_path: Path) -> None:
    by_epoch = FakeRunner(tmp_path / "a", 2).train(CheckpointHook(interval=1), [])
    assert by_epoch.saves == [("epoch_1.pth", {"epoch": 1, "iter": 2}), ("epoch_2.pth", {"epoch": 2, "iter": 4})]
    by_iter = FakeRunner(tmp_path / "b", 2).train(CheckpointHook(interval=3, by_epoch=False, save_last=False), [])
    assert by_iter.saves == [("iter_3.pth", {"epoch": 1, "iter": 3})]


def test_the_log_says_when_and_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, log.name):
        FakeRunner(tmp_path, 1).train(CheckpointHook(interval=1, save_best="acc"), [0.5])
        FakeRunner(tmp_path / "iters", 1).train(CheckpointHook(interval=2, by_epoch=False, save_best="acc"), [1])
    assert [record.getMessage() for record in caplog.records] == [
        "Saving checkpoint at 1 epochs",
        "The best checkpoint with 0.5000 acc at 1 epoch is saved to best_acc_epoch_1.pth.",
        "Saving checkpoint at 2 iterations",
        "The best checkpoint with 1.0000 acc at 2 iter is saved to best_acc_iter_2.pth.",
    ]


def test_only_the_newest_stay_and_the_file_itself_knows_which(tmp_path: Path) -> None:
    runner = FakeRunner(tmp_path).train(CheckpointHook(interval=1, max_keep_ckpts=2), [])
    assert files(tmp_path) == ["epoch_3.pth", "epoch_4.pth", "last_checkpoint"]
    newest = str(tmp_path / "epoch_4.pth")
    assert runner.infos() == {"keep_ckpt_ids": [3, 4], "last_ckpt": newest, "surplus_ckpts": ["epoch_2.pth"]}
    inside = _load_checkpoint(tmp_path / "epoch_4.pth")["message_hub"]["runtime_info"]
    assert inside["keep_ckpt_ids"] == [3, 4]


def test_a_file_is_deleted_only_after_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, hook = FakeRunner(tmp_path), CheckpointHook(interval=1, max_keep_ckpts=1)
    seen = []
    save = runner.save_checkpoint

    def watched(*args: Any, **kwargs: Any) -> None:
        seen.append(files(tmp_path))
        save(*args, **kwargs)
        if runner.epoch == 2:
            raise OSError("disk is gone")

    monkeypatch.setattr(runner, "save_checkpoint", watched)
    with pytest.raises(OSError, match="disk is gone"):
        runner.train(hook, [])
    assert seen[1] == ["epoch_1.pth", "last_checkpoint"]
    assert "epoch_2.pth" in files(tmp_path)


def test_the_best_replaces_the_former_best_and_is_complete(tmp_path: Path) -> None:
    hook = CheckpointHook(interval=2, save_best="auto")
    runner = FakeRunner(tmp_path).train(hook, [0.1, 0.5, 0.3, 0.2])
    assert files(tmp_path) == ["best_acc_epoch_2.pth", "epoch_2.pth", "epoch_4.pth", "last_checkpoint"]
    best = _load_checkpoint(tmp_path / "best_acc_epoch_2.pth")
    assert {"optimizer", "param_schedulers", "message_hub"} <= set(best)
    assert best["meta"] == {"epoch": 2, "iter": 4}
    assert runner.infos()["best_score"] == 0.5
    assert hook.best_ckpt_path == runner.infos()["best_ckpt"] == str(tmp_path / "best_acc_epoch_2.pth")
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_4.pth")


def test_the_best_and_the_regular_file_of_a_step_are_one_file_that_knows_the_best(tmp_path: Path) -> None:
    runner = FakeRunner(tmp_path).train(CheckpointHook(interval=2, save_best=["acc", "auc"]), BOTH)
    assert [name for name, _ in runner.saves] == [
        "best_acc_epoch_1.pth",
        "epoch_2.pth",
        "best_acc_epoch_2.pth",
        "best_acc_epoch_3.pth",
        "epoch_4.pth",
    ]
    second = _load_checkpoint(tmp_path / "epoch_2.pth")
    assert second["message_hub"]["runtime_info"]["best_score_acc"] == 0.5
    assert second["meta"] == {"epoch": 2, "iter": 4}
    assert os.path.samefile(tmp_path / "best_auc_epoch_2.pth", tmp_path / "epoch_2.pth")
    assert not list(tmp_path.glob(".*"))


BOTH = [{"acc": acc, "auc": auc} for acc, auc in [(0.1, 0.1), (0.5, 0.9), (0.6, 0.5), (0.2, 0.5)]]


def test_where_links_cannot_be_made_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError("links are not supported here")

    monkeypatch.setattr(os, "link", no_links)
    FakeRunner(tmp_path, 2).train(CheckpointHook(interval=2, save_best=["acc", "auc"]), BOTH)
    one, two = tmp_path / "best_auc_epoch_2.pth", tmp_path / "epoch_2.pth"
    assert not os.path.samefile(one, two) and one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.1, 0.5, 0.3, 0.4], [2, 4]),
        ([0.5, 0.5, 0.5, 0.5], [1, 2]),
        ([0.4, 0.3, 0.2, 0.1], [1, 2]),
        ([float("nan"), 0.1, float("nan"), float("nan")], [2]),
    ],
)
@pytest.mark.parametrize("stop", [None, 2])
def test_the_best_few_stay(tmp_path: Path, scores: list[float], kept: list[int], stop: int | None) -> None:
    def hook() -> CheckpointHook:
        return CheckpointHook(interval=1, max_keep_ckpts=1, save_best="acc", keep_best=2)

    runner = FakeRunner(tmp_path)
    if stop:
        runner.max_epochs = stop
        runner.train(hook(), scores)
        runner = FakeRunner(tmp_path).resume(str(tmp_path / f"epoch_{stop}.pth"))
    runner.train(hook(), scores)
    assert files(tmp_path) == [*(f"best_acc_epoch_{epoch}.pth" for epoch in kept), "epoch_4.pth", "last_checkpoint"]
    best = max(kept, key=lambda epoch: (scores[epoch - 1], -epoch))
    assert runner.infos()["best_ckpt"] == str(tmp_path / f"best_acc_epoch_{best}.pth")
    assert runner.infos()["best_score"] == scores[best - 1]


def test_every_mth_stays_for_ever(tmp_path: Path) -> None:
    hook = CheckpointHook(interval=1, max_keep_ckpts=2, keep_every=4)
    FakeRunner(tmp_path, 11).train(hook, [])
    assert files(tmp_path) == ["epoch_10.pth", "epoch_11.pth", "epoch_4.pth", "epoch_8.pth", "last_checkpoint"]


def test_what_a_killed_process_left_half_written_goes_after_a_while(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    old = tmp_path / f".epoch_1.pth.{int(child.stdout)}-0123abcd.tmp"
    of_another = tmp_path / f".epoch_1.pth.{os.getppid()}-0123abcd.tmp"
    new = tmp_path / f".epoch_2.pth.{int(child.stdout)}-0123abcd.tmp"
    for path in (old, of_another, new):
        path.write_bytes(b"half")
    for path in (old, of_another):
        os.utime(path, (1, 1))
    FakeRunner(tmp_path).train(CheckpointHook(interval=-1, save_last=False), [])
    assert files(tmp_path) == sorted([of_another.name, new.name])


def test_several_metrics_have_a_best_each(tmp_path: Path) -> None:
    hook = CheckpointHook(interval=-1, save_best=["top/acc", "loss"])
    scores = [{"top/acc": 1, "loss": 2.0}, {"top/acc": 2, "loss": 3.0}, {"top/acc": 0, "loss": 1.0}]
    runner = FakeRunner(tmp_path, 3).train(hook, scores)
    assert files(tmp_path) == ["best_loss_epoch_3.pth", "best_top_acc_epoch_2.pth", "epoch_3.pth", "last_checkpoint"]
    assert runner.infos()["best_score_top/acc"] == 2 and runner.infos()["best_score_loss"] == 1.0
    assert hook.best_ckpt_path_dict["loss"] == str(tmp_path / "best_loss_epoch_3.pth")


def test_nan_is_never_best_and_tensors_and_arrays_are_numbers(tmp_path: Path) -> None:
    scores = [float("nan"), torch.tensor(0.25), np.float32(0.5), torch.tensor([0.3])]
    runner = FakeRunner(tmp_path).train(CheckpointHook(interval=-1, save_best="acc", save_last=False), scores)
    assert files(tmp_path) == ["best_acc_epoch_3.pth"]
    assert runner.infos()["best_score"] == 0.5 and type(runner.infos()["best_score"]) is float


@pytest.mark.parametrize(
    ("metrics", "error", "said"),
    [
        ({"acc": "high"}, MetricError, "single number, got 'high'"),
        ({"acc": torch.ones(2)}, MetricError, "single number"),
        ({"accc": 1.0}, NotFoundError, "Did you mean 'accc'"),
    ],
)
def test_a_metric_that_cannot_be_judged_raises(tmp_path: Path, metrics: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        FakeRunner(tmp_path).train(CheckpointHook(interval=1, save_best="acc"), [metrics])


def test_an_evaluation_without_metrics_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FakeRunner(tmp_path, 1).train(CheckpointHook(interval=1, save_best="auto"), [{}])
    assert "gave no metrics" in caplog.text


def test_save_best_without_validation_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FakeRunner(tmp_path, 1, validates=False).train(CheckpointHook(interval=1, save_best="acc"), [])
    assert "has no validation loop" in caplog.text


def test_a_validation_outside_training_saves_nothing(tmp_path: Path) -> None:
    CheckpointHook(interval=1, save_best="acc").after_val_epoch(FakeRunner(tmp_path), {"acc": 1.0})
    assert files(tmp_path) == []


def test_out_dir_takes_the_files_and_the_record_stays_in_the_work_dir(tmp_path: Path) -> None:
    work_dir, out = tmp_path / "run7", tmp_path / "out"
    FakeRunner(work_dir, 2).train(CheckpointHook(interval=1, max_keep_ckpts=1, out_dir=out, save_best="acc"), [1, 2])
    assert files(work_dir) == ["last_checkpoint"]
    assert files(out / "run7") == ["best_acc_epoch_2.pth", "epoch_2.pth"]
    assert find_latest_checkpoint(str(work_dir)) == str(out / "run7" / "epoch_2.pth")


def test_remote_out_dir_is_rotated_too(tmp_path: Path) -> None:
    FakeRunner(tmp_path / "run8", 3).train(CheckpointHook(interval=1, max_keep_ckpts=1, out_dir="memory://bucket"), [])
    assert fsspec.filesystem("memory").ls("/bucket/run8", detail=False) == ["/bucket/run8/epoch_3.pth"]


@settings(max_examples=12)
@given(
    scores=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    cut=st.integers(1, 4),
    keep=st.integers(1, 3),
    interval=st.integers(1, 2),
)
def test_a_resumed_run_ends_with_the_files_and_scores_of_one_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], cut: int, keep: int, interval: int
) -> None:
    def hook() -> CheckpointHook:
        return CheckpointHook(interval=interval, max_keep_ckpts=keep, save_best="acc")

    whole = FakeRunner(tmp_path_factory.mktemp("whole"), 5).train(hook(), scores)
    folder = tmp_path_factory.mktemp("parts")
    stopped = FakeRunner(folder, 5)
    stopped.train(hook(), scores, stop_at=cut)
    resumed = FakeRunner(folder, 5).resume(find_latest_checkpoint(folder) or "")
    resumed.train(hook(), scores)
    assert resumed.infos()["best_score"] == whole.infos()["best_score"]
    if interval == 1:  # the extra file of the stop takes a place in the rotation otherwise
        assert files(folder) == files(Path(whole.work_dir))
        assert resumed.infos()["keep_ckpt_ids"] == whole.infos()["keep_ckpt_ids"]


def test_a_smaller_number_to_keep_takes_effect_on_resume(tmp_path: Path) -> None:
    FakeRunner(tmp_path, 3).train(CheckpointHook(interval=1, max_keep_ckpts=3), [])
    runner = FakeRunner(tmp_path, 3).resume(str(tmp_path / "epoch_3.pth"))
    runner.train(CheckpointHook(interval=1, max_keep_ckpts=1), [])
    assert files(tmp_path) == ["epoch_3.pth", "last_checkpoint"]


def test_a_copied_run_does_not_delete_the_best_of_its_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    FakeRunner(original, 1).train(CheckpointHook(interval=1, save_best="acc"), [0.1])
    runner = FakeRunner(copy, 2).resume(str(original / "epoch_1.pth"))
    runner.train(CheckpointHook(interval=1, save_best="acc"), [0.1, 0.9])
    assert "best_acc_epoch_1.pth" in files(original) and "best_acc_epoch_2.pth" in files(copy)


def test_a_run_stopped_early_is_saved_where_it_stopped(tmp_path: Path) -> None:
    runner = FakeRunner(tmp_path).train(CheckpointHook(interval=2), [0, 0, 0, 0], stop_at=3)
    assert runner.saves[-1] == ("epoch_3.pth", {"epoch": 3, "iter": 6})
    again = FakeRunner(tmp_path / "b").train(CheckpointHook(interval=1), [0, 0, 0, 0], stop_at=3)
    assert [name for name, _ in again.saves] == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]


def test_published_copies_hold_the_named_keys_and_their_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = CheckpointHook(interval=2, save_best="acc", published_keys=["meta", "state_dict", "nokey"])
    FakeRunner(tmp_path, 2).train(hook, [0.5, 0.1])
    published = [name for name in files(tmp_path) if "-" in name]
    assert [name.rpartition("-")[0] for name in published] == ["best_acc_epoch_1", "epoch_2"]
    for name in published:
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert name.endswith(f"-{digest[:8]}.pth") and set(_load_checkpoint(tmp_path / name)) == {"meta", "state_dict"}
    assert "'nokey'" in caplog.text


def test_save_arguments_reach_the_runner(tmp_path: Path) -> None:
    FakeRunner(tmp_path, 1).train(CheckpointHook(interval=1, save_optimizer=False, save_param_scheduler=False), [])
    assert set(_load_checkpoint(tmp_path / "epoch_1.pth")) == {"meta", "state_dict", "message_hub"}


def test_an_unknown_argument_raises_before_training_with_the_nearest(tmp_path: Path) -> None:
    hook = CheckpointHook(interval=1, max_keep_ckpt=3)
    with pytest.raises(ArgumentTypeError, match="Did you mean 'max_keep_ckpts'"):
        hook.before_train(FakeRunner(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"interval": 0}, ArgumentError, "interval takes a number of at least 1, or -1 for never, got 0"),
        ({"interval": -2}, ArgumentError, "got -2"),
        ({"interval": "1"}, ArgumentTypeError, "whole number, got '1'"),
        ({"max_keep_ckpts": -3}, ArgumentError, "got -3"),
        ({"save_begin": -1}, ArgumentError, "got -1"),
        ({"save_best": "weird"}, ArgumentError, "Set rule='greater' or rule='less'"),
        ({"save_best": "acc", "rule": "greter"}, NotFoundError, "Did you mean 'greater'"),
        ({"save_best": ["acc", "loss"], "rule": ["less"] * 3}, ArgumentError, "3 entries for 2"),
        ({"save_best": ["acc", "auto"]}, ArgumentError, "must be alone"),
        ({"save_best": ["acc", "acc"]}, ArgumentError, "twice"),
        ({"save_best": 3}, ArgumentTypeError, "got 3"),
        ({"published_keys": 3}, ArgumentTypeError, "published_keys takes"),
        ({"filename_tmpl": "same.pth"}, ArgumentError, "must hold '{}'"),
        ({"filename_tmpl": "{epoch}.pth"}, ArgumentError, "must hold '{}'"),
        ({"file_client_args": {}, "backend_args": {}}, ArgumentError, "keep backend_args"),
    ],
)
def test_wrong_arguments_raise_at_construction(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        CheckpointHook(**arguments)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("acc", "greater"),
        ("coco/bbox_mAP_50", "greater"),
        ("val_LOSS", "less"),
        ("accuracy/top1", "greater"),
        ("AR@100", "greater"),
    ],
)
def test_the_rule_is_inferred_from_the_name(key: str, rule: str) -> None:
    assert CheckpointHook(save_best=key).rules == [rule]
    assert CheckpointHook(save_best=key, rule="less").is_better_than[key](1, 2)


def test_own_keys_decide_the_rule() -> None:
    hook = CheckpointHook(save_best=["error", "speed"], less_keys=["error"], greater_keys="speed")
    assert hook.rules == ["less", "greater"] and hook.greater_keys == ["speed"]


def test_auto_takes_its_rule_at_the_first_evaluation(tmp_path: Path) -> None:
    hook = CheckpointHook(save_best="auto", interval=-1, save_last=False)
    assert hook.rules == [None]
    FakeRunner(tmp_path, 3).train(hook, [{"loss": 3.0, "acc": 0}, {"loss": 1.0, "acc": 0}, {"loss": 2.0, "acc": 9}])
    assert files(tmp_path) == ["best_loss_epoch_2.pth"] and hook.rules == ["less"]
