"""EarlyStoppingHook: when it stops, and that a stop survives a restart."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import ToyAccuracy, assert_same_weights, build, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.evaluator import BaseMetric
from drivetrain.hooks import EarlyStoppingHook


def runner() -> Any:
    return SimpleNamespace(
        logger=logging.getLogger("early-stopping"), train_loop=SimpleNamespace(stop_training=False), val_loop=object()
    )


def validations(hook: EarlyStoppingHook, scores: list[float], there: Any = None) -> int | None:
    """The number of the validation (from 1) that stops training, or None."""
    there = there or runner()
    for number, score in enumerate(scores, 1):
        hook.after_val_epoch(there, {hook.monitor: score})
        if there.train_loop.stop_training:
            return number
    return None


@pytest.mark.parametrize(
    ("arguments", "scores", "stops"),
    [
        ({"monitor": "acc", "patience": 2, "min_delta": 0.1}, [0.5, 0.55, 0.57], 3),
        ({"monitor": "acc", "patience": 2, "min_delta": 0.1}, [0.5, 0.55, 0.625, 0.5, 0.75], None),
        ({"monitor": "acc", "patience": 2, "min_delta": 0.25}, [0.5, 0.75, 1.0], None),
        ({"monitor": "val_loss", "patience": 2, "min_delta": 0.1}, [0.5, 0.45, 0.43], 3),
        ({"monitor": "val_loss", "patience": 1, "min_delta": 0.1}, [0.5, 0.375, 0.4], 3),
        ({"monitor": "loss", "rule": "greater", "patience": 1, "min_delta": 0.0}, [1.0, 2.0, 1.5], 3),
        ({"monitor": "acc", "patience": 0}, [0.5, 0.7, 0.7], 3),
        ({"monitor": "acc", "stopping_threshold": 0.9}, [0.5, 0.9, 0.95], 3),
        ({"monitor": "loss", "stopping_threshold": 0.1}, [0.5, 0.1, 0.05], 3),
        ({"monitor": "acc"}, [0.5, math.nan], 2),
        ({"monitor": "loss"}, [0.5, math.inf], 2),
        ({"monitor": "acc", "check_finite": False, "patience": 2}, [0.5, math.nan, math.nan], 3),
        ({"monitor": "acc", "check_finite": False, "patience": 2}, [math.nan, 0.5, 0.75, 1.0], None),
    ],
)
def test_it_stops_when_it_should(arguments: dict[str, Any], scores: list[float], stops: int | None) -> None:
    assert validations(EarlyStoppingHook(**arguments), scores) == stops


@given(st.lists(st.integers(-4, 4), max_size=12), st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_it_counts_results_since_the_best(scores: list[int], delta: int, patience: int, less: bool) -> None:
    hook = EarlyStoppingHook("x", "less" if less else "greater", min_delta=delta, patience=patience)
    stopped = validations(hook, [-score if less else score for score in scores])
    best, waited, expected = -math.inf, 0, None
    for number, score in enumerate(scores, 1):
        best, waited = (score, 0) if score - best >= delta else (best, waited + 1)
        if waited == patience:
            expected = number
            break
    assert (stopped, hook.wait_count) == (expected, waited)
    assert hook.best_score == (-best if less else best)


def test_a_tensor_of_one_element_is_a_score() -> None:
    hook = EarlyStoppingHook("acc")
    hook.after_val_epoch(runner(), {"acc": torch.tensor(0.5)})
    assert type(hook.best_score) is float


def test_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    validations(EarlyStoppingHook("acc", patience=1), [0.5, 0.5])
    assert "acc has not improved on 0.5 1 times in a row" in caplog.text


def test_a_missing_metric_warns_and_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    hook, there = EarlyStoppingHook("acc", patience=1), runner()
    hook.after_val_epoch(there, {"accuracy": 0.5})
    hook.after_val_epoch(there, None)
    assert "which gave 'accuracy'" in caplog.text and hook.wait_count == 0 and not there.train_loop.stop_training


def test_a_missing_metric_raises_when_strict() -> None:
    with pytest.raises(NotFoundError, match=r"monitor='acc'.*Did you mean 'ac'"):
        EarlyStoppingHook("acc", strict=True).after_val_epoch(runner(), {"ac": 0.5})


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"monitor": "recall"}, ArgumentError, "monitor='recall': the name does not say"),
        ({"monitor": "acc", "rule": "larger"}, NotFoundError, "must be 'greater', 'less' or None, got 'larger'"),
        ({"monitor": ["acc"]}, ArgumentTypeError, "the name of one metric"),
        ({"monitor": "acc", "patience": -1}, ArgumentError, "at least 0, got -1"),
        ({"monitor": "acc", "patience": 1.5}, ArgumentTypeError, "whole number"),
        ({"monitor": "acc", "min_delta": "0.1"}, ArgumentTypeError, "min_delta takes a number, got '0.1'"),
    ],
)
def test_wrong_arguments_raise_at_construction(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        EarlyStoppingHook(**arguments)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_restored_hook_stops_where_the_whole_one_does(cut: int) -> None:
    scores = [0.1, 0.5, 0.4, 0.45, 0.3, 0.2]
    first = EarlyStoppingHook("acc", patience=3)
    stopped = validations(first, scores[:cut])
    second = EarlyStoppingHook("acc", patience=3)
    second.load_state_dict(first.state_dict())
    there = runner()
    second.before_train(there)
    assert there.train_loop.stop_training == (stopped is not None)
    if stopped is None:
        assert cut + (validations(second, scores[cut:]) or 99) == 5


def test_a_stopped_run_that_is_resumed_says_how_to_go_on(caplog: pytest.LogCaptureFixture) -> None:
    hook, there = EarlyStoppingHook("acc", patience=2), runner()
    hook.load_state_dict({"best_score": 0.5, "wait_count": 2})
    hook.before_train(there)
    assert there.train_loop.stop_training and "raise patience (now 2)" in caplog.text
    patient, there = EarlyStoppingHook("acc", patience=3), runner()
    patient.load_state_dict({"best_score": 0.5, "wait_count": 2})
    patient.before_train(there)
    assert not there.train_loop.stop_training


def test_a_run_without_validation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    there = runner()
    there.val_loop = None
    EarlyStoppingHook("acc").before_train(there)
    assert "has no effect: the run has no validation loop" in caplog.text
    with pytest.raises(NotFoundError, match="no validation loop"):
        EarlyStoppingHook("acc", strict=True).before_train(there)


class Series(BaseMetric):
    """Gives the same scores in every run, by the number of the epoch."""

    scores = (0.2, 0.6, 0.5, 0.7, 0.65, 0.6, 0.9)

    def __init__(self) -> None:
        super().__init__()
        self.runner: Any = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"acc": self.scores[self.runner.epoch - 1]}


def run(tmp_path: Any, priority: str = "LOWEST", **changes: Any) -> Any:
    metric = Series()
    made = build(
        tmp_path,
        val_evaluator=metric,
        train_cfg={"by_epoch": True, "max_epochs": 7},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "acc"}},
        custom_hooks=[{"type": "EarlyStoppingHook", "monitor": "acc", "patience": 2, "priority": priority}],
        **changes,
    )
    metric.runner = made
    made.train()
    return made, next(hook for hook in made.hooks if type(hook) is EarlyStoppingHook)


@pytest.mark.parametrize("start", ["epoch_1", "epoch_2", "epoch_3", "epoch_5", "best"])
def test_a_run_resumed_from_any_checkpoint_stops_where_the_whole_one_did(tmp_path: Any, start: str) -> None:
    whole, first = run(tmp_path / "whole")
    assert whole.epoch == 6 and first.wait_count == 2 and first.best_score == 0.7
    name = "best_acc_epoch_4.pth" if start == "best" else f"{start}.pth"
    again, second = run(tmp_path / "again", load_from=str(tmp_path / "whole" / name), resume=True)
    assert again.epoch == 6 and second.state_dict() == first.state_dict()
    assert_same_weights(weights_of(whole), weights_of(again))


@pytest.mark.parametrize("priority", ["NORMAL", "VERY_LOW", "LOWEST"])
def test_each_result_counts_once_wherever_the_hook_stands(tmp_path: Any, priority: str) -> None:
    made, hook = run(tmp_path, priority)
    assert made.epoch == 6 and hook.state_dict() == {"best_score": 0.7, "wait_count": 2}


def test_equal_results_in_one_dict_count_each_time() -> None:
    hook, metrics = EarlyStoppingHook("acc", patience=9), {"acc": 0.5}
    for _ in range(4):
        hook.after_val_epoch(runner(), metrics)
    assert hook.wait_count == 3


def test_the_file_of_the_best_already_counts_its_result(tmp_path: Any) -> None:
    run(tmp_path)
    best = torch.load(tmp_path / "best_acc_epoch_4.pth", weights_only=True)
    assert best["drivetrain"]["hooks"]["EarlyStoppingHook"] == {"best_score": 0.7, "wait_count": 0}


def test_a_run_that_improves_goes_to_its_end(tmp_path: Any) -> None:
    made = build(
        tmp_path,
        val_evaluator=ToyAccuracy(),
        custom_hooks=[{"type": "EarlyStoppingHook", "monitor": "accuracy", "patience": 9}],
    )
    made.train()
    assert made.epoch == 3
