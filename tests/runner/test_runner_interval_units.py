"""Intervals with a unit of their own: what logs, saves and validates when, over a resume too."""

import signal

import pytest
from toy import Recorder, ToyData, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentError
from drivetrain.hooks import Hook
from drivetrain.runner.loops import EpochBasedTrainLoop

EPOCHS = {"by_epoch": True, "max_epochs": 3}  # of 5 steps
ITERATIONS = {"by_epoch": False, "max_iters": 12}


class Steps(Hook):
    """After which steps validations and saves come."""

    priority = "LOWEST"

    def __init__(self):
        self.validated, self.logged, self.training = [], [], []

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.iter)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.training.append(runner.model.training)


class Stop(Hook):
    def __init__(self, step):
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            signal.raise_signal(signal.SIGTERM)


def run(work_dir, train_cfg, *hooks, saves=None, **changes):
    steps, recorder = Steps(), Recorder()
    default = {"checkpoint": {"type": "CheckpointHook", "save_last": False, **(saves or {})}}
    runner = build(
        work_dir, train_cfg=train_cfg, custom_hooks=[steps, recorder, *hooks], default_hooks=default, **changes
    )
    try:
        runner.train()
    except SystemExit:
        runner.train_loop.stop_training = True
    return runner, steps, recorder


@pytest.mark.parametrize(
    ("train_cfg", "expected"),
    [
        ({**EPOCHS, "val_interval": "1ep"}, [5, 10, 15]),
        ({**EPOCHS, "val_interval": "2ep"}, [10, 15]),
        ({**EPOCHS, "val_interval": "0.5ep"}, [3, 5, 8, 10, 13, 15]),
        ({**EPOCHS, "val_interval": "0.4ep", "val_begin": 2}, [6, 8, 10, 12, 14, 15]),
        ({**EPOCHS, "val_interval": "4it"}, [4, 8, 12, 15]),
        ({**ITERATIONS, "val_interval": "5it"}, [5, 10, 12]),
        ({**ITERATIONS, "val_interval": "1ep"}, [5, 10, 12]),
        ({**ITERATIONS, "val_interval": "0.5ep", "val_begin": 6}, [8, 10, 12]),
        ({**EPOCHS, "val_interval": "1d"}, [15]),
    ],
)
def test_validation_comes_at_its_interval_and_at_the_end(tmp_path, train_cfg, expected):
    _, steps, _ = run(tmp_path, train_cfg)
    assert steps.validated == expected
    assert all(steps.training)


@pytest.mark.parametrize("unit", [("1ep", 1, EPOCHS), ("2ep", 2, EPOCHS), ("5it", 5, ITERATIONS)])
def test_whole_units_of_the_loop_are_the_numbers_of_the_contract(tmp_path, unit):
    text, number, train_cfg = unit
    told, _, recorded = run(tmp_path / "a", {**train_cfg, "val_interval": text})
    plain, _, wanted = run(tmp_path / "b", {**train_cfg, "val_interval": number})
    assert told.val_interval == plain.val_interval == number
    assert recorded.points == wanted.points
    assert_same_weights(weights_of(told), weights_of(plain))


