"""A run from the first batch to the last: order of points, counters, when validation comes."""

import pytest
import torch
from torch.utils.data import DataLoader
from toy import Recorder, ToyAccuracy, ToyData, ToyNet, build, loader, only_training, weights_of

from drivetrain.config import Config
from drivetrain.hooks import Hook
from drivetrain.logging import MessageHub, MMLogger
from drivetrain.optim import OptimWrapper
from drivetrain.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

VALIDATION = [
    "before_val",
    "before_val_epoch",
    *["before_val_iter", "after_val_iter"] * 2,
    "after_val_epoch",
    "after_val",
]
STEP = ["before_train_iter", "after_train_iter"]


def test_points_of_a_run_by_epoch_come_in_the_order_of_the_contract(tmp_path):
    recorder = Recorder()
    runner = build(tmp_path, custom_hooks=[recorder], train_cfg={"by_epoch": True, "max_epochs": 2})
    runner.train()
    epoch = ["before_train_epoch", *STEP * 5, "after_train_epoch"]
    points = [point for point in recorder.points if point != "before_save_checkpoint"]
    assert points == [
        "before_run", "before_train", *epoch, *VALIDATION, *epoch, *VALIDATION, "after_train", "after_run",
    ]  # fmt: skip
    assert (runner.epoch, runner.iter, runner.max_epochs, runner.max_iters) == (2, 10, 2, 10)


def test_points_of_a_run_by_iteration_come_in_the_order_of_the_contract(tmp_path):
    recorder = Recorder()
    runner = build(
        tmp_path,
        custom_hooks=[recorder],
        train_cfg={"by_epoch": False, "max_iters": 4, "val_interval": 3},
        param_scheduler=None,
        default_hooks={"checkpoint": None},
    )
    runner.train()
    assert recorder.points == [
        "before_run", "before_train", "before_train_epoch", *STEP * 3, *VALIDATION, *STEP, *VALIDATION,
        "after_train_epoch", "after_train", "after_run",
    ]  # fmt: skip
    assert (runner.epoch, runner.iter, runner.max_epochs) == (0, 4, 1)


def test_hooks_see_the_step_before_it_is_counted(tmp_path):
    class Counters(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append((runner.epoch, runner.iter, batch_idx))

        def before_val(self, runner):
            seen.append(("val", runner.epoch, runner.iter))

    seen = []
    build(tmp_path, custom_hooks=[Counters()], train_cfg={"by_epoch": True, "max_epochs": 1}).train()
    assert seen == [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4), ("val", 1, 5)]


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        ({"max_epochs": 5}, [1, 2, 3, 4, 5]),
        ({"max_epochs": 5, "val_interval": 2}, [2, 4, 5]),
        ({"max_epochs": 5, "val_interval": 2, "val_begin": 3}, [4, 5]),
        ({"max_epochs": 6, "val_interval": 4, "dynamic_intervals": [(4, 1)]}, [3, 4, 5, 6]),
        ({"max_epochs": 3, "val_begin": 9}, []),
    ],
)
def test_validation_comes_when_interval_begin_and_milestones_say_so(tmp_path, cfg, expected):
    class Epochs(Hook):
        def before_val(self, runner):
            seen.append(runner.epoch)

    seen = []
    build(tmp_path, custom_hooks=[Epochs()], train_cfg=cfg, default_hooks={"checkpoint": None}).train()
    assert seen == expected


def test_stop_training_ends_the_run_after_the_epoch(tmp_path):
    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = True

    runner = build(tmp_path, custom_hooks=[Stop()])
    runner.train()
    assert (runner.epoch, runner.iter) == (1, 5)


def test_an_exhausted_loader_starts_anew_with_another_order_when_training_by_iteration(tmp_path):
    recorder = Recorder()
    cfg = {"by_epoch": False, "max_iters": 10, "val_interval": 100}
    build(tmp_path, custom_hooks=[recorder], train_cfg=cfg, param_scheduler=None).train()
    first, second = recorder.ids[:5], recorder.ids[5:]
    assert {i for ids in first for i in ids} == {i for ids in second for i in ids} == set(range(20))
    assert first != second


def test_training_returns_the_model_and_lowers_the_loss(tmp_path):
    recorder = Recorder()
    model = ToyNet(dropout=0.0)
    data = ToyData(noise=False)
    runner = build(
        tmp_path, model=model, train_dataloader=loader(data), custom_hooks=[recorder],
        train_cfg={"max_epochs": 20, "val_interval": 20}, param_scheduler=None, default_hooks={"checkpoint": None},
    )  # fmt: skip
    assert runner.train() is model
    losses = [float(loss) for loss in recorder.losses]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_val_and_test_return_metrics_and_build_no_training(tmp_path):
    data = ToyData()
    runner = build(
        tmp_path,
        train_dataloader=loader(data),
        test_dataloader=loader(ToyData(8), shuffle=False),
        test_cfg={},
        test_evaluator=ToyAccuracy(prefix="final"),
    )
    assert set(runner.val()) == {"accuracy"}
    assert set(runner.test()) == {"final/accuracy"}
    assert data.fetched == []
    assert not isinstance(runner._train_loop, EpochBasedTrainLoop)


