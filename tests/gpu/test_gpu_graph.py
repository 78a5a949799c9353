"""Steps replayed from CUDA graphs are the steps of an eager run."""

import pytest
import torch
from torch.nn import functional
from toy import Recorder, ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import CaptureError
from drivetrain.hooks import Hook
from drivetrain.model import BaseDataPreprocessor

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

STEPS = {"by_epoch": False, "max_iters": 200, "val_interval": 90}
SGD = {"type": "SGD", "lr": 0.125, "momentum": 0.9, "fused": True}
ADAM = {"type": "AdamW", "lr": 2**-7, "fused": True, "capturable": True}


@pytest.fixture(autouse=True)
def same_kernels(monkeypatch):
    """Convolutions that give the same sums every time, so that equal steps are equal bit by bit."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


class Net(ToyNet):
    """Without the noise of a net that learns nothing: losses stay apart."""

    def __init__(self, dropout=0.0, data_preprocessor=None):
        super().__init__(dropout, data_preprocessor)


def run(work_dir, graph, **changes):
    torch.manual_seed(0)
    recorder = Recorder()
    hooks = [recorder, *changes.pop("custom_hooks", [])]
    chosen = {"train_cfg": STEPS, "param_scheduler": None, "optim_wrapper": {"optimizer": SGD}, **changes}
    model = chosen.pop("model", Net)()
    runner = build(work_dir, model=model, graph=graph, custom_hooks=hooks, **chosen)
    runner.train()
    return recorder, runner


def compare(tmp_path, *, exactly, graph=True, **changes):
    eager, eager_runner = run(tmp_path / "eager", False, **changes)
    own, runner = run(tmp_path / "graph", graph, **changes)
    expected, losses = torch.stack(eager.losses), torch.stack(own.losses)
    assert len(losses) == 200
    assert torch.isfinite(losses).all()
    if exactly:
        assert torch.equal(losses, expected)
        assert_same_weights(weights_of(runner), weights_of(eager_runner))
        assert own.metrics == eager.metrics
    else:
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    return runner.message_hub.get_info("graph_steps"), runner


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adamw"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("clip", [None, {"max_norm": 0.1}], ids=["plain", "clipped"])
def test_two_hundred_steps_are_equal_bit_by_bit(tmp_path, optimizer, dropout, clip):
    counts, runner = compare(
        tmp_path, exactly=True, model=lambda: Net(dropout), optim_wrapper={"optimizer": optimizer, "clip_grad": clip}
    )
    assert counts == {"warm-up": 3, "replayed": 197}
    if clip:
        assert runner.message_hub.get_scalar("train/grad_norm").statistics("max") > 0.1


def test_the_rate_follows_a_schedule_by_step(tmp_path):
    # A fused optimizer takes a rate on the device as float32; an eager one computes with the number itself.
    counts, runner = compare(
        tmp_path,
        exactly=False,
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 50},
            {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 50},
        ],
    )
    assert counts == {"warm-up": 3, "replayed": 197}
    rate = runner.optim_wrapper.optimizer.param_groups[0]["lr"]
    assert type(rate) is float and rate < 1e-4


def test_groups_with_their_own_rates_follow_their_schedules(tmp_path):
    wrapper = {"optimizer": {**ADAM, "weight_decay": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2, "norm_decay_mult": 0}}
    counts, _ = compare(
        tmp_path,
        exactly=False,
        optim_wrapper=wrapper,
        param_scheduler=[{"type": "PolyLR", "by_epoch": False, "power": 0.9}],
    )
    assert counts["replayed"] == 197


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_accumulation_is_equal_bit_by_bit(tmp_path, dropout):
    wrapper = {"optimizer": SGD, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.1}}
    counts, runner = compare(tmp_path, exactly=True, model=lambda: Net(dropout), optim_wrapper=wrapper)
    # Three of each role to warm up, and the last window of two, whose losses have another divisor.
    assert counts == {"warm-up": 8, "replayed": 192}
    assert all(parameter.grad is None for parameter in runner.model.parameters())


def test_a_smaller_last_batch_runs_eagerly(tmp_path):
    counts, _ = compare(tmp_path, exactly=True, train_dataloader=loader(ToyData(18)))
    assert counts == {"warm-up": 3, "replayed": 157, "another batch": 40}


def test_an_average_of_the_weights_sees_every_step(tmp_path):
    compare(tmp_path, exactly=True, custom_hooks=[{"type": "EMAHook", "momentum": 0.01}])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_is_replayed(tmp_path, dtype):
    wrapper = {"type": "AmpOptimWrapper", "dtype": dtype, "optimizer": SGD, "clip_grad": {"max_norm": 0.5}}
    counts, _ = compare(tmp_path, exactly=True, optim_wrapper=wrapper)
    assert counts["replayed"] == 197


class Shifting(BaseDataPreprocessor):
    """Random, so not pure."""

    def forward(self, data, training=False):
        data = self.cast_data(data)
        return {**data, "inputs": data["inputs"] + 0.1 * torch.randn_like(data["inputs"])} if training else data


def test_a_random_preprocessor_runs_before_the_graph(tmp_path):
    compare(tmp_path, exactly=True, model=lambda: Net(data_preprocessor=Shifting()))


class Generating(Net):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator("cuda").manual_seed(3)

    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        noise = torch.randn(inputs.shape, device=inputs.device, generator=self.generator)
        return super().forward(inputs + 0.1 * noise, labels, id, mode)


def test_a_generator_of_the_models_own_moves_on(tmp_path):
    compare(tmp_path, exactly=True, model=Generating, train_cfg={**STEPS, "val_interval": 1000}, **only_training())


def test_compiled_steps_are_replayed(tmp_path):
    # The compiler fuses, so sums round in another order.
    counts, _ = compare(
        tmp_path, exactly=False, compile=True, **only_training(), train_cfg={**STEPS, "val_interval": 1000}
    )
    assert counts["replayed"] == 197


def test_the_compilers_own_graphs_keep_accumulated_gradients(tmp_path):
    wrapper = {"optimizer": SGD, "accumulative_counts": 2}
    eager, _ = run(tmp_path / "eager", False, optim_wrapper=wrapper)
    own, _ = run(tmp_path / "own", False, optim_wrapper=wrapper, compile={"mode": "reduce-overhead"})
    torch.testing.assert_close(torch.stack(own.losses), torch.stack(eager.losses), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("switch", [{"prefetch": True}, {"time_split": True}, {"collect_garbage_every": 50}], ids=str)
def test_graphs_go_with_the_other_switches(tmp_path, switch):
    counts, _ = compare(tmp_path, exactly=True, **switch)
    assert counts == {"warm-up": 3, "replayed": 197}


class Keeps(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"])


def test_what_a_step_returns_is_its_own(tmp_path):
    kept = Keeps()
    recorder, _ = run(tmp_path, True, custom_hooks=[kept])
    assert torch.equal(torch.stack(kept.losses), torch.stack(recorder.losses))
    assert len(set(torch.stack(kept.losses).tolist())) > 100


class Strict(Hook):
    """From step 20 to step 180 whatever waits for the device is an error."""

    priority = "VERY_LOW"

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx in (20, 180):
            torch.cuda.set_sync_debug_mode("error" if batch_idx == 20 else "default")


class NoIds(Recorder):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].detach().clone())


@pytest.mark.parametrize("hooks", [[], [NoIds()]], ids=["ours", "others"])
@pytest.mark.parametrize("accumulative_counts", [1, 2])
def test_nothing_waits_for_the_device_between_log_points(tmp_path, accumulative_counts, hooks):
    runner = build(
        tmp_path,
        model=Net(0.2),
        graph=True,
        train_dataloader=loader(ToyData(800, noise=False)),
        train_cfg={"by_epoch": False, "max_iters": 200},
        param_scheduler=[{"type": "CosineAnnealingLR", "by_epoch": False}],
        optim_wrapper={
            "optimizer": {"type": "AdamW"},
            "clip_grad": {"max_norm": 1},
            "accumulative_counts": accumulative_counts,
        },
        custom_hooks=[Strict(), *hooks, {"type": "EMAHook"}],
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1000}},
        **only_training(),
    )
    try:
        runner.train()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert runner.message_hub.get_info("graph_steps")["replayed"] > 190


class Reads(Net):
    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        losses = super().forward(inputs, labels, id, mode)
        return {"loss": losses["loss_ce"] / float(inputs.abs().max())} if mode == "loss" else losses


class Masks(Net):
    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        if mode != "loss":
            return super().forward(inputs, labels, id, mode)
        logits = super().forward(inputs)
        return {"loss": functional.cross_entropy(logits[labels > 0], labels[labels > 0])}


@pytest.mark.parametrize("model", [Reads, Masks])
def test_a_step_that_cannot_be_recorded_says_so(tmp_path, model):
    with pytest.raises(CaptureError, match=rf"training step of {model.__name__} cannot be recorded") as caught:
        run(tmp_path, True, model=model)
    assert "must not read a tensor's value on the host" in str(caught.value)
    torch.cuda.synchronize()
    run(tmp_path / "after", False, train_cfg={**STEPS, "max_iters": 3})


def test_a_checkpoint_of_a_replayed_run_resumes_without_graphs(tmp_path):
    whole, _ = run(tmp_path / "whole", False, optim_wrapper={"optimizer": ADAM})
    checkpoint = {"type": "CheckpointHook", "interval": 100, "by_epoch": False}
    half = {**STEPS, "max_iters": 100}
    run(
        tmp_path / "half",
        True,
        optim_wrapper={"optimizer": ADAM},
        train_cfg=half,
        default_hooks={"checkpoint": checkpoint},
    )
    rest, _ = run(
        tmp_path / "half", False, optim_wrapper={"optimizer": ADAM}, resume=True,
        load_from=str(tmp_path / "half" / "iter_100.pth"),
    )  # fmt: skip
    assert torch.equal(torch.stack(rest.losses), torch.stack(whole.losses[100:]))
