"""A config for each of several optimizers, by the part of the model that it trains."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError
from drivetrain.model import BaseModel
from drivetrain.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict, build_optim_wrapper
from drivetrain.runner import Runner

CONFIG: dict[str, Any] = {
    "generator": {"optimizer": {"type": "Adam", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2.0}},
    "critic.net": {"type": "AmpOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.2}, "accumulative_counts": 2},
}


class Pair(BaseModel):
    """Each part learns to be zero, the critic every second time."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(2, 2)
        self.critic = nn.ModuleDict({"net": nn.Linear(2, 1)})

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        losses = {}
        for name, part in (("generator", self.generator), ("critic.net", self.critic["net"])):
            with optim_wrapper[name].optim_context(part):
                loss = part(data).square().mean()
            optim_wrapper[name].update_params(loss)
            losses[f"loss_{name}"] = loss.detach()
        return losses

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the parts are called one by one")


def test_each_part_gets_its_own_wrapper_with_its_parameters_and_rules() -> None:
    model, before = Pair(), copy.deepcopy(CONFIG)
    wrapper: Any = build_optim_wrapper(model, CONFIG)
    assert type(wrapper) is OptimWrapperDict and list(wrapper.keys()) == ["generator", "critic.net"]
    assert type(wrapper["generator"]) is OptimWrapper and type(wrapper["critic.net"]) is AmpOptimWrapper
    assert wrapper["generator"].get_lr() == {"base_lr": [0.1], "lr": [0.1, 0.2]}
    held = wrapper["critic.net"].optimizer.param_groups[0]["params"]
    assert [id(p) for p in held] == [id(p) for p in model.critic["net"].parameters()]
    assert before == CONFIG


def test_a_model_wrapper_is_looked_through() -> None:
    class Replica(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    assert len(build_optim_wrapper(Replica(Pair()), CONFIG)) == 2  # type: ignore[arg-type]


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"config for 'generatr', and Pair has no part.*Did you mean 'generator'"):
        build_optim_wrapper(Pair(), {"generatr": CONFIG["generator"]})
    with pytest.raises(ArgumentError, match=r"needs 'optimizer'"):
        build_optim_wrapper(Pair(), {"generator": {"accumulative_counts": 2}})


def test_a_run_updates_each_part_under_its_own_schedules(tmp_path: Any) -> None:
    runner = Runner(
        model=Pair(),
        work_dir=str(tmp_path),
        train_dataloader={"dataset": [torch.ones(2)] * 8, "batch_size": 2, "num_workers": 0, "sampler": {"type": "DefaultSampler", "shuffle": False}, "collate_fn": {"type": "default_collate"}},
        train_cfg={"by_epoch": False, "max_iters": 4},
        optim_wrapper=CONFIG,
        param_scheduler={"critic.net": [{"type": "StepLR", "step_size": 2, "gamma": 0.5, "by_epoch": False}]},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
    )  # fmt: skip
    before = {name: weight.clone() for name, weight in runner.model.state_dict().items()}
    runner.train()
    assert all(not torch.equal(weight, before[name]) for name, weight in runner.model.state_dict().items())
    assert runner.optim_wrapper.get_lr()["critic.net.lr"] == [0.1]
    assert runner.optim_wrapper.get_lr()["generator.lr"] == [0.1, 0.2]
    assert len(runner.message_hub.get_scalar("train/loss_critic.net").data[0]) == 4