@pytest.mark.parametrize("step", [2, 3, 4, 7])
def test_validations_inside_epochs_go_on_over_a_resume(tmp_path, step):
    train_cfg = {**EPOCHS, "val_interval": "0.5ep"}
    whole, steps, recorded = run(tmp_path / "whole", train_cfg)
    _, begun, first = run(tmp_path / "cut", train_cfg, Stop(step))
    resumed, rest, second = run(tmp_path / "cut", train_cfg, resume=True)
    assert begun.validated + rest.validated == steps.validated
    assert first.metrics + second.metrics == recorded.metrics
    assert first.ids + second.ids == recorded.ids
    assert_same_weights(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize(
    ("train_cfg", "saves", "names"),
    [
        (EPOCHS, {"interval": "2ep"}, {"epoch_2.pth"}),
        (EPOCHS, {"interval": "4it"}, {"iter_4.pth", "iter_8.pth", "iter_12.pth"}),
        (EPOCHS, {"interval": "0.5ep", "save_begin": 9}, {"iter_10.pth", "iter_13.pth", "iter_15.pth"}),
        (EPOCHS, {"interval": "1ep", "by_epoch": False}, {"iter_5.pth", "iter_10.pth", "iter_15.pth"}),
        (ITERATIONS, {"interval": "1ep"}, {"iter_5.pth", "iter_10.pth"}),
        (ITERATIONS, {"interval": "1ep", "max_keep_ckpts": 1}, {"iter_10.pth"}),
        (ITERATIONS, {"interval": "1h"}, set()),
    ],
)
def test_saves_come_at_their_interval(tmp_path, train_cfg, saves, names):
    run(tmp_path, train_cfg, saves=saves, **only_training())
    assert {path.name for path in tmp_path.glob("*.pth")} == names


@pytest.fixture
def clock(monkeypatch):
    """A minute passes in each training step, and nowhere else."""
    now, plain = [0.0], EpochBasedTrainLoop.train_step

    def train_step(loop, data_batch):
        now[0] += 60.0
        return plain(loop, data_batch)

    monkeypatch.setattr(EpochBasedTrainLoop, "train_step", train_step)
    monkeypatch.setattr("drivetrain.utils.interval.Ticker.__init__.__defaults__", (None, lambda: now[0]))
    return now


def test_times_count_over_a_resume(tmp_path, clock):
    train_cfg = {**EPOCHS, "val_interval": "4min"}
    _, steps, _ = run(tmp_path / "whole", train_cfg, saves={"interval": "3min"})
    assert steps.validated == [4, 8, 12, 15]
    saved = {"iter_3.pth", "iter_6.pth", "iter_9.pth", "iter_12.pth", "iter_15.pth"}
    assert {path.name for path in (tmp_path / "whole").glob("*.pth")} == saved
    run(tmp_path / "cut", train_cfg, Stop(6), saves={"interval": "3min"})
    clock[0] += 1e6
    _, rest, _ = run(tmp_path / "cut", train_cfg, saves={"interval": "3min"}, resume=True)
    assert rest.validated == [8, 12, 15]
    assert {path.name for path in (tmp_path / "cut").glob("*.pth")} == saved | {"iter_7.pth"}


@pytest.mark.usefixtures("clock")
def test_a_validation_by_time_that_is_abandoned_is_made_again(tmp_path):
    class StopInValidation(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            signal.raise_signal(signal.SIGTERM)

    train_cfg = {**EPOCHS, "val_interval": "4min"}
    _, begun, _ = run(tmp_path, train_cfg, StopInValidation())
    _, rest, _ = run(tmp_path, train_cfg, resume=True)
    assert (begun.validated, rest.validated) == ([], [4, 8, 12, 15])


def test_the_best_inside_an_epoch_is_named_by_its_step(tmp_path):
    class Better(Hook):
        priority = "VERY_HIGH"

        def after_val_epoch(self, runner, metrics=None):
            metrics["accuracy"] = float(runner.iter)

    saves = {"interval": 1, "save_best": "accuracy"}
    train_cfg = {"by_epoch": True, "max_epochs": 2, "val_interval": "0.7ep"}  # after steps 4, 7 and 10
    _, steps, _ = run(tmp_path, train_cfg, Better(), saves=saves)
    assert steps.validated == [4, 7, 10]
    assert {path.name for path in tmp_path.glob("*.pth")} == {"epoch_1.pth", "epoch_2.pth", "best_accuracy_epoch_2.pth"}
    run(tmp_path / "b", train_cfg, Better(), Stop(7), saves=saves)
    assert "best_accuracy_iter_7.pth" in {path.name for path in (tmp_path / "b").glob("*.pth")}


class Lines(Hook):
    """After which steps a line of training was logged."""

    priority = "HIGHEST"

    def before_run(self, runner):
        self.steps = []
        inner = runner.visualizer.add_scalars

        def add_scalars(tags, step, **other):
            if "loss" in tags:
                self.steps.append(step)
            inner(tags, step=step, **other)

        runner.visualizer.add_scalars = add_scalars


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("interval", "expected"),
    [("2it", [2, 4, 7, 9]), ("0.5ep", [3, 5, 8, 10]), ("2ep", [10]), ("3min", [4, 7, 10])],
)
def test_lines_come_at_their_interval(tmp_path, interval, expected):
    lines = Lines()
    hooks = {"logger": {"type": "LoggerHook", "interval": interval}}
    train_cfg = {"by_epoch": True, "max_epochs": 2}
    build(tmp_path, train_cfg=train_cfg, default_hooks=hooks, custom_hooks=[lines], **only_training()).train()
    assert lines.steps == expected


def test_dynamic_intervals_stand_beside_the_loops_own_unit_alone(tmp_path):
    wrong = {**EPOCHS, "val_interval": "0.5ep", "dynamic_intervals": [(2, 1)]}
    with pytest.raises(ArgumentError, match=r"not a whole number of epochs, which dynamic_intervals"):
        build(tmp_path, train_cfg=wrong).train()
    runner = build(tmp_path, train_cfg={**EPOCHS, "val_interval": "2ep", "dynamic_intervals": [(3, 1)]})
    runner.train()
    assert runner.val_interval == 1


def test_a_wrong_interval_is_told(tmp_path):
    with pytest.raises(ArgumentError, match=r"val_interval='2epochs'.* Did you mean '2ep'"):
        build(tmp_path, train_cfg={**EPOCHS, "val_interval": "2epochs"}).train()


def test_lines_of_a_validation_come_by_parts_of_its_own_loader(tmp_path):
    hooks = {"logger": {"type": "LoggerHook", "interval": "0.5ep"}}
    runner = build(
        tmp_path,
        val_dataloader=loader(ToyData(16, noise=False), shuffle=False),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        default_hooks=hooks,
        log_level="INFO",
    )
    lines = []
    runner.logger.info = lines.append
    runner.train()
    assert [line.split("[")[2][:3] for line in lines if line.startswith("Epoch(val)") and "accuracy" not in line] == [
        "2/4",
        "4/4",
    ]
