"""Where the time of a run goes: each sleep shows in its part, parts sum to the wall, and nothing else changes."""

import copy
import itertools
import json
import math
import pickle
import re
import time
import types

import pytest
import torch
from torch import nn
from toy import Recorder, ToyAccuracy, ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentTypeError
from drivetrain.hooks import Hook
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.runner import EpochBasedTrainLoop
from drivetrain.runner import _checkpointing as checkpointing
from drivetrain.runner import _stopwatch as stopwatch
from drivetrain.runner import _time_split as time_split

NAP = 0.02
NO_SAVES = {"checkpoint": None}


class Nap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(NAP)
        return gradient


class SleepyData(ToyData):
    def __getitem__(self, index):
        if index % 4 == 0:
            time.sleep(NAP)
        return super().__getitem__(index)


class SleepyPreprocessor(BaseDataPreprocessor):
    def forward(self, data, training=False):
        time.sleep(NAP)
        return super().forward(data, training)


class SleepyNet(ToyNet):
    """Sleeps in forward, in backward, in parse_losses, or when it predicts."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        if (self.where, mode) in (("forward", "loss"), ("predict", "predict")):
            time.sleep(NAP)
        outputs = super().forward(inputs, labels, id, mode)
        if self.where == "backward" and mode == "loss":
            outputs["loss_ce"] = Nap.apply(outputs["loss_ce"])
        return outputs

    def parse_losses(self, losses):
        if self.where == "parse":
            time.sleep(NAP)
        return super().parse_losses(losses)


class SleepySGD(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(NAP)
        return super().step(closure)


class SleepyHook(Hook):
    def __init__(self, point):
        setattr(self, point, lambda runner, **kwargs: time.sleep(NAP))


class SleepyAccuracy(ToyAccuracy):
    def process(self, data_batch, data_samples):
        time.sleep(NAP)
        super().process(data_batch, data_samples)


class WallLoop(EpochBasedTrainLoop):
    """Looks at the clock by itself."""

    wall = 0.0

    def run(self):
        start = time.perf_counter()
        try:
            return super().run()
        finally:
            self.wall = time.perf_counter() - start


class SleepyLoop(WallLoop):
    def run_iter(self, idx, data_batch):
        time.sleep(NAP)
        super().run_iter(idx, data_batch)


def sleepy_collate(batch):
    time.sleep(NAP)
    return torch.utils.data.default_collate(batch)


def split_of(runner):
    return runner.message_hub.get_info("time_split")


PLACES = {
    "dataset": ("wait", {"train_dataloader": loader(SleepyData(12), shuffle=False)}),
    "collate": ("wait", {"train_dataloader": loader(ToyData(12), collate_fn=sleepy_collate)}),
    "preprocessor": ("preprocess", {"model": lambda: ToyNet(data_preprocessor=SleepyPreprocessor())}),
    "forward": ("forward", {"model": lambda: SleepyNet("forward")}),
    "parse_losses": ("forward", {"model": lambda: SleepyNet("parse")}),
    "backward": ("backward", {"model": lambda: SleepyNet("backward")}),
    "optimizer": ("optimizer", {"optimizer": SleepySGD}),
    "hook before the step": ("hooks", {"custom_hooks": [SleepyHook("before_train_iter")]}),
    "hook after the step": ("hooks", {"custom_hooks": [SleepyHook("after_train_iter")]}),
    "loop": ("other", {"train_cfg": {"type": SleepyLoop, "max_epochs": 1}}),
}


@pytest.fixture(autouse=True, scope="module")
def warm(tmp_path_factory):
    """What torch loads on first use must not count as somebody's time."""
    build(tmp_path_factory.mktemp("warm"), train_cfg={"max_epochs": 1}).train()


def fits(times, part, slept, wall):
    """Whether `part` alone holds what was slept, and all parts together the wall."""
    others = [time for name, time in times.items() if name != part]
    return times[part] >= slept and max(others) < slept / 2 and sum(times.values()) == pytest.approx(wall, rel=0.02)