def test_evaluation_leaves_the_model_in_eval_mode_and_keeps_no_graph(tmp_path):
    class Look(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append((runner.model.training, outputs[0].requires_grad))

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            modes.add(runner.model.training)

    seen, modes = [], set()
    cfg = {"by_epoch": False, "max_iters": 4, "val_interval": 2}
    build(tmp_path, custom_hooks=[Look()], train_cfg=cfg, param_scheduler=None).train()
    assert set(seen) == {(False, False)}
    assert modes == {True}


def test_parts_may_be_objects(tmp_path):
    model = ToyNet()
    data = ToyData()
    runner = build(
        tmp_path,
        model=model,
        train_dataloader=DataLoader(data, batch_size=4, shuffle=True),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)),
        param_scheduler=None,
        train_cfg={"type": EpochBasedTrainLoop, "max_epochs": 1},
    )
    runner.train()
    assert len(data.fetched) == 20
    assert runner.train_dataloader.dataset is data


def test_a_wrapper_made_before_the_runner_logs_to_the_runners_hub(tmp_path):
    model = ToyNet()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad={"max_norm": 1.0})
    runner = build(tmp_path, model=model, optim_wrapper=wrapper, param_scheduler=None, train_cfg={"max_epochs": 1})
    runner.train()
    assert runner.message_hub.get_scalar("train/grad_norm").current() > 0


def test_a_plain_optimizer_is_wrapped(tmp_path):
    model = ToyNet()
    runner = build(
        tmp_path, model=model, optim_wrapper=torch.optim.SGD(model.parameters(), lr=0.1), param_scheduler=None
    )
    runner.train()
    assert isinstance(runner.optim_wrapper, OptimWrapper)


def test_a_plain_module_with_its_own_steps_trains(tmp_path):
    class Plain(torch.nn.Linear):
        def train_step(self, data, optim_wrapper):
            loss = self(data["inputs"].flatten(1)).square().mean()
            optim_wrapper.update_params(loss)
            return {"loss": loss}

    model = Plain(108, 2)
    runner = build(tmp_path, model=model, **only_training())
    before = weights_of(runner)
    runner.train()
    assert not torch.equal(before["weight"], model.weight)


def test_current_logger_and_hub_are_those_of_the_run_inside_it_and_not_outside(tmp_path):
    class Look(Hook):
        def before_train(self, runner):
            seen.append((MessageHub.get_current_instance(), MMLogger.get_current_instance()))

    seen = []
    first = build(tmp_path / "a", custom_hooks=[Look()], experiment_name="a")
    second = build(tmp_path / "b", experiment_name="b")
    first.train()
    assert seen == [(first.message_hub, first.logger)]
    assert MessageHub.get_current_instance() is second.message_hub


def test_a_checkpoint_each_epoch_and_the_config_and_log_lie_in_the_work_dir(tmp_path):
    runner = build(tmp_path, cfg={"a": 1})
    runner.train()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "last_checkpoint", f"{runner.timestamp}.py"} <= names
    assert (tmp_path / "last_checkpoint").read_text().strip().endswith("epoch_3.pth")
    assert (tmp_path / runner.timestamp / f"{runner.timestamp}.log").exists()
    assert (tmp_path / runner.timestamp / "vis_data" / "scalars.json").exists()


def test_from_cfg_takes_the_arguments_and_leaves_free_variables(tmp_path):
    from toy import parts

    runner = Runner.from_cfg({**parts(), "work_dir": str(tmp_path), "my_variable": 3})
    assert runner.cfg["my_variable"] == 3
    runner.train()
    assert runner.epoch == 3


def test_auto_scale_lr_multiplies_by_the_ratio_of_batch_sizes(tmp_path):
    runner = build(tmp_path, auto_scale_lr={"enable": True, "base_batch_size": 16}, param_scheduler=None)
    runner.train()
    assert runner.optim_wrapper.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 4 / 16)


def test_loops_are_found_by_their_length_when_by_epoch_is_left_out(tmp_path):
    assert isinstance(build(tmp_path, train_cfg={"max_epochs": 1}).train_loop, EpochBasedTrainLoop)
    assert isinstance(build(tmp_path, train_cfg={"max_iters": 1}).train_loop, IterBasedTrainLoop)


def test_a_config_files_line_is_named_when_its_model_cannot_be_built(tmp_path):
    path = tmp_path / "c.py"
    path.write_text("from toy import ToyNet\n\nmodel = dict(\n    type=ToyNet,\n    dropuot=0.1)\n")
    model = Config.fromfile(path, lazy_import=True).model
    with pytest.raises(TypeError, match=r"'dropuot'.*'dropout'.*c\.py:4\.$"):
        build(tmp_path, model=model)
