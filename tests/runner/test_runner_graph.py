"""The argument `graph`, as far as it goes without a device: what is refused, what is prepared, and who decides what runs.

The recording itself is tested on a device, in tests/gpu.
"""

import contextlib
from collections import Counter, namedtuple

import pytest
import torch
from toy import Recorder, ToyData, ToyNet, assert_same_weights, build, loader, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError
from drivetrain.hooks import Hook, LoggerHook, default_hooks
from drivetrain.logging import MessageHub
from drivetrain.model import BaseModel
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.registry import HOOKS
from drivetrain.runner import _graph as graph_module
from drivetrain.runner._graph import StepGraphs, _are_others_among
from drivetrain.runner._graph_plan import GraphPlan, check_optimizer, check_run, prepare_optimizer
from drivetrain.runner._performance import Performance
from drivetrain.runner._recording import MirroredRates, NotedHub, Recording
from drivetrain.runner._static_batch import first_difference, static_copy, take_apart
from drivetrain.structures import BaseDataElement


@pytest.fixture
def device_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_without_a_device_graph_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ArgumentError, match=r"no CUDA device here\. Write graph=False"):
        build(tmp_path / "run", graph=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("yes", ArgumentTypeError, "True, False or a dict of warmup, ignore, got 'yes'"),
        ({"warm_up": 3}, ArgumentError, "'warm_up'. Did you mean 'warmup'"),
        ({"warmup": 0}, ArgumentError, "at least 1, got 0"),
        ({"ignore": "name"}, ArgumentTypeError, "list of names of entries, got 'name'"),
    ],
)
def test_what_graph_does_not_take_is_refused(given, error, words, device_there):
    with pytest.raises(error, match=words):
        GraphPlan.parse(given)


def test_graph_and_a_compiler_that_makes_graphs_are_refused_together(device_there):
    with pytest.raises(ArgumentError, match="use one of them"):
        Performance(compile={"mode": "reduce-overhead"}, graph=True)
    assert Performance(compile={"backend": "eager"}, graph={"warmup": 5}).graph_plan == GraphPlan(warmup=5)


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"type": "SGD", "lr": 0.1}, {"fused": True}),
        ({"type": torch.optim.AdamW}, {"fused": True, "capturable": True}),
        ({"type": "Adam", "foreach": True}, {"foreach": True, "capturable": True}),
        ({"type": "RMSprop"}, {"capturable": True}),
    ],
)
def test_the_config_of_an_optimizer_gets_what_a_graph_needs(given, flags):
    config = {"type": "OptimWrapper", "optimizer": given}
    prepared = prepare_optimizer(config)
    assert prepared == {"type": "OptimWrapper", "optimizer": {**given, **flags}}
    assert config["optimizer"] is given and not set(flags) - {"foreach"} & set(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "SGD", "lr": 0.1, "foreach": True}, "Build it with fused=True"),
        ({"type": "Adam", "capturable": False}, "Build it with capturable=True"),
        ({"type": "LBFGS"}, "Use one of Adam, AdamW"),
        ({"type": "TorchAdafactor"}, "Use one of Adam, AdamW"),
    ],
)
def test_a_config_that_cannot_be_captured_is_refused(given, words):
    with pytest.raises(ArgumentError, match=words):
        prepare_optimizer({"optimizer": given})


def test_an_optimizer_that_cannot_be_captured_is_refused_when_the_runner_is_made(tmp_path, device_there):
    model = ToyNet()
    for optimizer in (torch.optim.SGD(model.parameters(), 0.1), torch.optim.Adam(model.parameters())):
        for given in (optimizer, OptimWrapper(optimizer), {"optimizer": optimizer}):
            with pytest.raises(ArgumentError, match=f"cannot: {type(optimizer).__name__} object. Build it with"):
                build(tmp_path, model=model, graph=True, optim_wrapper=given)
    check_optimizer(torch.optim.SGD(model.parameters(), 0.1, fused=True))
    check_optimizer(OptimWrapper(torch.optim.Adam(model.parameters(), capturable=True)))


def test_an_unknown_optimizer_is_left_to_the_error_of_its_registry():
    config = {"optimizer": {"type": "Sgdd", "lr": 1}}
    assert prepare_optimizer(config) == config
    assert prepare_optimizer({"constructor": "Several", "optimizer": {"a": {}}}) == {
        "constructor": "Several",
        "optimizer": {"a": {}},
    }


class OwnStep(ToyNet):
    def train_step(self, data, optim_wrapper):
        return {}


