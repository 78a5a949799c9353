"""Accumulation through the whole runner: counts that weigh, the numbers in the log, and no read on the host."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from toy import Recorder, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.hooks import EMAHook, Hook

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
COUNTED = {"optimizer": SGD, "accumulative_counts": 2, "normalise_by": "num_hits"}


class Counting(ToyNet):
    """A loss over the samples of the first two classes, and how many these are."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(dropout=0.0)
        self.norm = torch.nn.Identity()

    def forward(self, inputs: Tensor, labels: Tensor | None = None, id: Any = None, mode: str = "tensor") -> Any:
        logits = super().forward(inputs, labels, id, mode="tensor")
        if mode != "loss":
            return (logits, labels) if mode == "predict" else logits
        counts = (labels < 2).float()
        losses = functional.cross_entropy(logits, labels, reduction="none") * counts
        return {"loss": losses.sum() / counts.sum().clamp(min=1), "num_hits": counts.sum()}


def trained(tmp_path, **changes):
    recorder = Recorder()
    settings = {**only_training(), "model": Counting(), "custom_hooks": [recorder], "param_scheduler": None, **changes}
    runner = build(tmp_path, **settings)
    runner.train()
    return runner, recorder


def test_windows_of_counted_losses_equal_batches_of_twice_the_size(tmp_path):
    small, _ = trained(tmp_path / "small", optim_wrapper=COUNTED, train_dataloader=loader(batch_size=2))
    big, _ = trained(tmp_path / "big", optim_wrapper={"optimizer": SGD}, train_dataloader=loader(batch_size=4))
    assert small.iter == 2 * big.iter == 30 and small.optim_wrapper.updates == 15
    first, second = weights_of(small), weights_of(big)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5)
    plain = {"optimizer": SGD, "accumulative_counts": 2}
    alike, _ = trained(tmp_path / "alike", optim_wrapper=plain, train_dataloader=loader(batch_size=2))
    assert not torch.allclose(weights_of(alike)["head.weight"], second["head.weight"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feature", [{"time_split": True}, {"compile": {"backend": "eager"}}])
def test_counts_go_with_the_other_ways_to_take_a_step(tmp_path, feature):
    plain, _ = trained(tmp_path / "plain", optim_wrapper=COUNTED)
    other, _ = trained(tmp_path / "other", optim_wrapper=COUNTED, **feature)
    assert_same_weights(weights_of(plain), weights_of(other))
    assert plain.optim_wrapper.updates == other.optim_wrapper.updates


def test_a_model_that_has_been_counted_can_be_copied_and_trained_again(tmp_path):
    model = Counting()
    trained(tmp_path, model=model, optim_wrapper=COUNTED, custom_hooks=[EMAHook()])
    assert "parse_losses" not in vars(model)
    assert set(copy.deepcopy(model).state_dict()) == set(Counting().state_dict())
    again, _ = trained(tmp_path, model=model, optim_wrapper={"optimizer": SGD})
    assert again.optim_wrapper.normalise_by is None


def test_updates_stand_in_the_log_beside_the_iterations(tmp_path):
    logger = {"logger": {"type": "LoggerHook", "interval": 3}, "checkpoint": None}
    runner, _ = trained(tmp_path, optim_wrapper=COUNTED, default_hooks=logger, log_level="INFO",
                        train_cfg={"by_epoch": False, "max_iters": 7})  # fmt: skip
    text = next(tmp_path.glob("*/*.log")).read_text()
    assert "accumulation: an update every 2 losses, weighed by num_hits: 7 iterations make 4 updates." in text
    lines = [line for line in text.splitlines() if "(train)" in line]
    assert "updates: 1" in lines[0] and "updates: 3" in lines[1]
    assert runner.optim_wrapper.updates == 4


def test_counted_windows_read_nothing_between_log_points(tmp_path):
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal")
            return func(*args, **(kwargs or {}))

    class Watch(Hook):
        mode = Reads()

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter == 1:
                self.mode.__enter__()
            if runner.iter == 10:
                self.mode.__exit__(None, None, None)

    data = [{"inputs": torch.randn(4, 3, 6, 6), "labels": torch.randint(4, (4,))} for _ in range(12)]
    watch = Watch()
    trained(
        tmp_path,
        optim_wrapper={**COUNTED, "clip_grad": {"max_norm": 1.0}},
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=None),
        train_cfg={"by_epoch": False, "max_iters": 12},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 100}, "checkpoint": None},
        custom_hooks=[watch],
    )
    assert watch.mode.count == 0
