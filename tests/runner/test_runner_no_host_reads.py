"""Between two log points nothing reads a value from the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from toy import ToyData, ToyNet, build, loader, only_training

from drivetrain.hooks import Hook

STEPS = 100
READS = ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__repr__", "__index__", "nonzero")


class Sealed(Tensor):
    """A tensor that raises when the host asks for its value."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        moves = name == "to" and any(str(arg) == "cpu" for arg in (*args[1:], *(kwargs or {}).values()))
        if name in READS or name == "equal" or moves:
            raise AssertionError(f"the host read a value by {name}")
        return super().__torch_function__(func, types, args, kwargs or {})


class SealedNet(ToyNet):
    """Returns a sealed loss and a dozen sealed values to log."""

    def forward(self, inputs: Tensor, labels: Tensor | None = None, id: Any = None, mode: str = "tensor") -> Any:
        logits = super().forward(inputs, labels, id, mode="tensor")
        loss = functional.cross_entropy(logits.float(), labels).as_subclass(Sealed)
        return {"loss_ce": loss, **{f"value_{i}": (loss * i).detach() for i in range(12)}}


def run(tmp_path, model, *, custom_hooks=(), interval=1000, **changes):
    runner = build(
        tmp_path,
        model=model,
        **only_training(),
        train_dataloader=loader(ToyData(4 * (STEPS + 10), noise=False)),
        train_cfg={"by_epoch": False, "max_iters": STEPS},
        optim_wrapper={
            "type": "AmpOptimWrapper",
            "dtype": "bfloat16",
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "foreach": True},
            "accumulative_counts": 2,
            "clip_grad": {"max_norm": 1.0},
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 50},
            {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 50},
        ],
        default_hooks={"logger": {"type": "LoggerHook", "interval": interval}, "checkpoint": None},
        custom_hooks=[{"type": "EMAHook"}, *custom_hooks],
        **changes,
    )
    runner.train()
    return runner


def test_a_loss_that_raises_when_it_is_read_trains_to_the_end(tmp_path):
    runner = run(tmp_path, SealedNet())
    assert runner.iter == STEPS


@pytest.mark.parametrize("read", [float, bool, int, repr, Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu])
def test_the_sealed_tensor_raises_on_every_way_to_read_it(read):
    with pytest.raises(AssertionError, match="the host read"):
        read(torch.ones(()).as_subclass(Sealed))


def test_a_hook_that_reads_the_sealed_loss_fails_the_run(tmp_path):
    class Reads(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            outputs["loss"].item()

    with pytest.raises(AssertionError, match="read a value by item"):
        run(tmp_path, SealedNet(), custom_hooks=[Reads()])


class ScalarReads(TorchDispatchMode):
    """Counts the operations by which a number comes from a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in ("aten::_local_scalar_dense", "aten::item", "aten::equal", "aten::is_nonzero"):
            self.count += 1
        return func(*args, **(kwargs or {}))


class Watch(Hook):
    """Counts reads from the second step's start to the last step's end: the engine's own steps, hooks and loop."""

    priority = "HIGHEST"

    def __init__(self) -> None:
        self.mode = ScalarReads()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            self.mode.__enter__()

    def after_train(self, runner):
        self.mode.__exit__(None, None, None)


def plain_values(tmp_path, interval, *hooks):
    watch = Watch()
    data = [{"inputs": torch.randn(4, 3, 6, 6), "labels": torch.randint(4, (4,))} for _ in range(STEPS + 10)]
    batches = torch.utils.data.DataLoader(data, batch_size=None, shuffle=False)
    runner = build(
        tmp_path,
        model=ToyNet(),
        **only_training(),
        train_dataloader=batches,
        train_cfg={"by_epoch": False, "max_iters": STEPS},
        optim_wrapper={
            "type": "AmpOptimWrapper",
            "dtype": "bfloat16",
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9},
            "accumulative_counts": 2,
            "clip_grad": {"max_norm": 1.0},
        },
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False},
        default_hooks={"logger": {"type": "LoggerHook", "interval": interval}, "checkpoint": None},
        custom_hooks=[{"type": "EMAHook"}, watch, *hooks],
    )
    runner.train()
    return watch.mode.count


def test_no_scalar_is_read_over_a_hundred_steps_without_a_log_point(tmp_path):
    assert plain_values(tmp_path, 1000) == 0


def test_the_count_sees_one_read_put_in(tmp_path):
    class ReadsOnce(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 7:
                outputs["loss"].item()

    assert plain_values(tmp_path, 1000, ReadsOnce()) == 1