def observed(run, check):
    """What `run` returns once `check` finds it right; a busy machine may stall any part, but not each time."""
    for _ in range(3):
        result = run()
        if check(*result):
            return
    pytest.fail(f"three times: {result}")


@pytest.mark.parametrize("place", PLACES)
def test_a_sleep_shows_in_its_part_alone_and_the_parts_sum_to_the_wall(tmp_path, place):
    part, changes = PLACES[place]

    def run():
        model = changes.get("model", ToyNet)()
        sgd = changes.get("optimizer", torch.optim.SGD)(model.parameters(), lr=0.1)
        chosen = {
            "train_dataloader": loader(ToyData(12), shuffle=False),
            "train_cfg": {"type": WallLoop, "max_epochs": 1},
            **{name: value for name, value in changes.items() if name != "optimizer"},
            "model": model,
            "optim_wrapper": OptimWrapper(sgd),
            "param_scheduler": None,
        }
        runner = build(tmp_path, time_split=True, default_hooks=NO_SAVES, **only_training(), **chosen)
        runner.train()
        assert split_of(runner)["steps"] == 3
        return split_of(runner)["parts"], runner.train_loop.wall

    observed(run, lambda parts, wall: fits(parts, part, 3 * NAP, wall))


class PartlySeen(ToyNet):
    def train_step(self, data, optim_wrapper):
        time.sleep(NAP)
        return super().train_step(data, optim_wrapper)


VALIDATION_PLACES = {
    "metric": ("metric", {"val_evaluator": SleepyAccuracy()}),
    "predict": ("predict", {"model": lambda: SleepyNet("predict")}),
    "val dataset": ("wait", {"val_dataloader": loader(SleepyData(8), shuffle=False)}),
    "val hook": ("hooks", {"custom_hooks": [SleepyHook("after_val_iter")]}),
}


@pytest.mark.parametrize("place", VALIDATION_PLACES)
def test_a_sleep_in_validation_shows_in_validation_and_there_in_its_own_part(tmp_path, place):
    part, changes = VALIDATION_PLACES[place]

    def run():
        chosen = {**changes, "model": changes.get("model", ToyNet)(), "train_dataloader": loader(ToyData(4))}
        cfg = {"type": WallLoop, "max_epochs": 1}
        runner = build(tmp_path, time_split=True, default_hooks=NO_SAVES, train_cfg=cfg, param_scheduler=None, **chosen)
        runner.train()
        return split_of(runner), runner.train_loop.wall

    def check(split, wall):
        parts = split["parts"]
        inside = fits(split["validation"], part, 2 * NAP, parts["validation"])
        return inside and fits(parts, "validation", 2 * NAP, wall)

    observed(run, check)


@pytest.mark.parametrize("best", [None, "accuracy"])
def test_a_save_counts_as_save_in_whatever_hook_it_happens(tmp_path, monkeypatch, best):
    def slowly(*args, **kwargs):
        time.sleep(3 * NAP if best is None else 1.5 * NAP)
        saved.append(args)
        return save(*args, **kwargs)

    def run():
        saved.clear()
        hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": best}}
        runner = build(tmp_path, time_split=True, default_hooks=hooks, train_cfg={"type": WallLoop, "max_epochs": 1})
        runner.train()
        # The best one replaces the regular one of its epoch: one write for both.
        assert len(saved) == (1 if best is None else 2)
        return split_of(runner)["parts"], runner.train_loop.wall

    saved, save = [], checkpointing.save_checkpoint
    monkeypatch.setattr(checkpointing, "save_checkpoint", slowly)
    observed(run, lambda parts, wall: fits(parts, "save", 3 * NAP, wall))


