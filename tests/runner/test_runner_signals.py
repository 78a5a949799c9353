"""A run that is told to end is saved at the end of its step, leaves with a stated code, and goes on as if never stopped."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from toy import Recorder, assert_same_weights, build, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.hooks import Hook
from drivetrain.runner import TrainingInterrupted
from drivetrain.runner.loops import EpochBasedTrainLoop

EPOCHS = {"by_epoch": True, "max_epochs": 3}
ITERATIONS = {"by_epoch": False, "max_iters": 11, "val_interval": 4}


class RaiseAt(Hook):
    """Sends this process signals at a point of a certain training step, or batch of a validation."""

    def __init__(self, step, *numbers, validation=False):
        self.step, self.numbers, self.validation = step, numbers, validation

    def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
        if runner.iter == self.step and (mode == "val") == self.validation:
            for number in self.numbers:
                signal.raise_signal(number)


class Draws(Hook):
    """Has validations draw from the generator that training draws from."""

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        torch.rand(1)


def run(work_dir, train_cfg, *hooks, **changes):
    """The runner, what was recorded and what `train` raised."""
    recorder, caught = Recorder(), None
    runner = build(work_dir, train_cfg=train_cfg, custom_hooks=[recorder, *hooks], **changes)
    try:
        runner.train()
    except (SystemExit, KeyboardInterrupt) as error:
        caught = error
    return runner, recorder, caught


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
@pytest.mark.parametrize("step", [0, 6, 9, 10])  # step 9 is the last of an epoch, and 10 of the run by iteration
def test_a_run_that_was_ended_goes_on_as_if_it_never_was(tmp_path, train_cfg, step):
    whole, recorded, _ = run(tmp_path / "whole", train_cfg)
    _, begun, _ = run(tmp_path / "cut", train_cfg, RaiseAt(step, signal.SIGTERM))
    resumed, rest, _ = run(tmp_path / "cut", train_cfg, resume=True)
    assert len(begun.losses) == step + 1
    assert begun.ids + rest.ids == recorded.ids
    assert all(torch.equal(a, b) for a, b in zip(begun.losses + rest.losses, recorded.losses, strict=True))
    assert begun.metrics + rest.metrics == recorded.metrics
    assert_same_weights(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_a_validation_is_abandoned_and_made_again(tmp_path, train_cfg):
    whole, recorded, _ = run(tmp_path / "whole", train_cfg, Draws())
    step = 5 if train_cfg is EPOCHS else 8
    _, begun, caught = run(tmp_path / "cut", train_cfg, Draws(), RaiseAt(step, signal.SIGTERM, validation=True))
    assert caught.checkpoint == str(tmp_path / "cut" / f"iter_{step}.pth")
    assert begun.points.count("after_val_iter") % 2 == 1  # validations have two batches
    resumed, rest, _ = run(tmp_path / "cut", train_cfg, Draws(), resume=True)
    assert begun.metrics + rest.metrics == recorded.metrics
    assert all(torch.equal(a, b) for a, b in zip(begun.losses + rest.losses, recorded.losses, strict=True))
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_validation_with_averaged_weights_is_abandoned_with_both_kept(tmp_path):
    ema = {"type": "EMAHook", "momentum": 0.1}
    whole, recorded, _ = run(tmp_path / "whole", EPOCHS, ema)
    run(tmp_path / "cut", EPOCHS, ema, RaiseAt(5, signal.SIGTERM, validation=True))
    resumed, rest, _ = run(tmp_path / "cut", EPOCHS, ema, resume=True)
    assert rest.metrics == recorded.metrics
    assert_same_weights(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_the_exit_code_and_the_file_are_told(tmp_path, number, code):
    _, recorded, caught = run(tmp_path, EPOCHS, RaiseAt(6, number))
    assert type(caught) is TrainingInterrupted
    assert (caught.code, caught.reason) == (code, number.name)
    assert caught.checkpoint == (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_7.pth")
    assert recorded.points[-1] == "after_run"
    assert "after_train" not in recorded.points


def test_sigint_is_a_keyboard_interrupt_that_says_where_the_run_was_saved(tmp_path):
    _, _, caught = run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGINT))
    assert type(caught) is KeyboardInterrupt
    assert f"{tmp_path / 'iter_7.pth'}; resume=True" in str(caught)


def test_a_second_sigint_stops_at_once(tmp_path):
    _, recorded, caught = run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGINT, signal.SIGINT))
    assert type(caught) is KeyboardInterrupt
    assert len(recorded.losses) == 6
    assert not (tmp_path / "iter_7.pth").exists()


def test_the_first_reason_counts_and_the_run_is_saved_once(tmp_path):
    _, recorded, caught = run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1))
    assert caught.reason == "SIGUSR1"
    assert recorded.points.count("before_save_checkpoint") == 2  # epoch 1, and now


def test_a_signal_after_the_last_step_leaves_a_whole_run(tmp_path):
    class AtTheEnd(Hook):
        def after_train(self, runner):
            signal.raise_signal(signal.SIGTERM)

    _, recorded, caught = run(tmp_path, EPOCHS, AtTheEnd())
    assert (caught.code, caught.checkpoint) == (143, None)
    assert len(recorded.metrics) == 3


def test_a_run_without_a_checkpoint_hook_is_saved_into_its_work_dir(tmp_path):
    none = {"default_hooks": {"checkpoint": None}}
    whole, *_ = run(tmp_path / "whole", EPOCHS, **none)
    _, _, caught = run(tmp_path / "cut", EPOCHS, RaiseAt(6, signal.SIGTERM), **none)
    assert caught.checkpoint == str(tmp_path / "cut" / "iter_7.pth")
    resumed, rest, _ = run(tmp_path / "cut", EPOCHS, resume=True, **none)
    assert len(rest.losses) == 8
    assert_same_weights(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_save_in_the_background_is_complete_before_the_run_is_left(tmp_path, by_epoch):
    saves = {"type": "CheckpointHook", "interval": 1, "by_epoch": by_epoch, "async_save": True, "on_busy": "drop"}
    whole, *_ = run(tmp_path / "whole", EPOCHS)
    _, _, caught = run(tmp_path / "cut", EPOCHS, RaiseAt(6, signal.SIGTERM), default_hooks={"checkpoint": saves})
    assert torch.load(caught.checkpoint, weights_only=True)["meta"]["iter"] == 7
    resumed, *_ = run(tmp_path / "cut", EPOCHS, resume=True, default_hooks={"checkpoint": saves})
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_timed_run_is_ended_too_and_no_capsule_is_written(tmp_path):
    _, recorded, caught = run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGTERM), time_split=True)
    assert caught.code == 143
    assert len(recorded.losses) == 7
    assert not list(tmp_path.glob("*.capsule"))


def test_rotation_counts_the_file_of_a_run_saved_by_iteration(tmp_path):
    saves = {"type": "CheckpointHook", "by_epoch": False, "interval": 2, "max_keep_ckpts": 2, "save_last": False}
    hooks = {"default_hooks": {"checkpoint": saves}}
    run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGTERM), **hooks)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_6.pth", "iter_7.pth"]
    run(tmp_path, EPOCHS, RaiseAt(9, signal.SIGTERM), resume=True, **hooks)
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_10.pth", "iter_8.pth"]


def test_the_file_between_two_epochs_gives_way_to_the_next_save(tmp_path):
    hooks = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 1}}}
    run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGTERM), **hooks)
    assert {path.name for path in tmp_path.glob("*.pth")} == {"epoch_1.pth", "iter_7.pth"}
    run(tmp_path, EPOCHS, RaiseAt(8, signal.SIGTERM), resume=True, **hooks)
    assert {path.name for path in tmp_path.glob("*.pth")} == {"epoch_1.pth", "iter_9.pth"}
    run(tmp_path, EPOCHS, resume=True, **hooks)
    assert {path.name for path in tmp_path.glob("*.pth")} == {"epoch_3.pth"}


def test_handlers_of_before_are_called_and_put_back(tmp_path):
    heard = []

    def handler(number, frame):
        heard.append(number)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        _, _, caught = run(tmp_path, EPOCHS, RaiseAt(6, signal.SIGUSR1))
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (caught.code, heard) == (75, [signal.SIGUSR1])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_signals_false_leaves_them_alone(tmp_path):
    class Look(Hook):
        seen: object = None

        def before_train(self, runner):
            Look.seen = signal.getsignal(signal.SIGTERM)

    run(tmp_path, EPOCHS, Look(), signals=False)
    assert Look.seen is signal.SIG_DFL
    run(tmp_path, EPOCHS, Look(), signals={"names": ["SIGUSR1"]})
    assert Look.seen is signal.SIG_DFL
    run(tmp_path, EPOCHS, Look())
    assert Look.seen is not signal.SIG_DFL


def test_a_run_in_another_thread_trains_without_handlers(tmp_path):
    runner = build(tmp_path)
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.epoch == 3


def test_nothing_is_called_at_a_step_unless_there_is_a_reason(tmp_path):
    class Look(Hook):
        planned: object = None

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            Look.planned = runner._hook_table._plan["after_train_iter"]

    run(tmp_path, EPOCHS, Look())
    assert not any("Watch" in repr(method) for method in Look.planned)


def test_a_hook_that_comes_while_the_run_is_being_left_does_not_undo_it(tmp_path):
    class RegistersAHook(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 6:
                signal.raise_signal(signal.SIGTERM)
                runner.register_hook(Hook())

    _, recorded, caught = run(tmp_path, EPOCHS, RegistersAHook())
    assert caught.code == 143
    assert len(recorded.losses) == 7


def test_a_failing_hook_does_not_hide_the_exit_code(tmp_path):
    class Fails(Hook):
        def after_run(self, runner):
            raise RuntimeError("no disk for my logs")

    _, _, caught = run(tmp_path, EPOCHS, Fails(), RaiseAt(6, signal.SIGTERM))
    assert caught.code == 143


class Clock:
    """Stands still but for a second in each training step."""

    def __init__(self):
        self.now, self.reads = 100.0, 0

    def monotonic(self):
        self.reads += 1
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock, plain = Clock(), EpochBasedTrainLoop.train_step

    def train_step(loop, data_batch):
        clock.now += 1.0
        return plain(loop, data_batch)

    monkeypatch.setattr(EpochBasedTrainLoop, "train_step", train_step)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


@pytest.mark.parametrize("limit", ["7s", 6.5, timedelta(seconds=6.2)])
def test_max_time_ends_the_run_at_the_first_step_after_it(tmp_path, clock, limit):
    _, recorded, caught = run(tmp_path, EPOCHS, max_time=limit)
    assert (caught.code, caught.reason) == (75, "max_time")
    assert caught.checkpoint.endswith("iter_7.pth")
    assert len(recorded.losses) == 7


def test_the_clock_is_read_once_a_step_and_only_where_there_is_a_limit(tmp_path, clock):
    run(tmp_path / "none", EPOCHS)
    without, clock.reads = clock.reads, 0
    run(tmp_path / "limit", EPOCHS, max_time="1h")
    assert (without, clock.reads) == (1, 1 + 15 + 3 * 2)  # 15 steps, 3 validations of 2 batches


def test_time_also_ends_a_validation(tmp_path, clock):
    class Slow(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            clock.now += 100

    _, recorded, caught = run(tmp_path, EPOCHS, Slow(), max_time="1min")
    assert caught.checkpoint.endswith("iter_5.pth")
    assert recorded.points.count("after_val_iter") == 1


def test_a_run_that_is_quick_enough_ends_as_ever(tmp_path):
    runner, recorded, caught = run(tmp_path, EPOCHS, max_time="1h")
    assert caught is None
    assert len(recorded.metrics) == runner.epoch == 3


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"signals": "yes"}, ArgumentTypeError, r"True, False or a dict"),
        ({"signals": {"requeues": True}}, ArgumentError, r"Did you mean 'requeue'"),
        ({"signals": {"names": ["SIGTERN"]}}, ArgumentError, r"Did you mean 'SIGTERM'"),
        ({"signals": {"requeue": "yes"}}, ArgumentTypeError, r"True or False, got 'yes'"),
        ({"max_time": "11hours"}, ArgumentError, r"Did you mean '11h'"),
        ({"max_time": 0}, ArgumentError, r"above zero, got 0"),
        ({"max_time": [3]}, ArgumentTypeError, r"got \[3\]"),
    ],
)
def test_wrong_settings_fail_when_the_runner_is_made(tmp_path, changes, kind, said):
    with pytest.raises(kind, match=said):
        build(tmp_path, **changes)


PROGRAM = """
import sys
from pathlib import Path

