"""Batches copied ahead: when that is allowed, and that it changes nothing but the time it takes.

The device is simulated: a copy is garbage until the step has waited for it, and again once its memory is given out anew.
"""

import contextlib
import random
from collections import deque

import numpy as np
import pytest
import torch
from test_runner_resume import EPOCHS, ITERATIONS, StopAt, schedule
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from toy import Recorder, ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentTypeError
from drivetrain.hooks import Hook, IterTimerHook, LoggerHook
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor
from drivetrain.runner import EpochBasedTrainLoop, _feed
from drivetrain.runner._feed import obstacle
from drivetrain.tensors import map_tensors


class SimulatedDevice:
    """`Streams` and `cast` of a device whose copies take until somebody waits for them."""

    def __init__(self):
        self.computing = self.copying = self
        self.unfinished, self.copies, self.batches = [], deque(), 0

    def cast(self, batch, device, non_blocking):
        assert non_blocking
        self.batches += 1
        copies = []

        def copy(tensor):
            copies.append(torch.full_like(tensor, 113))
            self.unfinished.append((copies[-1], tensor))
            return copies[-1]

        moved = map_tensors(batch, copy)
        self.copies.append(copies)
        return moved

    def wait_stream(self, stream):
        """The batch before the one in use is done with: write over it."""
        while len(self.copies) > 1:
            for tensor in self.copies.popleft():
                tensor.fill_(77)

    def record_event(self):
        unfinished, self.unfinished = self.unfinished, []
        return unfinished

    def wait_event(self, event):
        for copy, tensor in event:
            copy.copy_(tensor)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        return None


@pytest.fixture
def device(monkeypatch):
    simulated = SimulatedDevice()
    monkeypatch.setattr(_feed, "streams_of", lambda device: simulated)
    monkeypatch.setattr(_feed, "cast", simulated.cast)
    return simulated


class NoisyNet(ToyNet):
    """Draws from all generators while it trains, and keeps what it was given."""

    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        if mode == "loss":
            self.given = inputs
            inputs = inputs + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return super().forward(inputs, labels, id, mode)


def run(work_dir, prefetch, train_cfg=EPOCHS, *, stop=None, hooks=(), streams="sample", workers=0, save=4, **changes):
    recorder = Recorder()
    torch.manual_seed(0)
    runner = build(
        work_dir,
        model=NoisyNet(),
        train_cfg=train_cfg,
        train_dataloader=changes.pop("train_dataloader", loader(num_workers=workers)),
        param_scheduler=schedule(train_cfg["by_epoch"]),
        custom_hooks=[harmless(recorder), *hooks, *([LateStop(stop)] if stop is not None else [])],
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": save, "by_epoch": False, "save_last": False}
        },
        randomness={"seed": changes.pop("seed", 7), "streams": streams},
        prefetch=prefetch,
        **changes,
    )
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    if runner.train_loop.dataloader.num_workers and not train_cfg["by_epoch"]:
        # Workers that the garbage collector comes upon with everything around them are waited for, 5 seconds each.
        runner.train_loop.dataloader_iterator = None
    return runner, recorder


def harmless(recorder):
    """A recorder that stays out of `before_train_iter`, which no user's hook may have here."""
    kind = type("Seen", (Hook,), {"priority": "LOWEST", "after_train_iter": Recorder.after_train_iter})
    seen = kind()
    seen.points, seen.losses, seen.ids = recorder.points, recorder.losses, recorder.ids
    return seen


class LateStop(Hook):
    """Ends training as a kill would, after a step."""

    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("train_cfg", "streams", "workers"),
    [(EPOCHS, "sample", 0), (ITERATIONS, "sample", 0), (EPOCHS, "sample", 1), (ITERATIONS, "worker", 1)],
    ids=["epochs", "iterations", "epochs, workers", "iterations, workers of their own streams"],
)
def test_losses_order_and_weights_are_those_of_the_synchronous_path(tmp_path, device, train_cfg, streams, workers):
    parts = {"streams": streams, "workers": workers, **(only_training() if workers else {})}
    plain, expected = run(tmp_path / "a", False, train_cfg, **parts)
    assert device.batches == 0
    ahead, recorded = run(tmp_path / "b", None, train_cfg, **parts)
    assert device.batches >= ahead.iter
    assert recorded.ids == expected.ids
    assert all(torch.equal(a, b) for a, b in zip(recorded.losses, expected.losses, strict=True))
    assert_same_weights(weights_of(ahead), weights_of(plain))


