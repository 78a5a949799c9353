"""The argument `compile`: same numbers, no breaks, no recompilation, nothing left behind, and errors that say where."""

import copy
import logging
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from toy import Recorder, ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError, BatchError, CompileError, LossError
from drivetrain.hooks import Hook
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor
from drivetrain.registry import MODELS

ACCUMULATING = {
    "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
    "accumulative_counts": 2,
    "clip_grad": {"max_norm": 0.5},
}
SIX_EPOCHS = {"by_epoch": True, "max_epochs": 6}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    with warnings.catch_warnings():
        # The compiler looks at every attribute of an input, `grad` of what is no leaf too.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        yield
    torch._dynamo.reset()


class Counting:
    """A backend that runs what it is given, and counts."""

    def __init__(self):
        self.graphs = []

    def __call__(self, module, inputs):
        self.graphs.append(module)
        return module.forward


def train(work_dir, **changes):
    recorder = Recorder()
    hooks = [recorder, *changes.pop("custom_hooks", [])]
    runner = build(work_dir, custom_hooks=hooks, **changes)
    runner.train()
    return recorder.losses, runner


def compilations():
    """Graphs that were compiled, in the first place or anew, and breaks between them."""
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_thirty_steps_are_those_of_an_eager_run_with_no_break_and_no_recompilation(tmp_path, backend):
    changes = {
        "optim_wrapper": ACCUMULATING,
        "train_cfg": SIX_EPOCHS,
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 2}},
    }
    expected, eager = train(tmp_path / "eager", **changes)
    assert compilations() == (0, 0)
    losses, runner = train(tmp_path / "compiled", compile={"backend": backend, "fullgraph": True}, **changes)
    assert len(losses) == 30
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    assert_same_weights(weights_of(runner), weights_of(eager))
    assert compilations() == (1, 0)


def test_losses_are_added_up_inside_the_compiled_code(tmp_path):
    class TwoLosses(ToyNet):
        def forward(self, inputs, labels=None, id=None, mode="tensor"):
            outputs = super().forward(inputs, labels, id, mode)
            return {**outputs, "loss_b": [outputs["loss_ce"] * inputs, inputs]} if mode == "loss" else outputs

    def net():
        torch.manual_seed(0)
        return TwoLosses()

    backend = Counting()
    expected, _ = train(tmp_path / "eager", model=net())
    losses, _ = train(tmp_path / "compiled", model=net(), compile={"backend": backend})
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    assert backend.graphs[0].code.count(".mean()") == 2


def test_a_parse_losses_of_the_models_own_is_kept(tmp_path):
    class Doubling(ToyNet):
        def parse_losses(self, losses):
            total, log_vars = super().parse_losses(losses)
            return 2 * total, {**log_vars, "twice": 2 * total}

    torch.manual_seed(0)
    _, runner = train(tmp_path, model=Doubling(), compile={"backend": "eager"}, **only_training())
    assert "train/twice" in runner.message_hub.log_scalars


def test_a_smaller_last_batch_costs_one_compilation_for_the_whole_run(tmp_path):
    _, _ = train(tmp_path / "auto", train_dataloader=loader(ToyData(18)), compile={"backend": "eager"})
    assert compilations() == (2, 0)
    counters.clear()
    data = loader(ToyData(18))
    expected, _ = train(tmp_path / "eager", train_dataloader=data)
    losses, _ = train(tmp_path / "dynamic", train_dataloader=data, compile={"backend": "eager", "dynamic": True})
    assert compilations() == (1, 0)
    assert all(torch.equal(a, b) for a, b in zip(losses, expected, strict=True))


def test_tuple_batches_are_compiled(tmp_path):
    class Pairs(ToyData):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample["inputs"], sample["labels"]

    class NoIds(Recorder):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.losses.append(outputs["loss"].detach().clone())

    runs = {}
    for name, plan in (("eager", False), ("compiled", {"backend": "eager", "fullgraph": True})):
        recorder = NoIds()
        build(
            tmp_path / name, train_dataloader=loader(Pairs()), custom_hooks=[recorder], compile=plan, **only_training()
        ).train()
        runs[name] = torch.stack(recorder.losses)
    assert torch.equal(runs["eager"], runs["compiled"])
    assert compilations() == (1, 0)