def test_runs_that_a_graph_cannot_hold_are_refused(tmp_path):
    runner = build(tmp_path, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "fused": True}})
    runner.built_optim_wrapper()
    with pytest.raises(ArgumentError, match="needs a CUDA device, and this run trains on cpu"):
        check_run(runner)
    runner.strategy._device = torch.device("cuda")
    check_run(runner)
    runner.model = OwnStep()
    with pytest.raises(NotSupportedError, match="OwnStep has a train_step of its own"):
        check_run(runner)
    runner.model = ToyNet()
    runner.optim_wrapper = OptimWrapperDict(a=runner.optim_wrapper)
    with pytest.raises(NotSupportedError, match=r"there are several: \['a'\]"):
        check_run(runner)

    class OwnUpdate(OptimWrapper):
        def update_params(self, loss, step_kwargs=None, zero_kwargs=None):
            pass

    runner.optim_wrapper = OwnUpdate(torch.optim.SGD(runner.model.parameters(), 0.1, fused=True))
    with pytest.raises(NotSupportedError, match="OwnUpdate has its own"):
        check_run(runner)
    fused = torch.optim.SGD(runner.model.parameters(), 0.1, fused=True)
    runner.optim_wrapper = OptimWrapper(fused, accumulative_counts=2, normalise_by="num_tokens")
    with pytest.raises(NotSupportedError, match="normalise_by='num_tokens' adds counts up over several"):
        check_run(runner)


Pair = namedtuple("Pair", "left right")


def test_a_batch_is_its_tensors_and_what_is_beside_them():
    sample = BaseDataElement(metainfo={"path": "a.png", "size": (3, 4)}, label=torch.ones(1))
    batch = {"inputs": torch.zeros(2, 3), "pair": Pair(torch.ones(4), [1, "a"]), "samples": [sample]}
    tensors, facts = take_apart(batch, frozenset())
    assert [tuple(tensor.shape) for tensor in tensors] == [(2, 3), (4,), (1,)]
    other = sample.clone()
    other.set_metainfo({"path": "b.png"})
    changed = {**batch, "samples": [other]}
    assert take_apart(changed, frozenset())[1] != facts
    assert first_difference(facts, take_apart(changed, frozenset())[1]) == "'path' was 'a.png' and is 'b.png'"
    ignored = frozenset({"path"})
    assert take_apart(changed, ignored)[1] == take_apart(batch, ignored)[1]
    copied = static_copy(batch, torch.device("cpu"))
    assert [t.data_ptr() for t in take_apart(copied, ignored)[0]] != [t.data_ptr() for t in tensors]
    assert all(torch.equal(a, b) for a, b in zip(take_apart(copied, ignored)[0], tensors, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        {"x": torch.zeros(3), "n": 1},
        {"x": torch.zeros(2).double(), "n": 1},
        {"x": torch.zeros(2), "n": 2},
        {"y": torch.zeros(2), "n": 1},
        {"x": [torch.zeros(2)], "n": 1},
        {"x": torch.zeros(2), "n": object()},
        {"x": torch.zeros(2)},
    ],
)
def test_batches_that_differ_in_more_than_values_have_other_facts(other):
    batch = {"x": torch.zeros(2), "n": 1}
    assert take_apart(other, frozenset())[1] != take_apart(batch, frozenset())[1]
    assert take_apart({"x": torch.ones(2), "n": 1}, frozenset())[1] == take_apart(batch, frozenset())[1]


@pytest.mark.parametrize("groups", [1, 3])
def test_rates_are_mirrored_when_they_change_and_stay_numbers_for_schedules(groups):
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(groups)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": 0.1 * (i + 1)} for i, w in enumerate(weights)], lr=1.0)
    rates = MirroredRates(optimizer, torch.device("cpu"))
    rates.refresh()
    for factor in (1, 0.5):
        for group in optimizer.param_groups:
            group["lr"] *= factor
        rates.refresh()
        with rates.in_place():
            mirrored = torch.stack([group["lr"] for group in optimizer.param_groups])
        expected = [group["lr"] for group in optimizer.param_groups]
        assert all(type(value) is float for value in expected)
        assert torch.equal(mirrored, torch.tensor(expected))


def test_a_rate_that_is_a_tensor_already_is_left_alone():
    rate = torch.tensor(0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=rate)
    rates = MirroredRates(optimizer, torch.device("cpu"))
    rates.refresh()
    with rates.in_place():
        assert optimizer.param_groups[0]["lr"] is rate