@pytest.mark.parametrize("stop", [6, 10, 13])
@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_a_save_inside_a_pass_resumes_bit_by_bit(tmp_path, device, train_cfg, stop):
    check_resume(tmp_path, device, train_cfg, stop)


@pytest.mark.parametrize(
    ("train_cfg", "streams"), [(EPOCHS, "sample"), (ITERATIONS, "worker")], ids=["epochs", "iterations"]
)
def test_a_save_inside_a_pass_resumes_bit_by_bit_with_workers(tmp_path, device, train_cfg, streams):
    # What samples draw from the streams of workers depends on where these were started: there they draw nothing.
    parts = loader(ToyData(noise=streams == "sample"), num_workers=1)
    check_resume(tmp_path, device, train_cfg, 9, streams=streams, train_dataloader=parts, **only_training())


def check_resume(tmp_path, device, train_cfg, stop, **parts):
    whole, recorded = run(tmp_path / "whole", False, train_cfg, **parts)
    run(tmp_path / "cut", True, train_cfg, stop=stop, save=stop - 1, **parts)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    resumed, rest = run(tmp_path / "cut", True, train_cfg, resume=True, seed=3, **parts)
    assert device.batches > 0
    assert rest.ids == recorded.ids[stop - 1 :]
    assert all(torch.equal(a, b) for a, b in zip(rest.losses, recorded.losses[stop - 1 :], strict=True))
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_save_after_training_stands_where_the_loop_stopped(tmp_path, device):
    runner, _ = run(tmp_path, None, {"by_epoch": False, "max_iters": 7}, **only_training())
    assert runner.train_loop.dataloader.consumed == 3
    state = runner.train_loop.state_dict()["dataloader"]
    assert (state["pass_index"], state["consumed"]) == (1, 2)


