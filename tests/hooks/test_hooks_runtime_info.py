"""RuntimeInfoHook: what it writes into the hub, and that it reads nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.hooks import RuntimeInfoHook
from drivetrain.logging import MessageHub
from drivetrain.version import CONTRACT_VERSION, __version__


@pytest.fixture
def runner() -> Any:
    class Loader(list):  # type: ignore[type-arg]
        dataset = SimpleNamespace(metainfo={"classes": ["a"]})

    return SimpleNamespace(
        message_hub=MessageHub.get_instance("runtime"),
        cfg_text="a = 1",
        seed=3,
        experiment_name="run",
        iter=24,
        epoch=1,
        max_iters=156,
        max_epochs=12,
        train_dataloader=Loader(),
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"base_lr": [0.1], "lr": [0.2, 0.3]}),
    )


def test_facts_of_the_run_and_of_training_are_infos(runner: Any) -> None:
    hook = RuntimeInfoHook()
    hook.before_run(runner)
    hook.before_train(runner)
    assert dict(runner.message_hub.runtime_info) == {
        "cfg": "a = 1",
        "seed": 3,
        "experiment_name": "run",
        "mmengine_version": CONTRACT_VERSION,
        "drivetrain_version": __version__,
        "loop_stage": "train",
        "epoch": 1,
        "iter": 24,
        "max_epochs": 12,
        "max_iters": 156,
        "dataset_meta": {"classes": ["a"]},
    }
    runner.epoch = 2
    hook.before_train_epoch(runner)
    assert runner.message_hub.get_info("epoch") == 2


def test_the_length_of_an_epoch_is_an_info_where_the_loader_has_one(runner: Any) -> None:
    runner.train_dataloader = [1, 2, 3]
    RuntimeInfoHook().before_train(runner)
    assert runner.message_hub.get_info("epoch_length") == 3
    assert "epoch_length" not in runner.message_hub.state_dict()["runtime_info"]
    runner.train_dataloader = iter([1])
    runner.message_hub.pop_info("epoch_length")
    RuntimeInfoHook().before_train(runner)
    assert runner.message_hub.get_info("epoch_length") is None


def test_a_dataset_without_metainfo_is_fine(runner: Any) -> None:
    runner.train_dataloader = []
    RuntimeInfoHook().before_train(runner)
    assert runner.message_hub.get_info("dataset_meta") is None


def test_every_step_writes_the_step_and_the_learning_rates(runner: Any) -> None:
    RuntimeInfoHook().before_train_iter(runner, 0)
    hub = runner.message_hub
    assert hub.get_info("iter") == 24
    assert {key: buffer.current() for key, buffer in hub.log_scalars.items()} == {"train/base_lr": 0.1, "train/lr": 0.2}
    assert hub.flush_count == 0


def test_get_lr_must_return_a_dict(runner: Any) -> None:
    runner.optim_wrapper.get_lr = lambda: [0.1]
    with pytest.raises(ArgumentTypeError, match="OptimWrapper"):
        RuntimeInfoHook().before_train_iter(runner, 0)


def test_log_variables_stay_on_their_device(runner: Any) -> None:
    outputs = {"loss": torch.tensor(1.0), "acc": 0.5, "n": torch.ones(1)}
    RuntimeInfoHook().after_train_iter(runner, 0, None, outputs)
    RuntimeInfoHook().after_train_iter(runner, 0, None, None)
    hub = runner.message_hub
    assert hub.flush_count == 0
    outputs["loss"].fill_(7.0)
    assert [(key, buffer.current()) for key, buffer in hub.log_scalars.items()] == [
        ("train/loss", 1.0),
        ("train/acc", 0.5),
        ("train/n", 1.0),
    ]


def test_a_log_variable_that_is_no_number_is_named(runner: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="'train/x'"):
        RuntimeInfoHook().after_train_iter(runner, 0, None, {"x": "s"})
    with pytest.raises(ArgumentError, match="'train/x'"):
        RuntimeInfoHook().after_train_iter(runner, 0, None, {"x": torch.ones(3)})


@pytest.mark.parametrize("mode", ["val", "test"])
def test_metrics_are_scalars_when_they_are_numbers_and_infos_otherwise(runner: Any, mode: str) -> None:
    numbers = {
        "a": 1.0,
        "b": 3,
        "c": torch.tensor(1.0),
        "d": torch.ones(1),
        "e": np.float32(1),
        "f": np.ones(1),
        "g": True,
        "h": np.bool_(True),
    }
    others = {"s": "x", "t": torch.ones(3), "u": np.ones(2), "v": None, "w": [1.0], "z": torch.tensor(1j)}
    getattr(RuntimeInfoHook(), f"after_{mode}_epoch")(runner, {**numbers, **others})
    getattr(RuntimeInfoHook(), f"after_{mode}_epoch")(runner, None)
    hub = runner.message_hub
    assert list(hub.log_scalars) == [f"{mode}/{key}" for key in numbers]
    assert list(hub.runtime_info) == [f"{mode}/{key}" for key in others]


def test_validation_returns_to_the_stage_it_interrupted(runner: Any) -> None:
    hook, hub = RuntimeInfoHook(), runner.message_hub
    hook.before_train(runner)
    hook.before_val(runner)
    assert hub.get_info("loop_stage") == "val"
    hook.after_val(runner)
    assert hub.get_info("loop_stage") == "train"
    hook.after_train(runner)
    hook.before_val(runner)
    hook.after_val(runner)
    assert hub.get_info("loop_stage") is None
    hook.before_test(runner)
    assert hub.get_info("loop_stage") == "test"
    hook.after_test(runner)
    assert hub.get_info("loop_stage") is None