def test_bf16_is_compiled_inside_its_context(tmp_path):
    wrapper = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": {"type": "SGD", "lr": 0.1}}
    expected, _ = train(tmp_path / "eager", optim_wrapper=wrapper)
    losses, _ = train(tmp_path / "compiled", optim_wrapper=wrapper, compile={"backend": "eager", "fullgraph": True})
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    assert compilations() == (1, 0)


def test_nothing_of_the_compiler_is_in_checkpoints_or_stays_behind(tmp_path):
    class Copies(Hook):
        def after_train_epoch(self, runner):
            self.copied = copy.deepcopy(runner.model)

    hook, before = Copies(), ToyNet()
    runner = build(
        tmp_path,
        compile={"backend": "eager"},
        custom_hooks=[hook, {"type": "EMAHook"}],
        data_preprocessor=None,
        train_cfg={"by_epoch": True, "max_epochs": 2},
    )
    attributes, loop_attributes = set(vars(runner.model)), set(vars(runner.train_loop))
    runner.train()
    assert list(runner.model.state_dict()) == list(before.state_dict())
    assert set(vars(runner.model)) == attributes
    assert "train_step" not in set(vars(runner.train_loop)) - loop_attributes - {"train_step"}
    assert runner.train_loop.train_step(next(iter(runner.train_dataloader)))["loss"] > 0
    saved = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    assert list(saved["state_dict"]) == list(before.state_dict())
    assert torch.isfinite(hook.copied(torch.ones(2, 3, 6, 6))).all()
    pickle.dumps(runner.model.state_dict())


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(x).relu()


class Blocks(BaseModel):
    """Blocks of the given widths; each takes the first values of what the one before returns."""

    def __init__(self, widths):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for width in widths)
        self.head = nn.Sequential(nn.Linear(widths[-1], 4))

    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        x = inputs.flatten(1).requires_grad_(torch.is_grad_enabled())
        for block in self.blocks:
            x = block(x[:, : block.linear.in_features].contiguous())
        logits = self.head(x)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits, labels)}
        return (logits, labels) if mode == "predict" else logits


def test_blocks_that_are_alike_are_compiled_once(tmp_path):
    backend = Counting()
    model = Blocks([16] * 6)
    losses, _ = train(
        tmp_path / "regional", model=model, compile={"backend": backend, "modules": "blocks.*"}, **only_training()
    )
    assert len(backend.graphs) == 1
    torch.manual_seed(0)
    expected, _ = train(tmp_path / "eager", model=Blocks([16] * 6), **only_training())
    assert len(losses) == len(expected) == 15


def test_more_shapes_of_one_class_than_torchs_limit_are_all_compiled(tmp_path):
    backend, widths = Counting(), list(range(30, 6, -2))
    train(tmp_path, model=Blocks(widths), compile={"backend": backend, "modules": ["blocks.*"]}, **only_training())
    assert len(backend.graphs) == len(widths) > torch._dynamo.config.recompile_limit


def test_modules_compiled_by_themselves_train_and_validate_as_eager(tmp_path):
    results = []
    for plan in (False, {"backend": "eager", "modules": ["blocks.?", "re:head"]}):
        torch.manual_seed(0)
        recorder = Recorder()
        build(tmp_path / str(len(results)), model=Blocks([16, 16, 8]), compile=plan, custom_hooks=[recorder]).train()
        results.append((torch.stack(recorder.losses), recorder.metrics))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert compilations()[1] == 0


