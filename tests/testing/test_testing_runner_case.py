"""The test case of whole runs."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable
from typing import Any

import pytest

from drivetrain.logging import MessageHub, MMLogger
from drivetrain.testing import RunnerTestCase, ToyModel


def run(body: Callable[[Any], Any], **attributes: Any) -> None:
    """Run one test of a case; what fails in it fails here."""
    case = type("Case", (RunnerTestCase,), {"test_body": body, **attributes})("test_body")
    result = unittest.TestResult()
    case.run(result)
    for _, trace in [*result.errors, *result.failures]:
        pytest.fail(trace)


@pytest.mark.parametrize("kind", ["epoch_based_cfg", "iter_based_cfg"])
def test_runner_of_the_configs_trains_validates_and_saves(kind: str) -> None:
    def body(self: RunnerTestCase) -> None:
        runner = self.build_runner(getattr(self, kind))
        runner.train()
        assert type(runner.model) is ToyModel
        assert runner.iter == (8 if kind == "epoch_based_cfg" else 12)
        assert runner.test() == {"acc": 1.0}
        assert "last_checkpoint" in os.listdir(self.temp_dir.name)

    run(body)


def test_each_runner_has_a_name_of_its_own() -> None:
    def body(self: RunnerTestCase) -> None:
        assert self.experiment_name != self.experiment_name
        first, second = (self.build_runner(self.epoch_based_cfg) for _ in range(2))
        assert first.experiment_name != second.experiment_name and "test_body" in first.experiment_name

    run(body)


def test_configs_of_one_test_do_not_reach_the_next() -> None:
    def body(self: RunnerTestCase) -> None:
        assert self.epoch_based_cfg.train_cfg.max_epochs == 2
        self.epoch_based_cfg.train_cfg.max_epochs = 5

    run(body)
    run(body)


def test_process_is_as_before() -> None:
    left: list[Any] = []

    def body(self: RunnerTestCase) -> None:
        os.environ["DRIVETRAIN_TRACE"] = "1"
        runner = self.build_runner(self.epoch_based_cfg)
        left.extend([runner.experiment_name, self.temp_dir.name])

    run(body)
    name, folder = left
    assert "DRIVETRAIN_TRACE" not in os.environ and not os.path.exists(folder)
    assert name not in MMLogger._instance_dict and name not in MessageHub._instance_dict


def test_work_dir_can_be_emptied() -> None:
    def body(self: RunnerTestCase) -> None:
        self.build_runner(self.epoch_based_cfg)
        self.clear_work_dir()
        assert os.listdir(self.temp_dir.name) == []

    run(body)


def test_distributed_environment_has_a_new_port_each_time() -> None:
    ports: list[str] = []

    def body(self: RunnerTestCase) -> None:
        for _ in range(2):
            self.setup_dist_env()
            ports.append(os.environ["MASTER_PORT"])
        assert os.environ["WORLD_SIZE"] == "1" and os.environ["MASTER_ADDR"] == "127.0.0.1"

    run(body)
    assert ports == ["29601", "29602"] and RunnerTestCase.dist_cfg["MASTER_PORT"] == 29600


def test_metric_gives_what_it_is_told() -> None:
    def body(self: RunnerTestCase) -> None:
        self.epoch_based_cfg.test_evaluator[0].dummy_metrics = {"acc": 0.5, "other": 2}
        assert self.build_runner(self.epoch_based_cfg).test() == {"acc": 0.5, "other": 2}

    run(body)