@pytest.mark.parametrize("streams", ["sample", "worker"])
def test_waiting_is_seen_when_training_by_iteration_from_the_first_batch_on(tmp_path, streams):
    runner = build(
        tmp_path, time_split=True, default_hooks=NO_SAVES, param_scheduler=None, **only_training(),
        train_dataloader=loader(SleepyData(8), shuffle=False), train_cfg={"by_epoch": False, "max_iters": 3},
        randomness={"seed": 1, "streams": streams},
    )  # fmt: skip
    stream = runner.train_loop.dataloader_iterator
    runner.train()
    assert split_of(runner)["parts"]["wait"] >= 3 * NAP
    assert runner.train_loop.dataloader_iterator is stream


class Pairs(ToyData):
    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class PairNet(ToyNet):
    def forward(self, inputs, labels=None, mode="tensor"):
        return super().forward(inputs, labels, mode=mode)


class Adversaries(BaseModel):
    """Two optimizers, a `train_step` of its own, and forward called in it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(108, 1), nn.Linear(108, 1)

    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        flat = inputs.flatten(1)
        return (self.one(flat) - self.two(flat)).square().mean()

    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        logs = {}
        for name in ("one", "two"):
            with optim_wrapper[name].optim_context(self):
                loss = self(**data, mode="loss")
            if name == "one":
                optim_wrapper[name].update_params(loss)
            else:
                optim_wrapper[name].backward(loss)
                optim_wrapper[name].step()
                optim_wrapper[name].zero_grad()
            logs[f"loss_{name}"] = loss
        logs["loss"] = logs["loss_one"] + logs["loss_two"]
        return logs


def two_optimizers(model):
    wrappers = {
        name: OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), lr=0.1)) for name in ("one", "two")
    }
    return OptimWrapperDict(**wrappers)


def kinds_of_run():
    short = {"train_cfg": {"max_epochs": 1}, **only_training()}
    sgd = {"type": "SGD", "lr": 0.1}
    yield "plain", ToyNet, {}
    yield "by iteration", ToyNet, {"train_cfg": {"by_epoch": False, "max_iters": 8, "val_interval": 3}}
    yield (
        "accumulation and clipping",
        ToyNet,
        {"optim_wrapper": {"optimizer": sgd, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.1}}, **short},
    )
    yield "bf16", ToyNet, {"optim_wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": sgd}, **short}
    yield "garbage collector", ToyNet, {"collect_garbage_every": 100, **short}
    yield "tuples", PairNet, {"train_dataloader": loader(Pairs()), **short}
    yield "own step", Adversaries, {"optim_wrapper": two_optimizers, "param_scheduler": None, **short}


RUNS = {name: (model, changes) for name, model, changes in kinds_of_run()}


def run_of(name, work_dir, **more):
    kind, changes = RUNS[name]
    torch.manual_seed(0)
    model = kind()
    changes = {"custom_hooks": [recorder := LossRecorder()], **changes, "model": model}
    if callable(changes.get("optim_wrapper")):
        changes["optim_wrapper"] = changes["optim_wrapper"](model)
    runner = build(work_dir, **changes, **more)
    runner.train()
    return runner, recorder


class LossRecorder(Recorder):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].detach().clone())


@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_of_a_run_do_not_depend_on_the_split(tmp_path, name):
    (plain, first), (timed, second) = run_of(name, tmp_path / "off"), run_of(name, tmp_path / "on", time_split=True)
    assert torch.equal(torch.stack(first.losses), torch.stack(second.losses))
    assert first.metrics == second.metrics
    assert_same_weights(weights_of(plain), weights_of(timed))
    assert split_of(plain) is None
    parts = split_of(timed)["parts"]
    assert all(parts[part] > 0 for part in ("wait", "preprocess", "forward", "backward", "optimizer", "hooks", "other"))
    assert parts["step"] == 0
    assert tapped(timed) == tapped(plain)


class PureNet(ToyNet):
    def __init__(self):
        preprocessor = ImgDataPreprocessor(mean=[0.1] * 3, std=[0.9] * 3)
        super().__init__(dropout=0.0, data_preprocessor=preprocessor)

    def forward(self, inputs, labels=None, id=None, data_samples=None, mode="tensor"):
        return super().forward(inputs, labels, id, mode)


def test_compiled_code_is_timed_from_outside_and_stays_in_one_piece(tmp_path):
    losses = []
    for switch in (False, True):
        torch.manual_seed(0)
        recorder = LossRecorder()
        runner = build(
            tmp_path / str(switch), time_split=switch, model=PureNet(), custom_hooks=[recorder],
            compile={"backend": "eager", "fullgraph": True}, train_cfg={"max_epochs": 1},
        )  # fmt: skip
        runner.train()
        losses.append(torch.stack(recorder.losses))
    assert torch.equal(*losses)
    parts = split_of(runner)["parts"]
    assert all(parts[part] > 0 for part in ("preprocess", "forward", "backward", "optimizer"))
    assert parts["step"] == 0


def timed_objects(runner):
    yield from (runner, runner.train_loop, runner.model, runner.model.data_preprocessor, runner._hook_table)
    yield from (
        runner.log_processor,
        runner.optim_wrapper,
        runner.val_loop,
        getattr(runner.val_loop, "evaluator", None),
    )
    yield from getattr(runner.optim_wrapper, "optim_wrappers", {}).values()


def tapped(runner):
    """Methods that stand on the instances of a run, as `Type.name`."""
    return [name for owner in timed_objects(runner) if owner is not None for name in tapped_of(owner)]


def tapped_of(owner):
    kinds = (types.FunctionType, stopwatch.WaitedStream)
    values = {name: getattr(value, "__func__", value) for name, value in vars(owner).items()}
    return [
        f"{type(owner).__name__}.{name}"
        for name, value in values.items()
        if isinstance(value, kinds) and value is not getattr(type(owner), name, None)
    ]


class Look(Hook):
    def __init__(self, look):
        self.look = look
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.seen:
            self.seen.append(self.look(runner))


def test_methods_are_replaced_while_training_and_only_with_the_switch_on(tmp_path):
    for switch, expected in ((False, 0), (True, 10)):
        look = Look(lambda runner: (tapped(runner), list(runner.model.state_dict())))
        cfg = {"max_epochs": 1}
        runner = build(tmp_path / str(switch), time_split=switch, custom_hooks=[look], train_cfg=cfg)
        keys = list(runner.model.state_dict())
        runner.train()
        [(names, keys_in_training)] = look.seen
        assert len(names) == expected, names
        assert keys_in_training == keys
        assert tapped(runner) == []


@pytest.mark.parametrize("where", ["forward", "metric", "hook", "loader"])
def test_an_error_inside_a_span_leaves_nothing_behind(tmp_path, where):
    def fail(*args, **kwargs):
        raise RuntimeError("stop here")

    class Broken(ToyNet):
        def forward(self, *args, **kwargs):
            return fail() if where == "forward" else super().forward(*args, **kwargs)

    class BrokenAccuracy(ToyAccuracy):
        def process(self, data_batch, data_samples):
            return fail() if where == "metric" else super().process(data_batch, data_samples)

    class BrokenData(ToyData):
        def __getitem__(self, index):
            return fail() if where == "loader" else super().__getitem__(index)

    hook = Look(fail if where == "hook" else str)
    runner = build(
        tmp_path, time_split=True, model=Broken(), custom_hooks=[hook], val_evaluator=BrokenAccuracy(),
        train_dataloader=loader(BrokenData()), train_cfg={"max_epochs": 1},
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="stop here"):
        runner.train()
    assert tapped(runner) == []


@pytest.mark.parametrize("kind", [ToyNet, PartlySeen])
def test_a_model_copied_or_pickled_in_training_runs_by_itself(tmp_path, kind):
    def look(runner):
        copied = copy.deepcopy(runner.model)
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.zero_()
        loaded = pickle.loads(pickle.dumps(runner.model))
        batch = {"inputs": torch.ones(2, 3, 6, 6), "labels": torch.zeros(2, dtype=torch.long)}
        return [
            float(model.train_step(batch, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0)))["loss"].detach())
            for model in (copied.eval(), loaded.eval(), runner.model.eval())
        ], tapped_of(loaded)

    hook = Look(look)
    runner = build(tmp_path, time_split=True, model=kind(), custom_hooks=[hook], train_cfg={"max_epochs": 1})
    runner.train()
    [((copied, loaded, original), left)] = hook.seen
    assert copied == pytest.approx(math.log(4))
    assert loaded == original != copied
    assert left == []


def test_an_update_that_a_hook_puts_in_place_of_the_wrappers_own_is_made(tmp_path):
    class Patch(Hook):
        def before_train(self, runner):
            update = runner.optim_wrapper.update_params
            runner.optim_wrapper.update_params = lambda loss: (called.append(loss), update(loss))

    called = []
    runner = build(tmp_path, time_split=True, custom_hooks=[Patch()], train_cfg={"max_epochs": 1}, **only_training())
    runner.train()
    assert len(called) == 5


class OnePiece(EpochBasedTrainLoop):
    """Its step shows nothing of its inside, as a replayed graph."""

    def train_step(self, data_batch):
        time.sleep(NAP)
        return {"loss": torch.zeros(())}


def test_a_step_whose_inside_cannot_be_seen_is_one_part(tmp_path):
    cfg = {"type": OnePiece, "max_epochs": 1}
    runner = build(tmp_path, time_split=True, train_cfg=cfg, default_hooks=NO_SAVES, **only_training())
    runner.train()
    parts = split_of(runner)["parts"]
    assert parts["step"] >= 5 * NAP
    assert parts["forward"] == parts["backward"] == parts["optimizer"] == 0
    assert parts["other"] < parts["step"] / 2


def test_what_a_step_of_the_models_own_does_beside_is_other(tmp_path):
    runner = build(
        tmp_path, time_split=True, model=PartlySeen(), default_hooks=NO_SAVES, train_cfg={"max_epochs": 1},
        **only_training(),
    )  # fmt: skip
    runner.train()
    parts = split_of(runner)["parts"]
    assert parts["other"] >= 5 * NAP
    assert parts["step"] == 0
    assert max(time for part, time in parts.items() if part != "other") < parts["other"] / 2


def test_each_log_point_gets_a_line_and_scalars_and_the_end_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(time_split, "_LEAST_STRETCH", 0.0)
    hooks = {"logger": {"type": "LoggerHook", "interval": 2}, **NO_SAVES}
    runner = build(
        tmp_path, time_split=True, log_level="INFO", default_hooks=hooks, train_cfg={"max_epochs": 2},
        train_dataloader=loader(SleepyData(16), shuffle=False),
    )  # fmt: skip
    runner.train()
    log = next((tmp_path / runner.timestamp).glob("*.log")).read_text()
    lines = re.findall(r"^    time split: (.*)$", log, re.MULTILINE)
    assert len(lines) == 4
    assert all(re.search(r"^wait \d+ %, .* of [\d.]+ ms a step; .*bottleneck: wait", line) for line in lines)
    assert "give it workers (num_workers=)" in lines[0]
    assert "num_workers" not in lines[1]
    assert "besides validation 0." in lines[2]
    rows = [
        json.loads(line)
        for line in (tmp_path / runner.timestamp / "vis_data" / "scalars.json").read_text().splitlines()
    ]
    split_rows = [row for row in rows if "time_split/wait" in row]
    assert [row["step"] for row in split_rows] == [2, 4, 6, 8]
    assert all(row["time_split/wait"] >= 1000 * NAP and "loss" in row for row in split_rows)
    per_step = {name: sum(row.get(name, 0) for row in split_rows) for row in split_rows for name in row}
    total = sum(time for name, time in per_step.items() if name.startswith("time_split/")) * 2 / 1000
    assert total <= split_of(runner)["wall"]
    table = log[log.index("Time split of 8 steps") :]
    assert re.search(r"^    wait +[\d.]+ +[\d.]+% +[\d.]+ s$", table, re.MULTILINE)
    assert re.search(r"^    of validation: .*predict", table, re.MULTILINE)
    assert "bottleneck: wait: the loop waits for the loader" in table


def test_log_points_of_quick_steps_share_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(time_split, "_LEAST_STRETCH", 2.5 * NAP)
    seen = []
    hooks = {"logger": {"type": "LoggerHook", "interval": 1}, **NO_SAVES}
    runner = build(
        tmp_path, time_split=True, default_hooks=hooks, train_cfg={"max_epochs": 1},
        custom_hooks=[SleepyHook("before_train_iter")], **only_training(),
    )  # fmt: skip
    runner.visualizer.add_scalars = lambda tag, **kwargs: seen.append(tag.get("time_split/hooks"))
    runner.train()
    assert seen[0] is not None and seen[1] is None
    told = [hooks for hooks in seen if hooks is not None]
    assert 1 < len(told) < len(seen)
    assert all(hooks >= 1000 * NAP for hooks in told)


def test_windows_between_log_points_sum_to_the_wall_though_each_begins_inside_a_hook(tmp_path, monkeypatch):
    def noted():
        reads.append(time.perf_counter())
        return reads[-1]

    class Late(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            time.sleep(NAP / 4)

    reads, seen = [], []
    monkeypatch.setattr(time_split, "perf_counter", noted)
    monkeypatch.setattr(time_split, "_LEAST_STRETCH", 0.0)
    hooks = {"logger": {"type": "LoggerHook", "interval": 1}, **NO_SAVES}
    runner = build(
        tmp_path, time_split=True, default_hooks=hooks, train_cfg={"max_epochs": 1},
        custom_hooks=[SleepyHook("before_train_iter"), Late()], **only_training(),
    )  # fmt: skip
    runner.visualizer.add_scalars = lambda tag, **kwargs: seen.append((reads[-1], tag))
    runner.train()
    for (before, _), (now, tag) in itertools.pairwise(seen):
        split = {name: time for name, time in tag.items() if name.startswith("time_split/")}
        assert sum(split.values()) == pytest.approx(1000 * (now - before))
        assert split["time_split/hooks"] >= 1000 * (NAP + NAP / 4)
        assert split["time_split/other"] >= 0


def test_what_a_hook_took_before_it_called_others_is_known_at_the_log_point(tmp_path):
    class Nested(Hook):
        priority = "VERY_HIGH"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            time.sleep(NAP)
            runner.call_hook("before_save_checkpoint", checkpoint={})

    seen = []
    hooks = {"logger": {"type": "LoggerHook", "interval": 1}, **NO_SAVES}
    runner = build(
        tmp_path, time_split=True, default_hooks=hooks, train_cfg={"max_epochs": 1}, custom_hooks=[Nested()],
        **only_training(),
    )  # fmt: skip
    runner.visualizer.add_scalars = lambda tag, **kwargs: seen.append(tag)
    runner.train()
    assert seen[0]["time_split/hooks"] >= 1000 * NAP


def test_a_step_of_an_ordinary_run_reads_the_clock_eleven_times(tmp_path, monkeypatch):
    def counted():
        nonlocal reads
        reads += 1
        return time.perf_counter()

    class Count(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            counts.append(reads)

    reads, counts = 0, []
    monkeypatch.setattr(stopwatch, "perf_counter", counted)
    runner = build(tmp_path, time_split=True, custom_hooks=[Count()], train_cfg={"max_epochs": 1}, **only_training())
    runner.train()
    assert {later - before for before, later in itertools.pairwise(counts)} == {11}


def test_validation_alone_is_not_split(tmp_path):
    runner = build(tmp_path, time_split=True)
    runner.val()
    assert split_of(runner) is None


def test_a_switch_that_is_no_bool_is_refused(tmp_path):
    with pytest.raises(ArgumentTypeError, match="time_split must be True or False, got 'yes'"):
        build(tmp_path, time_split="yes")


class FakeDevice:
    """A device that reaches an event some time after it was recorded; its clock goes on by one at each record."""

    def __init__(self):
        self.now = self.reached = self.recorded = 0
        self.capturing = False
        device = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing
                self.at = None

            def record(self):
                assert not device.capturing
                device.recorded += 1
                device.now += 1
                self.at = device.now

            def query(self):
                return self.at <= device.reached

            def elapsed_time(self, end):
                assert self.query() and end.query()
                return 1000.0 * (end.at - self.at)

        self.Event = Event

    def is_current_stream_capturing(self):
        return self.capturing


def test_the_devices_clock_gives_each_part_its_own_time_and_waits_for_nothing():
    device = FakeDevice()
    clock = time_split.DeviceClock(device)
    forward, copied = clock.span(lambda: None, "forward"), clock.span(lambda: None, "copy")

    def preprocess():
        copied()

    def step():
        clock.span(preprocess, "preprocess")()
        forward()

    timed = clock.span(step, "step")
    timed()  # events 1 to 8: step 1-8, preprocess 2-5, copy 3-4, forward 6-7
    clock.collect()
    assert (clock.steps, clock.behind) == (0, 1)
    device.reached = 7
    clock.collect()
    assert clock.times["copy"] == clock.times["forward"] == 1
    assert clock.steps == 0
    device.reached = 8
    clock.collect()
    expected = {"copy": 1, "preprocess": 2, "forward": 1, "step": 3, "backward": 0, "optimizer": 0}
    assert clock.times == expected
    timed()
    device.reached = device.now
    clock.collect()
    assert clock.times == {part: 2 * time for part, time in expected.items()}


def test_no_event_is_recorded_while_a_graph_is_captured_or_a_validation_runs():
    device = FakeDevice()
    clock = time_split.DeviceClock(device)
    forward = clock.span(lambda: "done", "forward")
    device.capturing = True
    assert forward() == "done"
    device.capturing = False
    assert clock.pause(forward)() == "done"
    assert device.recorded == 0


def test_a_run_on_a_device_shows_its_times_beside_the_hosts(tmp_path, monkeypatch):
    device = FakeDevice()
    device.reached = float("inf")
    monkeypatch.setattr(time_split, "_device_clock", lambda _: time_split.DeviceClock(device))
    hooks = {"logger": {"type": "LoggerHook", "interval": 5}, **NO_SAVES}
    runner = build(tmp_path, time_split=True, log_level="INFO", default_hooks=hooks, train_cfg={"max_epochs": 1})
    runner.train()
    split = split_of(runner)
    assert split["device_steps"] == 5
    assert {part: time / 5 for part, time in split["device"].items()} == {
        "copy": 1, "preprocess": 2, "forward": 2, "backward": 1, "optimizer": 2, "step": 5,
    }  # fmt: skip
    assert split["parts"]["copy"] > 0
    log = next((tmp_path / runner.timestamp).glob("*.log")).read_text()
    assert re.search(r"; on the device .*forward 2000.* ms a step;", log)
    assert re.search(r"^    forward +[\d.]+ +[\d.]+% +[\d.]+ s +2000 ms$", log, re.MULTILINE)


def test_behind_a_device_that_lags_the_bottleneck_is_the_devices():
    parts = dict.fromkeys(("wait", "forward", "backward", "validation", "save", "other"), 0.1)
    split = time_split.TimeSplit(10, 5.5, {**parts, "wait": 5.0}, {}, {"forward": 1.0, "backward": 2.0}, 10, behind=9)
    assert time_split.line_of(split)[1] == "backward"
    ahead = time_split.TimeSplit(10, 5.5, {**parts, "forward": 5.0}, {}, split.device, 10, behind=1)
    assert time_split.line_of(ahead)[1] == "forward"
    assert "graph=True" in time_split.advice_on("forward", ahead, 0)
    assert "graph=True" not in time_split.advice_on("backward", split, 0)


def test_advice_on_the_loader_depends_on_its_workers():
    split = time_split.TimeSplit(1, 1.0, {"wait": 1.0}, {})
    assert "more workers" in time_split.advice_on("wait", split, 4)
    assert "give it workers" in time_split.advice_on("wait", split, 0)
