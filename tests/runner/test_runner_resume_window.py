"""A save inside an accumulation window: the resumed run fills the window up, bit by bit as if never stopped."""

from __future__ import annotations

import contextlib

import pytest
import torch
from toy import Recorder, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.hooks import EMAHook, Hook

ADAM = {"type": "AdamW", "lr": 0.01}


class Weighed(ToyNet):
    def forward(self, inputs, labels=None, id=None, mode="tensor"):
        outputs = super().forward(inputs, labels, id, mode=mode)
        return {**outputs, "num_hits": (labels < 2).float().sum()} if mode == "loss" else outputs


class TwoParts(ToyNet):
    """Two optimizers with windows of other lengths, the second used twice in an iteration."""

    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        log = {}
        for name, times in (("norm", 1), ("head", 2)):
            for _ in range(times):
                with optim_wrapper[name].optim_context(self):
                    loss, log = self.parse_losses(self(**data, mode="loss"))
                optim_wrapper[name].update_params(loss)
        return log


class StopAt(Hook):
    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def run(work_dir, wrapper, model=ToyNet, stop=None, **changes):
    torch.manual_seed(0)
    net = model()
    if model is TwoParts:
        parts = {"norm": [*net.conv.parameters(), *net.norm.parameters()], "head": net.head.parameters()}
        from drivetrain.optim import OptimWrapper

        wrapper = {
            name: OptimWrapper(torch.optim.AdamW(list(parts[name]), lr=0.01), accumulative_counts=counts)
            for name, counts in (("norm", 3), ("head", 5))
        }
    recorder = Recorder()
    runner = build(
        work_dir, **only_training(), model=net, optim_wrapper=wrapper, param_scheduler=None,
        custom_hooks=[recorder, EMAHook(), *([StopAt(stop)] if stop else [])],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}},
        train_dataloader=loader(), **changes,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    return runner, recorder


WRAPPERS = {
    "plain": ({"optimizer": ADAM, "accumulative_counts": 3}, ToyNet),
    "clipped": ({"optimizer": ADAM, "accumulative_counts": 4, "clip_grad": {"max_norm": 0.1}}, ToyNet),
    "weighed by a count": ({"optimizer": ADAM, "accumulative_counts": 3, "normalise_by": "num_hits"}, Weighed),
    "scaled": ({"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": ADAM, "accumulative_counts": 3}, ToyNet),
    "fp16": ({"type": "AmpOptimWrapper", "dtype": "float16", "optimizer": ADAM, "accumulative_counts": 3}, ToyNet),
    "two optimizers": (None, TwoParts),
}


@pytest.mark.parametrize("stop", [7, 8])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_window_that_was_open_at_the_save_is_filled_up(tmp_path, kind, stop, capsys):
    wrapper, model = WRAPPERS[kind]
    whole, recorded = run(tmp_path / "whole", wrapper, model)
    run(tmp_path / "cut", wrapper, model, stop=stop)
    capsys.readouterr()
    resumed, rest = run(tmp_path / "cut", wrapper, model, resume=True, log_level="WARNING")
    assert "inside an accumulation window" not in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(rest.losses, recorded.losses[stop:], strict=True))
    assert_same_weights(weights_of(whole), weights_of(resumed))
    assert whole.optim_wrapper.updates == resumed.optim_wrapper.updates


def test_gradients_are_saved_inside_a_window_only(tmp_path):
    run(tmp_path, {"optimizer": ADAM, "accumulative_counts": 3}, stop=7)
    windows = [torch.load(tmp_path / f"iter_{n}.pth", weights_only=True)["drivetrain"].get("window") for n in (5, 6)]
    assert windows[0]["inner_count"] == 5 and len(windows[0]["gradients"]) == 6
    assert windows[1] is None


def test_a_window_of_another_length_is_not_filled_up_and_says_so(tmp_path, capsys):
    run(tmp_path, {"optimizer": ADAM, "accumulative_counts": 3}, stop=8)
    run(tmp_path, {"optimizer": ADAM, "accumulative_counts": 5}, resume=True, log_level="WARNING")
    assert "a window of 3 losses, and accumulative_counts is 5 now" in capsys.readouterr().out


def test_gradients_of_another_model_are_refused():
    from drivetrain.optim import OptimWrapper

    def wrapper(size):
        model = torch.nn.Linear(size, 1)
        wrapped = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
        wrapped.initialize_count_status(model, 0, -1)
        wrapped.update_params(model(torch.ones(1, size)).sum())
        return wrapped

    with pytest.raises(RuntimeError, match=r"gradient of parameter 0 has shape \(1, 3\)"):
        wrapper(2).load_window_state(wrapper(3).window_state())


def test_going_back_to_a_border_drops_the_gradients_of_the_window_that_was_open():
    from drivetrain.optim import OptimWrapper

    weight = torch.nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1), accumulative_counts=2)
    wrapper.update_params(weight.sum())
    wrapper.load_window_state(None)
    assert weight.grad is None and wrapper.inner_count == 0