def test_of_a_module_inside_another_the_outer_is_compiled(tmp_path):
    from drivetrain.runner._compile_plan import CompilePlan

    model = Blocks([8, 8])
    plan = CompilePlan.parse({"modules": ["blocks.**", "re:head.*"]})
    assert list(plan.find_modules(model)) == ["blocks.0", "blocks.1", "head"]
    assert list(CompilePlan.parse({"modules": "**.linear"}).find_modules(model)) == [
        "blocks.0.linear",
        "blocks.1.linear",
    ]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("yes", ArgumentTypeError, ["True, False or a dict", "'yes'"]),
        ({"module": "layer"}, ArgumentError, ["'module'", "Did you mean 'modules'"]),
        ({"backend": "inductr"}, ArgumentError, ["inductr", "Did you mean 'inductor'"]),
        ({"mode": "defalt"}, ArgumentError, ["defalt", "reduce-overhead"]),
        ({"mode": "default", "options": {"trace": True}}, ArgumentError, ["mode", "options"]),
        ({"dynamic": "auto"}, ArgumentTypeError, ["dynamic", "'auto'"]),
        ({"fallback": 1}, ArgumentTypeError, ["fallback", "1"]),
        ({"modules": 3}, ArgumentTypeError, ["modules", "3"]),
        ({"modules": "re:("}, ArgumentError, ["'re:('", "regular expression"]),
        ({"modules": "cnv"}, ArgumentError, ["'cnv'", "Did you mean 'conv'", "norm"]),
        ({"modules": ["conv", "hed.*"]}, ArgumentError, ["'hed.*'", "Did you mean 'head'"]),
    ],
)
def test_what_cannot_be_compiled_so_is_refused_when_the_runner_is_made(tmp_path, given, error, words):
    with pytest.raises(error) as caught:
        build(tmp_path, compile=given)
    for word in words:
        assert word in str(caught.value)


def refusing(module, inputs):
    raise ValueError("this backend refuses")


class Breaks(ToyNet):
    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        torch._dynamo.graph_break()
        return super().forward(inputs, labels, id, mode)


@pytest.mark.parametrize(
    ("model", "plan", "words"),
    [
        (ToyNet, {"backend": refusing}, ["ToyNet cannot be compiled", "this backend refuses", "fallback=True"]),
        (
            ToyNet,
            {"backend": refusing, "modules": "head"},
            ["head (Linear) cannot be compiled", "this backend refuses"],
        ),
        (Breaks, {"backend": "eager", "fullgraph": True}, ["in forward", "test_runner_compile.py", "graph_break()"]),
    ],
)
def test_a_failing_compilation_says_where_and_how_to_go_on(tmp_path, model, plan, words):
    runner = build(tmp_path, model=model(), compile=plan)
    with pytest.raises(CompileError) as caught:
        runner.train()
    for word in words:
        assert word in str(caught.value)
    assert "_compiled_call_impl" not in vars(runner.model)


def test_with_fallback_what_cannot_be_compiled_runs_as_it_is_written(tmp_path, caplog):
    expected, _ = train(tmp_path / "eager")
    with caplog.at_level(logging.WARNING):
        losses, _ = train(tmp_path / "compiled", compile={"backend": refusing, "fallback": True}, log_level="WARNING")
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    log = next((tmp_path / "compiled").glob("*/*.log")).read_text()
    assert log.count("ToyNet cannot be compiled") == 1
    assert "runs as it is written" in log


def test_errors_of_the_users_own_come_through_as_they_are(tmp_path):
    class NoLoss(ToyNet):
        def forward(self, inputs, labels=None, id=None, mode="tensor"):
            return {"accuracy": inputs.mean()}

    class OtherKeys(ToyNet):
        def forward(self, images, labels=None, id=None, mode="tensor"):
            return {}

    for model, error in ((NoLoss(), LossError), (OtherKeys(), BatchError)):
        with pytest.raises(error):
            build(tmp_path / error.__name__, model=model, compile={"backend": "eager"}, **only_training()).train()


class OwnStep(ToyNet):
    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        loss = self.compute(data)
        optim_wrapper.update_params(loss)
        return {"loss": loss}

    def compute(self, data):
        return self(**data, mode="loss")["loss_ce"]


class PartsStep(OwnStep):
    def compute(self, data):
        return self.head(self.conv(data["inputs"]).mean((2, 3))).square().mean()


