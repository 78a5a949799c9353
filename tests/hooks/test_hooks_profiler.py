"""ProfilerHook: what is recorded, when it ends, and where recordings go."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from toy import build, only_training

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.hooks import ProfilerHook, check_kineto


def train(tmp_path: Any, log_level: str = "ERROR", **arguments: Any) -> ProfilerHook:
    runner = build(
        tmp_path,
        log_level=log_level,
        **only_training(),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        default_hooks={"checkpoint": None},
        custom_hooks=[{"type": "ProfilerHook", **arguments}],
    )
    runner.train()
    return next(hook for hook in runner.hooks if type(hook) is ProfilerHook)


# torch's, once a process: each recording holds its own cycle of the schedule alone. That is what is wanted here.
@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, [5]),
        ({"profile_times": 2}, [10]),
        ({"by_epoch": False, "profile_times": 3}, [3]),
        ({"by_epoch": False, "profile_times": 7}, [7]),
        ({"by_epoch": False, "profile_times": 8, "schedule": {"wait": 1, "warmup": 1, "active": 2}}, [4, 8]),
        ({"profile_times": 2, "schedule": {"wait": 1, "warmup": 1, "active": 2, "repeat": 1}}, [4]),
    ],
)
def test_recordings_are_handed_over_when_they_are_complete(tmp_path: Any, arguments: Any, steps: list[int]) -> None:
    handed: list[int] = []
    hook = train(tmp_path, on_trace_ready=lambda profiler: handed.append(profiler.step_num), **arguments)
    assert handed == steps and hook.profiler is None


def test_the_trace_for_perfetto_holds_the_steps_asked_for(tmp_path: Any) -> None:
    path = tmp_path / "traces" / "step.json"
    train(tmp_path, by_epoch=False, profile_times=2, record_shapes=True, json_trace_path=str(path))
    names = [event.get("name") for event in json.loads(path.read_text())["traceEvents"]]
    assert names.count("aten::convolution") == 2


def test_a_table_goes_to_the_log(tmp_path: Any) -> None:
    table = {"type": "log_trace", "sort_by": "cpu_time_total", "row_limit": 4}
    train(tmp_path, "INFO", by_epoch=False, on_trace_ready=table)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert "ProfilerHook, by cpu_time_total" in text and "ProfilerHook is done" in text


def test_files_for_tensorboard_lie_under_the_log_dir(tmp_path: Any) -> None:
    train(tmp_path, by_epoch=False, on_trace_ready={"type": "tb_trace", "worker_name": "me"})
    (file,) = tmp_path.rglob("*.pt.trace.json")
    assert file.parent.name == "tf_tracing_logs" and file.name.startswith("me.")


def test_a_training_that_stops_before_ends_the_recording(tmp_path: Any) -> None:
    class Stops(ProfilerHook):
        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any) -> None:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            runner.train_loop.stop_training = True

    handed: list[int] = []
    hook = Stops(profile_times=2, on_trace_ready=lambda profiler: handed.append(profiler.step_num))
    build(tmp_path, **only_training(), default_hooks={"checkpoint": None}, custom_hooks=[hook]).train()
    assert handed == [5] and hook.profiler is None


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"profile_times": 0}, ArgumentError, "at least 1, got 0"),
        ({"activity_with_cpu": False}, ArgumentError, "nothing to record"),
        ({"schedule": 5}, ArgumentTypeError, "schedule takes a dict"),
        ({"schedule": {"wat": 1}}, ArgumentTypeError, "has no 'wat'.*Did you mean 'wait'"),
        ({"schedule": {"wait": 1}}, ArgumentError, "lacks warmup, active"),
        ({"on_trace_ready": 5}, ArgumentError, "a function, a dict or None, got 5"),
        ({"on_trace_ready": {"type": "log_trac"}}, ArgumentError, "Did you mean 'log_trace'"),
        ({"on_trace_ready": {"type": "tb_trace", "dirname": "x"}}, ArgumentTypeError, "Did you mean 'dir_name'"),
        ({"on_trace_ready": {"type": "tb_trace"}, "json_trace_path": "x"}, ArgumentError, "a recording once"),
    ],
)
def test_wrong_arguments_raise_at_construction(arguments: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ProfilerHook(**arguments)


def test_more_than_the_training_has_raises_before_the_first_step(tmp_path: Any) -> None:
    with pytest.raises(ArgumentError, match="profile_times=3 epochs, and training has 2"):
        train(tmp_path, profile_times=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_its_activity_is_left_out(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    hook = train(tmp_path, activity_with_cuda=True)
    assert [str(activity) for activity in hook.activities] == ["ProfilerActivity.CPU"]
    with pytest.raises(ArgumentError, match="records nothing without a GPU"):
        train(tmp_path / "alone", activity_with_cpu=False, activity_with_cuda=True)


def test_kineto_is_a_fact_about_torch() -> None:
    assert check_kineto() is torch.autograd.kineto_available()