import torch
from toy import ToyData, build, loader, only_training
from drivetrain.hooks import Hook

torch.set_num_threads(1)
work_dir, workers, options = Path(sys.argv[1]), int(sys.argv[2]), eval(sys.argv[3])

class Ready(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 3:
            print("ready", flush=True)

if __name__ == "__main__":
    torch.manual_seed(0)
    build(work_dir, train_cfg={"by_epoch": False, "max_iters": 10**6},
          train_dataloader=loader(ToyData(400), num_workers=workers), custom_hooks=[Ready()],
          **only_training(), **options).train()
"""


def start(tmp_path, workers=0, path=None, **options):
    """A real process that trains and has made some steps; it leads a group of its own."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    tests = Path(__file__).parents[1]
    folders = [str(tests), str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "42"}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-W", "error", str(program), str(tmp_path / "run"), str(workers), repr(options)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def end(process):
    """Exit code and what it said, after at most a minute."""
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, said


def test_a_real_process_ends_with_143_and_leaves_a_whole_file(tmp_path):
    process = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    code, said = end(process)
    assert (code, "Traceback" in said) == (143, False)
    saved = torch.load((tmp_path / "run" / "last_checkpoint").read_text(), weights_only=True)
    assert saved["meta"]["iter"] >= 4


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1"])
def test_workers_outlive_a_signal_to_the_whole_group(tmp_path, name):
    process = start(tmp_path, workers=2)
    os.killpg(process.pid, signal.Signals[name])
    code, said = end(process)
    assert "DataLoader worker" not in said
    assert code == {"SIGINT": -signal.SIGINT, "SIGUSR1": 75}[name]  # the shell says 130 for an uncaught Ctrl-C
    assert (tmp_path / "run" / "last_checkpoint").exists()


@pytest.mark.parametrize("asked", [True, False])
def test_a_slurm_job_is_put_back_only_where_that_was_asked_for(tmp_path, asked):
    command = tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/called\n")
    command.chmod(0o755)
    process = start(tmp_path, path=command.parent, signals={"requeue": True} if asked else True)
    process.send_signal(signal.SIGUSR1)
    assert end(process)[0] == 75
    called = tmp_path / "called"
    assert (called.read_text() if called.exists() else None) == ("requeue 42\n" if asked else None)