def test_training_that_goes_on_loses_no_batch(tmp_path, device):
    class Pause(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = runner.iter == 6

    _, expected = run(tmp_path / "a", False, ITERATIONS)
    runner, recorded = run(tmp_path / "b", None, ITERATIONS, hooks=[Pause()])
    assert runner.iter == 7
    runner.train_loop.stop_training = False
    runner.train()
    assert recorded.ids == expected.ids
    assert all(torch.equal(a, b) for a, b in zip(recorded.losses, expected.losses, strict=True))


def test_hooks_see_the_batch_of_the_host_and_the_model_its_copy(tmp_path, device):
    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            given = runner.model.given
            seen.append(torch.equal(given, data_batch["inputs"]) and given is not data_batch["inputs"])

    seen = []
    run(tmp_path, None, hooks=[Look()])
    assert seen == [True] * 20


def test_the_preprocessor_looks_at_the_first_batch_before_it_is_moved(tmp_path, device, monkeypatch):
    looked = []
    monkeypatch.setattr(BaseDataPreprocessor, "look_once", lambda self, data: looked.append(data), raising=False)
    runner, _ = run(tmp_path, None)
    assert len(looked) == 1 and looked[0]["inputs"].shape == runner.model.given.shape


@pytest.mark.parametrize("place", [0, 1, 7])
def test_an_error_of_the_dataset_comes_after_the_steps_before_it(tmp_path, device, place):
    class Broken(ToyData):
        def __getitem__(self, index):
            if len(self.fetched) == 4 * place:
                raise ZeroDivisionError("sample")
            return super().__getitem__(index)

    recorder = Recorder()
    runner = build(
        tmp_path,
        train_dataloader=loader(Broken()),
        custom_hooks=[harmless(recorder)],
        **only_training(),
    )
    with pytest.raises(ZeroDivisionError, match="sample"):
        runner.train()
    assert len(recorder.losses) == runner.iter == place
    assert device.batches >= place


def test_nothing_of_it_stays_behind(tmp_path, device):
    runner, _ = run(tmp_path, None)
    assert not {"open_batches", "train_step"} & set(vars(runner.train_loop))
    assert runner.train_loop.batches_used == {}


def test_it_works_together_with_what_else_attaches_to_the_loop(tmp_path, device):
    _, expected = run(tmp_path / "a", False)
    _, recorded = run(tmp_path / "b", None, time_split=True, collect_garbage_every=3)
    assert device.batches == 20
    assert all(torch.equal(a, b) for a, b in zip(recorded.losses, expected.losses, strict=True))


# The rule, case by case


def runner_with(tmp_path, **changes):
    runner = build(tmp_path, **changes)
    assert runner.train_loop.iter == 0
    return runner


class Quiet(Hook):
    def before_train_epoch(self, runner):
        pass

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        pass


class Mutating(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        data_batch["inputs"].mul_(0)


class MutatingByTheChain(Hook):
    def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
        data_batch["inputs"].mul_(0)


class MutatingTimer(IterTimerHook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        data_batch["inputs"].mul_(0)
        super().before_train_iter(runner, batch_idx, data_batch)


class QuietTimer(IterTimerHook):
    def before_train(self, runner):
        super().before_train(runner)


class OnlyBeforeValidation(Hook):
    def before_val_iter(self, runner, batch_idx, data_batch=None):
        pass


def patched(hook):
    hook.before_train_iter = lambda runner, batch_idx, data_batch=None: None
    return hook


@pytest.mark.parametrize("hook", [Quiet(), QuietTimer(), OnlyBeforeValidation(), LoggerHook()])
def test_hooks_that_do_not_get_the_batch_before_its_step_are_allowed(tmp_path, hook):
    assert obstacle(runner_with(tmp_path, custom_hooks=[hook])) == ""


@pytest.mark.parametrize("hook", [Mutating(), MutatingByTheChain(), MutatingTimer(), patched(Quiet()), StopAt(1)])
def test_a_hook_that_gets_the_batch_before_its_step_is_an_obstacle(tmp_path, hook):
    reason = obstacle(runner_with(tmp_path, custom_hooks=[hook]))
    assert reason.startswith(f"{type(hook).__name__} overrides")


def test_what_a_hook_does_to_the_batch_reaches_the_model(tmp_path, device):
    runner, _ = run(tmp_path, True, hooks=[Mutating()])
    assert device.batches == 0
    assert float(runner.model.given.abs().max()) < 1


def test_a_hook_that_is_registered_in_training_ends_copying_ahead(tmp_path, device):
    class Registering(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 2:
                runner.register_hook(Mutating())

    runner, _ = run(tmp_path, None, hooks=[Registering()])
    assert device.batches == 10
    assert float(runner.model.given.abs().max()) < 1


class OwnStep(ToyNet):
    def train_step(self, data, optim_wrapper):
        return super().train_step(data, optim_wrapper)


class OwnForward(ToyNet):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class OtherModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ToyNet()
        self.data_preprocessor = BaseDataPreprocessor()

    def train_step(self, data, optim_wrapper):
        return self.net.train_step(data, optim_wrapper)

    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs)


def with_patched_step():
    model = ToyNet()
    model.train_step = lambda data, optim_wrapper: BaseModel.train_step(model, data, optim_wrapper)
    return model


@pytest.mark.parametrize(("model", "allowed"), [(ToyNet, True), (OwnForward, True), (OwnStep, False),
                                                (OtherModel, False), (with_patched_step, False)])  # fmt: skip
def test_only_a_train_step_of_ours_is_allowed(tmp_path, model, allowed):
    reason = obstacle(runner_with(tmp_path, model=model(), **only_training()))
    assert (reason == "") is allowed
    assert allowed or "own train_step" in reason


class Ours(BaseDataPreprocessor):
    pass


class OwnPreprocessing(BaseDataPreprocessor):
    def forward(self, data, training=False):
        data["inputs"] = data["inputs"] * 2
        return self.cast_data(data)


class OptedIn(BaseDataPreprocessor):
    moves_ahead = True

    def forward(self, data, training=False):
        return self.cast_data(data)


class Heir(OptedIn):
    pass


class OverridingHeir(OptedIn):
    def forward(self, data, training=False):
        return super().forward(data, training)


class OwnCast(BaseDataPreprocessor):
    def cast_data(self, data):
        return super().cast_data(data)


class OptedInOwnCast(BaseDataPreprocessor):
    moves_ahead = True

    def cast_data(self, data):
        return super().cast_data(data)


class OptedOut(ImgDataPreprocessor):
    moves_ahead = False


def with_patched_forward():
    preprocessor = BaseDataPreprocessor()
    preprocessor.forward = lambda data, training=False: data
    return preprocessor


@pytest.mark.parametrize(
    ("preprocessor", "allowed"),
    [
        (BaseDataPreprocessor, True), (ImgDataPreprocessor, True), (Ours, True), (OptedIn, True), (Heir, True),
        (OptedInOwnCast, True), (OwnPreprocessing, False), (OverridingHeir, False), (OwnCast, False),
        (OptedOut, False), (with_patched_forward, False), (nn.Identity, False),
    ],
)  # fmt: skip
def test_a_preprocessor_is_allowed_where_the_class_of_each_method_opts_in(tmp_path, preprocessor, allowed):
    reason = obstacle(runner_with(tmp_path, model=ToyNet(data_preprocessor=preprocessor())))
    assert (reason == "") is allowed
    assert allowed or "moves_ahead" in reason


class Samples(IterableDataset):
    def __iter__(self):
        return iter(ToyData())

    def __len__(self):
        return 20

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class OwnWay(DataLoader):
    def __iter__(self):
        return super().__iter__()


@pytest.mark.parametrize(
    ("dataloader", "streams", "allowed"),
    [
        (loader(), "sample", True),
        (loader(), "worker", False),
        (loader(num_workers=1), "worker", True),
        ({"dataset": Samples(), "batch_size": 4}, "sample", False),
        ({"dataset": Samples(), "batch_size": 4, "num_workers": 1}, "sample", True),
        (OwnWay(ToyData(), batch_size=4), "sample", False),
        (OwnWay(ToyData(), batch_size=4, num_workers=1), "sample", True),
    ],
)
def test_a_loader_in_this_process_is_allowed_where_fetching_leaves_no_trace(tmp_path, dataloader, streams, allowed):
    runner = runner_with(tmp_path, train_dataloader=dataloader, randomness={"seed": 1, "streams": streams})
    assert (obstacle(runner) == "") is allowed


class OwnLoop(EpochBasedTrainLoop):
    def run_iter(self, idx, data_batch):
        super().run_iter(idx, {**data_batch, "inputs": data_batch["inputs"] * 0})


def test_a_loop_with_its_own_way_of_taking_batches_is_an_obstacle(tmp_path):
    runner = runner_with(tmp_path, train_cfg={"type": OwnLoop, "max_epochs": 2})
    assert obstacle(runner).startswith("OwnLoop has its own run_iter")


def test_the_cpu_has_nothing_attached(tmp_path):
    class Look(Hook):
        def before_train_epoch(self, runner):
            seen.append({"open_batches", "train_step"} & set(vars(runner.train_loop)))

    seen = []
    run(tmp_path, None, hooks=[Look()])
    assert seen == [set()] * 4


@pytest.mark.parametrize(("prefetch", "level"), [(True, "INFO"), (None, "DEBUG"), (False, None)])
def test_the_reason_is_logged_where_it_was_asked_for(tmp_path, prefetch, level):
    run(tmp_path, prefetch, log_level="DEBUG")
    (log,) = tmp_path.rglob("*.log")
    lines = [line for line in log.read_text().splitlines() if "not copied ahead" in line]
    assert len(lines) == (0 if level is None else 1)
    assert all(level in line and "'cpu' has no streams" in line for line in lines)


def test_another_value_is_refused(tmp_path):
    with pytest.raises(ArgumentTypeError, match="prefetch must be True, False or None"):
        build(tmp_path, prefetch="always")