def test_what_is_written_to_the_hub_while_recording_is_written_at_every_replay():
    wrapper, notes, hub = namedtuple("W", "message_hub")(None), NotedHub("notes"), MessageHub("run")
    wrapper = type("W", (), {"message_hub": hub})()
    value = torch.ones((), requires_grad=True) * 2
    with notes.in_place_of(wrapper):
        wrapper.message_hub.update_scalar("train/norm", value)
        MessageHub.get_current_instance().update_together({"train/a": value, "train/b": 3})
        with pytest.raises(NotSupportedError, match="reads 'iter' from the message hub"):
            MessageHub.get_current_instance().get_info("iter")
    assert wrapper.message_hub is hub and not hub.log_scalars
    graph = type("Graph", (), {"replay": lambda self: None})()
    recording = Recording(graph, None, [], {"loss": value, "n": 1}, notes.entries, [])
    first = recording.replay([], hub, copies=True)
    value.data.fill_(5)
    second = recording.replay([], hub, copies=False)
    assert (first["loss"].item(), second["loss"].item(), second["n"]) == (2, 5, 1)
    assert second["loss"].data_ptr() == value.data_ptr() != first["loss"].data_ptr()
    assert [float(x) for x in hub.get_scalar("train/norm").data[0]] == [2, 5]
    assert [float(x) for x in hub.get_scalar("train/b").data[0]] == [3, 3]


class _Replayed:
    """In the place of a graph: computes the recorded step anew on the recorded batch."""

    def __init__(self, steps, static, role):
        self.steps, self.static, self.role = steps, static, role
        self.inputs, _ = take_apart(static, steps.plan.ignore)

    def replay(self, tensors, hub, *, copies):
        for place, tensor in zip(self.inputs, tensors, strict=True):
            place.copy_(tensor)
        self.steps.wrapper._inner_count -= 1  # the step counts its loss itself
        return self.steps._step(self.static, self.role)


@pytest.fixture
def imitated(monkeypatch):
    """Graphs that are computed eagerly on the CPU; everything around them is real. Lists the recorded roles."""
    recorded = []

    def record(steps, data, role):
        recorded.append(role)
        steps.wrapper.count_loss()
        return _Replayed(steps, static_copy(data, torch.device("cpu")), role)

    def parse(given):
        return None if given is False else GraphPlan() if given is True else GraphPlan._from_dict(given)

    monkeypatch.setattr(StepGraphs, "_record", record)
    monkeypatch.setattr(GraphPlan, "parse", parse)
    monkeypatch.setattr(graph_module, "check_run", lambda runner: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: _Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: _Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(Performance, "prepare_optimizer", lambda self, given: given)
    monkeypatch.setattr(MirroredRates, "refresh", lambda self: None)
    return recorded


class _Stream:
    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


def both(tmp_path, graph=True, **changes):
    """The same run eagerly and with graphs: losses, weights and the counts of steps."""
    runs = []
    for given in (False, graph):
        recorder = Recorder()
        hooks = [recorder, *changes.get("custom_hooks", [])]
        runner = build(tmp_path / f"graph={bool(given)}", graph=given, **{**changes, "custom_hooks": hooks})
        runner.train()
        runs.append((torch.stack(recorder.losses), weights_of(runner), runner))
    (expected, weights, _), (losses, own, runner) = runs
    assert torch.equal(losses, expected)
    assert_same_weights(own, weights)
    return runner, runner.message_hub.get_info("graph_steps")


def test_after_warming_up_every_step_is_replayed(tmp_path, imitated):
    runner, counts = both(
        tmp_path, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1}}
    )
    assert counts == {"warm-up": 3, "replayed": 12}
    assert imitated == [(1.0, True)]
    assert runner.train_loop.train_step.__func__ is type(runner.train_loop).train_step


@pytest.mark.parametrize("max_epochs", [3, 4])
def test_accumulation_has_a_graph_for_each_role_and_keeps_its_numbers(tmp_path, imitated, max_epochs):
    wrapper = {"optimizer": {"type": "Adam", "lr": 0.01}, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.5}}
    runner, counts = both(
        tmp_path, graph={"warmup": 1}, optim_wrapper=wrapper, train_cfg={"by_epoch": True, "max_epochs": max_epochs}
    )
    assert imitated == [(1 / 3, False), (1 / 3, True)]
    # 20 steps end with a window of two, whose losses have another divisor.
    assert counts == {"warm-up": 2 if max_epochs == 3 else 4, "replayed": 13 if max_epochs == 3 else 16}
    assert all(parameter.grad is None for parameter in runner.model.parameters())


def test_a_smaller_last_batch_runs_eagerly_and_is_counted(tmp_path, imitated):
    _, counts = both(tmp_path, graph={"warmup": 2}, train_dataloader=loader(ToyData(18)))
    assert counts == {"warm-up": 2, "replayed": 10, "another batch": 3}


