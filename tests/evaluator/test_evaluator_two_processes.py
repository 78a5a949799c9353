"""The same data on one process and on two: equal metrics, each sample counted once. One spawn for all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics import classification

from drivetrain.errors import MetricError
from drivetrain.evaluator import BaseMetric, Evaluator, StreamingMetric

sys.path.append(str(Path(__file__).parents[1] / "dist"))
from gloo_processes import run_on_processes

CASES = [(size, batch_size) for size in (2, 3, 5, 8, 11) for batch_size in (1, 2, 4)]
SCORES = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(3, (50,), generator=torch.Generator().manual_seed(2))


class Ids(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples[0].tolist())

    def compute_metrics(self, results):
        return {"ids": results}


class Failing(Ids):
    def compute_metrics(self, results):
        raise ZeroDivisionError("no boxes")


class Counter:
    def __init__(self):
        self.reset()

    def reset(self):
        self.seen = []

    def update(self, ids, scores, labels):
        self.seen.extend(ids.tolist())

    def compute(self):
        return torch.tensor(sorted(self.seen))


class Mergeable(Counter):
    def merge_state(self, others):
        for other in others:
            self.seen += other.seen


def evaluator() -> Evaluator:
    accuracy = classification.MulticlassAccuracy(num_classes=3, average="micro")
    return Evaluator([Ids(), StreamingMetric(accuracy, select=lambda batch, outputs: outputs[1:]), Mergeable()])


def evaluate(size: int, batch_size: int, rank: int, world_size: int) -> dict[str, Any]:
    order = list(range(size))
    order += order[: -size % world_size]
    mine = torch.tensor(order[rank::world_size])
    judge = evaluator()
    for ids in mine.split(batch_size):
        judge.process((ids, SCORES[ids], LABELS[ids]))
    values = judge.evaluate(size)
    return {"ids": values["ids"], "accuracy": float(values["accuracy"]), "merged": values["mergeable"].tolist()}


def on_process(rank: int) -> dict[str, Any]:
    seen: dict[str, Any] = {str(case): evaluate(*case, rank, 2) for case in CASES}
    for metric in (Failing(), Counter()):
        judge = Evaluator(metric)
        judge.process((torch.tensor([rank]), SCORES[:1], LABELS[:1]))
        try:
            judge.evaluate(2)
        except (MetricError, ZeroDivisionError) as error:
            seen[type(metric).__name__] = (type(error).__name__, str(error))
    return seen


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    return run_on_processes(on_process)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_processes_give_the_metrics_of_one(seen, case):
    alone = evaluate(*case, 0, 1)
    assert alone["ids"] == alone["merged"] == list(range(case[0]))
    for values in seen:
        assert values[str(case)]["ids"] == alone["ids"]
        assert values[str(case)]["merged"] == alone["merged"]
        assert values[str(case)]["accuracy"] == pytest.approx(alone["accuracy"], abs=1e-6)


def test_an_error_on_rank_0_is_raised_on_every_process(seen):
    assert seen[0]["Failing"] == ("ZeroDivisionError", "no boxes")
    assert seen[1]["Failing"][0] == "MetricError"
    assert "Failing failed on rank 0 with ZeroDivisionError: no boxes" in seen[1]["Failing"][1]


def test_a_metric_that_cannot_be_merged_says_so(seen):
    for part in seen:
        assert part["Counter"][0] == "MetricError" and "merge_state" in part["Counter"][1]
