"""A GAN on two processes: each part has a wrapper of its own, and the weights are those of one process with both batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing
from torch import Tensor, nn

from drivetrain.model import BaseModel, MMDistributedDataParallel, MMSeparateDistributedDataParallel, is_model_wrapper
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.registry import MODEL_WRAPPERS


class Gan(BaseModel):
    """A generator, a discriminator, and a part with nothing to train."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.discriminator = nn.Linear(2, 3), nn.Linear(3, 1)
        self.scale = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Any:
        return self.discriminator(self.generator(self.scale(inputs)))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        inputs = self.data_preprocessor(data, True)["inputs"]
        fake = self.generator(self.scale(inputs))
        wrapper = optim_wrapper["discriminator"]
        with wrapper.optim_context(self.discriminator):
            judged = self.discriminator(fake.detach()).square().mean()
        wrapper.update_params(judged)
        generated = (self.discriminator(fake) - 1).square().mean()
        optim_wrapper["generator"].update_params(generated)
        return {"loss_d": judged, "loss_g": generated}

    def val_step(self, data: Any) -> Any:
        return "own", data


def wrappers_of(model: nn.Module) -> OptimWrapperDict:
    return OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), lr=0.1))
            for name in ("generator", "discriminator")
        }
    )


def batches() -> Tensor:
    return torch.linspace(-1, 1, 24).reshape(3, 2, 2, 2)  # steps, processes, samples, numbers


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch_dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = Gan()
    wrapped = MMSeparateDistributedDataParallel(model)
    optim_wrapper = wrappers_of(model)
    for step in batches():
        wrapped.train_step({"inputs": step[rank]}, optim_wrapper)
    torch.save({name: value.clone() for name, value in model.state_dict().items()}, f"{folder}/{rank}.pt")
    torch_dist.destroy_process_group()


def test_two_processes_train_the_weights_of_one_with_both_batches(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    model = Gan()
    optim_wrapper = wrappers_of(model)
    for step in batches():
        model.train_step({"inputs": step.reshape(4, 2)}, optim_wrapper)
    for rank in range(2):
        weights = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in model.state_dict().items():
            found = weights.get(name, weights.get(name.replace(".", ".module.", 1)))
            torch.testing.assert_close(found, value)


@pytest.fixture
def group(tmp_path: Path) -> Any:
    torch_dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch_dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_each_part_that_trains_has_a_wrapper_and_no_other() -> None:
    model = Gan()
    wrapped = MODEL_WRAPPERS.build({"type": "MMSeparateDistributedDataParallel", "module": model})
    assert is_model_wrapper(wrapped) and wrapped.module is model
    assert type(model.generator) is type(model.discriminator) is MMDistributedDataParallel
    said = vars(model.generator)
    assert type(model.scale) is nn.Linear and not said.get("forward_sync_buffers", said.get("broadcast_buffers"))
    assert wrapped.val_step("x") == ("own", "x")
    assert wrapped.train(False) is wrapped and not wrapped.training and not model.generator.module.training
    assert wrapped.train() is wrapped and model.discriminator.training
    assert wrapped(torch.ones(1, 2)).shape == (1, 1)


@pytest.mark.usefixtures("group")
def test_no_part_reduces_gradients_inside_no_sync() -> None:
    model = Gan()
    wrapped = MMSeparateDistributedDataParallel(model, find_unused_parameters=True)
    assert model.generator.find_unused_parameters
    with wrapped.no_sync():
        assert not model.generator.require_backward_grad_sync
        assert not model.discriminator.require_backward_grad_sync
    assert model.generator.require_backward_grad_sync