def test_a_preprocessor_that_makes_no_promise_runs_before_the_graph(tmp_path, imitated):
    from drivetrain.model import BaseDataPreprocessor

    class Noisy(BaseDataPreprocessor):
        def forward(self, data, training=False):
            calls.append(training)
            data = self.cast_data(data)
            return {**data, "inputs": data["inputs"] + 0.1 * torch.randn_like(data["inputs"])}

    class Net(ToyNet):
        def __init__(self):
            super().__init__(data_preprocessor=Noisy())

    calls = []
    changes = {"val_cfg": None, "val_dataloader": None, "val_evaluator": None}
    runs = []
    for graph in (False, True):
        torch.manual_seed(0)
        recorder, model = Recorder(), Net()
        runner = build(tmp_path / str(graph), model=model, graph=graph, custom_hooks=[recorder], **changes)
        runner.train()
        runs.append(torch.stack(recorder.losses))
    assert torch.equal(*runs)
    assert calls == [True] * 30
    assert runner.message_hub.get_info("graph_steps") == {"warm-up": 3, "replayed": 12}


def test_a_scheduled_momentum_is_followed_by_recording_anew(tmp_path, imitated):
    momentum = {"type": "StepMomentum", "step_size": 1, "gamma": 0.5, "by_epoch": True}
    _, counts = both(tmp_path, graph={"warmup": 1}, param_scheduler=[momentum])
    assert counts == {"warm-up": 3, "replayed": 12}
    assert imitated == [(1.0, True)] * 3


def test_a_change_of_the_model_between_passes_is_seen(tmp_path, imitated):
    class Switch(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 1:
                runner.model.drop.p = 0.5
            if runner.epoch == 2:
                runner.model.conv.weight.requires_grad_(False)

    _, counts = both(tmp_path, graph={"warmup": 1}, custom_hooks=[Switch()])
    assert imitated == [(1.0, True)] * 3
    assert counts == {"warm-up": 3, "replayed": 12}


class Texts(ToyData):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "name": f"image {index}"}


class TextNet(ToyNet):
    def forward(self, inputs, labels=None, id=None, name=None, mode="tensor"):
        return super().forward(inputs, labels, id, mode)


def test_texts_that_differ_keep_every_step_eager_until_they_are_ignored(tmp_path, imitated):
    changes = {
        "train_dataloader": loader(Texts()),
        "train_cfg": {"by_epoch": True, "max_epochs": 11},
        "val_cfg": None,
        "val_dataloader": None,
        "val_evaluator": None,
    }
    runs = {}
    for name, graph in (("told", True), ("ignored", {"ignore": ["name"]})):
        torch.manual_seed(0)
        runner = build(tmp_path / name, model=TextNet(), graph=graph, log_level="WARNING", **changes)
        runner.train()
        runs[name] = runner.message_hub.get_info("graph_steps")
    assert runs == {"told": {"warm-up": 55}, "ignored": {"warm-up": 3, "replayed": 52}}
    log = next((tmp_path / "told").glob("*/*.log")).read_text()
    assert log.count("all 50 steps ran eagerly") == 1
    assert "'name' was 'image" in log


def test_an_interrupted_run_leaves_the_loop_as_it_was(tmp_path, imitated):
    class Stops(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 4:
                raise KeyboardInterrupt

    runner = build(tmp_path, graph=True, custom_hooks=[Stops()])
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert runner.train_loop.train_step.__func__ is type(runner.train_loop).train_step
    assert runner.train_loop.open_batches.__func__ is type(runner.train_loop).open_batches


def test_log_variables_are_copied_only_where_hooks_of_others_see_them():
    ours = default_hooks()
    ours = [HOOKS.build(hook) for hook in ours.values()]
    assert not _are_others_among(ours)
    assert not _are_others_among([*ours, Idle()])
    assert _are_others_among([*ours, Recorder()])
    assert _are_others_among([*ours, Derived()])


class Idle(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        pass


class Derived(LoggerHook):
    """A hook of the user's, though its method is ours."""


def test_the_report_says_how_steps_ran():
    steps = object.__new__(StepGraphs)
    steps.counts = Counter({"replayed": 7, "warm-up": 3, "another batch": 1})
    assert steps.report() == (
        "graph: 7 of 11 steps were replayed; 4 ran eagerly (3 to warm up, 1 with another shape or content)."
    )


def test_the_step_is_that_of_the_base_model():
    # What is recorded repeats BaseModel.train_step; if that changes, this has to follow.
    import inspect

    body = inspect.getsource(BaseModel.train_step).split('"""')[-1].split()
    expected = """with optim_wrapper.optim_context(self): data = self.data_preprocessor(data, True) losses =
        self._run_forward(data, mode="loss") loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss) return log_vars"""
    assert body == expected.split()
