"""LogProcessor: the tag dict and the line, letter by letter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.logging import HistoryBuffer, MessageHub
from drivetrain.runner import LogProcessor


def make_runner(steps: int = 25, batches: int = 20, rates: tuple[str, ...] = ("lr",), trained: bool = True) -> Any:
    """A run of `max_epochs` 12 after `steps` steps whose loss was 0, 1, 2 ..."""
    hub = MessageHub.get_instance(f"processor-{len(MessageHub._instance_dict)}")
    loop = SimpleNamespace(dataloader=range(batches)) if trained else None
    evaluation = SimpleNamespace(dataloader=range(7))
    for step in range(steps if trained else 0):
        for rate in rates:
            hub.update_scalar(f"train/{rate}", 0.01)
        hub.update_scalar("train/data_time", 0.25)
        hub.update_scalar("train/grad_norm", torch.tensor(2.0))
        hub.update_scalar("train/loss", torch.tensor(float(step)))
        hub.update_scalar("train/acc", step / 100)
        hub.update_scalar("train/count", step)
        hub.update_scalar("train/time", 0.5)
    for mode in ("val", "test"):
        for step in range(7):
            hub.update_scalar(f"{mode}/data_time", 0.1 * step)
            hub.update_scalar(f"{mode}/time", 0.2 * step)
    hub.update_info("eta", 93784.6)
    return SimpleNamespace(
        message_hub=hub,
        _train_loop=loop,
        train_loop=loop,
        val_loop=evaluation,
        test_loop=evaluation,
        epoch=1 if trained else 0,
        iter=steps - 1 if trained else 0,
        max_epochs=12,
        max_iters=240,
    )


def with_results(runner: Any, mode: str) -> Any:
    hub = runner.message_hub
    hub.update_scalar(f"{mode}/acc", 0.5)
    hub.update_scalar(f"{mode}/n", 5)
    hub.update_info(f"{mode}/name", "hi")
    hub.update_info(f"{mode}/arr", np.arange(3))
    hub.update_info(f"{mode}/rate", 0.12345)
    return runner


def after_step(runner: Any, mode: str = "train", batch_idx: int = 4, **kwargs: Any) -> tuple[dict[str, Any], str]:
    return LogProcessor(**kwargs).get_log_after_iter(runner, batch_idx, mode)


FIELDS = (
    "eta: 1 day, 2:03:04  time: 0.5000  data_time: 0.2500  grad_norm: 2.0000  loss: 19.5000  acc: 0.2400  count: 24"
)


def test_a_training_line_by_epoch() -> None:
    tag, line = after_step(make_runner())
    assert line == f"Epoch(train)  [2][ 5/20]  lr: 1.0000e-02  {FIELDS}"
    assert list(tag.items()) == [
        ("lr", 0.01),
        ("data_time", 0.25),
        ("grad_norm", 2.0),
        ("loss", 19.5),
        ("acc", 0.24),
        ("count", 24),
        ("time", 0.5),
        ("epoch", 2),
        ("iter", 25),
    ]


def test_a_training_line_by_iteration() -> None:
    tag, line = after_step(make_runner(), by_epoch=False, batch_idx=24)
    assert line == f"Iter(train) [ 25/240]  lr: 1.0000e-02  {FIELDS}"
    assert list(tag)[-2:] == ["time", "iter"]


def test_the_epoch_is_as_wide_as_the_last_one() -> None:
    runner = make_runner(batches=1000)
    runner.max_epochs = 100
    assert after_step(runner)[1].startswith("Epoch(train)   [2][   5/1000]  lr")


@pytest.mark.parametrize("rates", [("base_lr", "lr"), ("gen.lr", "disc.lr")])
def test_several_learning_rates_share_their_place(rates: tuple[str, str]) -> None:
    assert f"]  {rates[0]}: 1.0000e-02 {rates[1]}: 1.0000e-02  eta" in after_step(make_runner(rates=rates))[1]


def test_digits_are_counted_after_the_point() -> None:
    assert "lr: 1.00e-02  eta: 1 day, 2:03:04  time: 0.50" in after_step(make_runner(), num_digits=2)[1]


def test_names_that_match_the_pattern_are_smoothed() -> None:
    tag, _ = after_step(make_runner(), mean_pattern="^acc$", window_size=5)
    assert tag["acc"] == pytest.approx(0.22) and tag["loss"] == 24.0


def test_without_times_the_line_has_no_eta() -> None:
    runner = make_runner()
    runner.message_hub.log_scalars.pop("train/data_time")
    line = after_step(runner)[1]
    assert line == (
        "Epoch(train)  [2][ 5/20]  lr: 1.0000e-02  grad_norm: 2.0000  loss: 19.5000  acc: 0.2400  count: 24"
        "  time: 0.5000"
    )


def test_hierarchy_is_kept_in_the_dict_not_in_the_line() -> None:
    tag, line = after_step(make_runner(), log_with_hierarchy=True)
    assert list(tag) == [f"train/{key}" for key in ("lr", "data_time", "grad_norm", "loss", "acc", "count", "time")] + [
        "epoch",
        "iter",
    ]
    assert "train/" not in line


def test_memory_is_shown_with_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogProcessor, "_get_max_memory", lambda self, runner: 123)
    tag, line = after_step(make_runner())
    assert "data_time: 0.2500  memory: 123  grad_norm" in line and list(tag)[-1] == "memory"
    assert after_step(make_runner(), "val")[1].endswith("memory: 123  ")


def test_evaluation_steps_show_times_only() -> None:
    times = "eta: 1 day, 2:03:04  time: 0.6000  data_time: 0.3000  "
    runner = with_results(make_runner(), "val")
    assert after_step(runner, "val", 3)[1] == f"Epoch(val)  [1][4/7]    {times}"
    assert after_step(runner, "val", 3, by_epoch=False)[1] == f"Iter(val) [4/7]    {times}"
    assert after_step(runner, "test", 3)[1] == f"Epoch(test) [4/7]    {times}"
    assert after_step(runner, "test", 3, by_epoch=False)[1] == f"Iter(test) [4/7]    {times}"
    assert {mode: list(after_step(runner, mode, 3)[0])[-2:] for mode in ("val", "test")} == {
        "val": ["epoch", "iter"],
        "test": ["time", "iter"],
    }


def test_a_validation_without_training_is_epoch_zero() -> None:
    tag, line = after_step(make_runner(trained=False), "val", 3)
    assert line.startswith("Epoch(val)[0][4/7]    eta")
    assert (tag["epoch"], tag["iter"]) == (0, 0)


def test_a_train_loop_that_is_only_a_config_is_no_training() -> None:
    runner = make_runner(trained=False)
    runner._train_loop = {"by_epoch": True}
    assert after_step(runner, "val", 3)[0]["iter"] == 0


@pytest.mark.parametrize(
    ("mode", "by_epoch", "head"),
    [("val", True, "Epoch(val) [1]"), ("val", False, "Iter(val) "), ("test", True, "Epoch(test) ")],
)
def test_results_come_first_and_times_last(mode: str, by_epoch: bool, head: str) -> None:
    processor = LogProcessor(by_epoch=by_epoch)
    tag, line = processor.get_log_after_epoch(with_results(make_runner(), mode), 7, mode)
    assert line == (
        f"{head}[7/7]    acc: 0.5000  n: 5  name: hi  arr: \n[0 1 2]\n  rate: 0.1235  data_time: 0.3000  time: 0.6000"
    )
    assert list(tag) == ["acc", "n", "data_time", "time"]


def test_results_that_are_no_numbers_are_given_on_request() -> None:
    runner = with_results(make_runner(), "test")
    tag, _ = LogProcessor().get_log_after_epoch(runner, 7, "test", with_non_scalar=True)
    assert list(tag) == ["acc", "n", "name", "arr", "rate", "data_time", "time"]


def test_results_keep_the_hierarchy_in_both() -> None:
    processor = LogProcessor(log_with_hierarchy=True)
    tag, line = processor.get_log_after_epoch(with_results(make_runner(), "val"), 7, "val")
    assert list(tag) == ["val/acc", "val/n", "val/data_time", "val/time"]
    assert "val/data_time: 0.3000  val/time: 0.6000" in line


def test_times_of_a_validation_are_means_over_exactly_its_batches() -> None:
    runner = make_runner()
    runner.message_hub.begin_epoch("val/")
    for value in (10.0, 20.0):
        runner.message_hub.update_scalar("val/time", value)
        runner.message_hub.update_scalar("val/data_time", value)
    tag, _ = LogProcessor().get_log_after_epoch(runner, 2, "val")
    assert tag == {"data_time": 15.0, "time": 15.0}


def test_a_loader_without_length_is_counted() -> None:
    runner = make_runner()
    runner.train_loop.dataloader = runner.val_loop.dataloader = iter(())
    assert after_step(runner)[1].startswith("Epoch(train)  [2][5]  lr")
    assert LogProcessor().get_log_after_epoch(runner, 7, "val")[1].startswith("Epoch(val) [1][7/7]    data_time")


@pytest.mark.parametrize(("window", "expected"), [("epoch", 22.0), ("global", 12.0), (3, 23.0), (1, 24.0), (40, 12.0)])
def test_a_custom_number_is_added_at_the_end(window: Any, expected: float) -> None:
    entry = {"data_src": "loss", "log_name": "avg", "method_name": "mean", "window_size": window}
    tag, line = after_step(make_runner(), custom_cfg=[entry])
    assert tag["avg"] == expected and tag["loss"] == 19.5
    assert list(tag)[-3:] == ["avg", "epoch", "iter"]
    assert line.endswith(f"count: 24  avg: {expected:.4f}")


def test_a_custom_number_without_a_name_takes_the_place_of_its_source() -> None:
    entries = [
        {"data_src": "loss", "method_name": "max", "window_size": 5},
        {"data_src": "lr", "method_name": "mean", "window_size": "global"},
        {"data_src": "acc", "log_name": "last", "method_name": "current"},
        {"data_src": "nothing", "method_name": "mean", "window_size": 5},
    ]
    tag, line = after_step(make_runner(), custom_cfg=entries)
    assert list(tag)[3] == "loss" and tag["loss"] == 24.0 and tag["last"] == 0.24
    assert "]  lr: 1.0000e-02  eta" in line and "nothing" not in line


def test_named_windows_longer_than_the_hub_keeps_are_exact() -> None:
    runner = make_runner(steps=700, batches=1000)
    entries = [
        {"data_src": "loss", "log_name": f"{window}_mean", "method_name": "mean", "window_size": window}
        for window in ("epoch", "global")
    ]
    runner.message_hub.begin_epoch("train/", 2)
    for step in range(700, 1100):
        runner.message_hub.update_scalar("train/loss", torch.tensor(float(step)))
    runner.iter = 1099
    tag, _ = after_step(runner, batch_idx=399, custom_cfg=entries)
    assert tag["epoch_mean"] == pytest.approx(np.mean(range(700, 1100)))
    assert tag["global_mean"] == pytest.approx(np.mean(range(1100)))
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 100


def test_the_hub_keeps_as_much_as_the_longest_window() -> None:
    entry = {"data_src": "loss", "log_name": "long", "method_name": "mean", "window_size": 250}
    processor = LogProcessor(custom_cfg=[entry])
    runner = make_runner()
    processor.get_log_after_iter(runner, 0, "train")
    assert runner.message_hub.retain() == 250


def test_a_registered_statistic_gets_its_own_arguments() -> None:
    try:

        @HistoryBuffer.register_statistics
        def first(buffer: HistoryBuffer, window_size: int = 1, scale: float = 1.0) -> float:
            return float(buffer.data[0][-window_size]) * scale

        entry = {"data_src": "loss", "log_name": "first", "method_name": "first", "window_size": "epoch", "scale": 2.0}
        assert after_step(make_runner(), custom_cfg=[entry])[0]["first"] == 40.0
    finally:
        HistoryBuffer._statistics_methods.pop("first", None)


def test_a_log_point_reads_the_device_once() -> None:
    runner = make_runner()
    after_step(runner)
    assert runner.message_hub.flush_count == 1


MEAN = {"data_src": "loss", "method_name": "mean"}


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"window_size": 0}, "window_size must be an int of at least 1"),
        ({"window_size": "epoch"}, "window_size must be an int"),
        ({"custom_cfg": [{"method_name": "mean"}]}, r"custom_cfg\[0\] needs the key 'data_src'"),
        ({"custom_cfg": [{"data_src": "loss"}]}, "needs the key 'method_name'"),
        ({"custom_cfg": [{"data_src": "loss", "method_name": "maen"}]}, "Did you mean 'mean'"),
        ({"custom_cfg": [{**MEAN, "windowsize": 2}]}, "Did you mean 'window_size'"),
        ({"custom_cfg": [{**MEAN, "window_size": "globl"}]}, "Did you mean 'global'"),
        ({"custom_cfg": [{**MEAN, "window_size": 0}]}, "at least 1"),
        ({"custom_cfg": [{**MEAN, "window_size": "epoch"}], "by_epoch": False}, "no epochs with by_epoch=False"),
        ({"custom_cfg": [{"data_src": "a", "method_name": "current", "window_size": 2}]}, "takes no window"),
        ({"custom_cfg": [MEAN, MEAN]}, "another entry has"),
    ],
)
def test_what_cannot_be_logged_is_refused_at_once(kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        LogProcessor(**kwargs)


@pytest.mark.parametrize("custom_cfg", [{"a": 1}, [1]])
def test_custom_cfg_is_a_list_of_dicts(custom_cfg: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="dict"):
        LogProcessor(custom_cfg=custom_cfg)


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="'trian'"):
        after_step(make_runner(), "trian")
    with pytest.raises(ArgumentError, match="'val' or 'test'"):
        LogProcessor().get_log_after_epoch(make_runner(), 7, "train")


def test_parts_that_subclasses_build_on() -> None:
    processor, runner = LogProcessor(), make_runner()
    assert processor._get_iter(runner, batch_idx=3) == 4
    assert processor._get_dataloader_size(runner, "val") == 7
    assert processor._get_cur_loop(runner, "val") is runner.val_loop
    assert processor._remove_prefix("val/acc", "val/") == "acc"
    assert next(iter(processor._collect_scalars([], runner, "train", True))) == "train/lr"
    parsed = processor._parse_windows_size(runner, 4, [{"data_src": "a", "window_size": "global"}])
    assert parsed == [{"data_src": "a", "window_size": 25}]