def test_a_train_step_of_the_models_own_is_compiled_where_it_calls_the_model(tmp_path):
    runs = []
    for plan in (False, {"backend": "eager"}):
        torch.manual_seed(0)
        runs.append(train(tmp_path / str(len(runs)), model=OwnStep(), compile=plan)[0])
    assert torch.equal(torch.stack(runs[0]), torch.stack(runs[1]))
    assert compilations() == (1, 0)


def test_a_train_step_that_never_calls_the_model_is_told_so(tmp_path):
    train(tmp_path, model=PartsStep(), compile={"backend": "eager"}, log_level="WARNING")
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert log.count("nothing was compiled there") == 1
    assert "modules=[...]" in log


class Named(ToyData):
    """Beside the image a text and a number that differ from sample to sample."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {"inputs": (sample["inputs"] * 50 + 100).byte(), "data_samples": (f"image {index}", sample["labels"])}


class FromSamples(ToyNet):
    def forward(self, inputs, data_samples, mode="tensor"):
        _, labels = data_samples
        return super().forward(inputs, labels, None, mode)


@MODELS.register_module()
class CountingPreprocessor(ImgDataPreprocessor):
    """Its class does not promise that forward is pure."""

    def forward(self, data, training=False):
        assert not torch.compiler.is_compiling()
        return super().forward(data, training)


NUMBERS = {"mean": [100.0] * 3, "std": [50.0] * 3, "bgr_to_rgb": True, "pad_size_divisor": 4}


@MODELS.register_module()
class HalvingPreprocessor(BaseDataPreprocessor):
    """A pure one of the user's; the other entries pass through it."""

    pure = True

    def forward(self, data, training=False):
        data = self.cast_data(data)
        return {**data, "inputs": data["inputs"].float() / 2}

    def __init__(self, **kwargs):
        super().__init__()


old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10)


@pytest.mark.parametrize(
    ("kind", "compiled"),
    [
        ("ImgDataPreprocessor", 2),
        ("CountingPreprocessor", 1),
        pytest.param("HalvingPreprocessor", 2, marks=pytest.mark.skipif(old, reason="torch 2.9 compares every text")),
    ],
)
def test_only_a_preprocessor_whose_class_promises_to_be_pure_is_compiled(tmp_path, kind, compiled):
    losses = []
    for plan in (False, {"backend": "eager", "fullgraph": True}):
        torch.manual_seed(0)
        recorder = IdlessRecorder()
        model = FromSamples(data_preprocessor={"type": kind, **NUMBERS})
        build(
            tmp_path / str(len(losses)), model=model, train_dataloader=loader(Named()), compile=plan,
            custom_hooks=[recorder], train_cfg=SIX_EPOCHS, **only_training(),
        ).train()  # fmt: skip
        losses.append(torch.stack(recorder.losses))
    assert torch.equal(*losses)
    assert compilations() == (compiled, 0)
    assert "cast_data" not in vars(model.data_preprocessor)


class IdlessRecorder(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].detach().clone())


def test_a_promise_does_not_hold_for_a_forward_written_anew():
    from drivetrain.runner._opt_in import promises

    assert promises(BaseDataPreprocessor(), "pure")
    assert promises(ImgDataPreprocessor(), "pure")
    assert not promises(CountingPreprocessor(), "pure")
    assert not promises(None, "pure")
    patched = ImgDataPreprocessor()
    patched.cast_data = lambda data: data
    assert not promises(patched, "pure")


def test_inductor_trains_within_rounding_of_eager(tmp_path):
    # Inductor fuses and reorders sums of float32, and draws dropout from a generator of its own: none here.
    runs = []
    for plan in (False, True):
        torch.manual_seed(0)
        runs.append(train(tmp_path / str(plan), model=ToyNet(dropout=0), compile=plan, optim_wrapper=ACCUMULATING)[0])
    torch.testing.assert_close(torch.stack(runs[1]), torch.stack(runs[0]), rtol=1e-4, atol=1e-5)
