from __future__ import annotations

import pickle

import pytest
import torch

from drivetrain.errors import ArgumentError, MetricError
from drivetrain.evaluator import BaseMetric, DumpResults, Evaluator, _memory, _metric, _to_cpu, get_metric_value
from drivetrain.registry import METRICS
from drivetrain.structures import BaseDataElement, InstanceData


class Count(BaseMetric):
    """Remembers what it was called with."""

    returns = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls, self.computed_on = [], None

    def process(self, data_batch, data_samples):
        self.calls.append((data_batch, data_samples))
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        self.computed_on = results
        return {"count": len(results)} if self.returns is None else self.returns


class Prefixed(Count):
    default_prefix = "own"


@pytest.fixture
def logged(monkeypatch):
    lines = []
    for module in (_metric, _memory):
        monkeypatch.setattr(module, "print_log", lambda message, logger=None, level=0: lines.append((message, level)))
    return lines


def test_collect_device_is_checked_and_the_nearest_named():
    with pytest.raises(ArgumentError, match=r"'gpuu'.*Did you mean 'gpu'"):
        Count(collect_device="gpuu")
    with pytest.raises(ArgumentError, match="collect_dir"):
        Count(collect_device="gpu", collect_dir="x")
    assert Count(collect_dir="x").collect_dir == "x"


def test_evaluate_cuts_to_the_size_and_clears_the_results():
    metric = Count()
    metric.process(None, [1, 2, 3])
    assert metric.evaluate(2) == {"count": 2}
    assert metric.computed_on == [1, 2] and metric.results == []


@pytest.mark.parametrize(
    ("cls", "prefix", "name"),
    [(Count, None, "count"), (Count, "p", "p/count"), (Prefixed, None, "own/count"), (Prefixed, "p", "p/count"),
     (Prefixed, "", "own/count")],
)  # fmt: skip
def test_the_prefix_goes_before_each_name(cls, prefix, name):
    metric = cls(prefix=prefix)
    metric.process(None, [1])
    assert metric.evaluate(1) == {name: 1}


def test_evaluating_without_results_warns_and_computes(logged):
    assert Count().evaluate(3) == {"count": 0}
    assert "Count has no results" in logged[0][0]


def test_a_metric_that_returns_no_dict_is_named():
    metric = Count()
    metric.returns = 3.5
    metric.process(None, [1])
    with pytest.raises(MetricError, match=r"Count.compute_metrics returned float \(3.5\)"):
        metric.evaluate(1)
    assert issubclass(MetricError, TypeError) and issubclass(MetricError, ValueError)


def test_values_that_are_tensors_stay_tensors():
    metric = Count()
    metric.returns = {"iou": torch.tensor([0.5, 1.0])}
    metric.process(None, [1])
    assert torch.equal(metric.evaluate(1)["iou"], torch.tensor([0.5, 1.0]))


def test_the_evaluator_hands_elements_on_as_dicts_once_for_all_metrics():
    metrics = [Count(), Count(prefix="b")]
    evaluator = Evaluator(metrics)
    sample = BaseDataElement(metainfo={"id": 1}, found=InstanceData(scores=[1]))
    evaluator.process([sample, {"k": sample}, 3], data_batch="batch")
    (batch, samples), (_, again) = metrics[0].calls[0], metrics[1].calls[0]
    assert batch == "batch" and samples == [{"id": 1, "found": {"scores": [1]}}, {"k": sample}, 3]
    assert samples is again
    assert evaluator.evaluate(3) == {"count": 3, "b/count": 3}


def test_the_evaluator_hands_tuples_on_as_lists_and_dicts_as_they_are():
    metric = Count()
    evaluator = Evaluator(metric)
    outputs = {"scores": 1}
    evaluator.process((1, 2))
    evaluator.process(outputs)
    assert metric.calls[0] == (None, [1, 2]) and metric.calls[1][1] is outputs


def test_the_evaluator_takes_configs_objects_and_lists():
    METRICS.register_module(name="CountForTest", module=Count, force=True)
    built = Evaluator([{"type": "CountForTest", "prefix": "x"}, Count()]).metrics
    assert [metric.prefix for metric in built] == ["x", None]
    assert len(Evaluator({"type": "CountForTest"}).metrics) == len(Evaluator((Count(),)).metrics) == 1
    assert Evaluator([]).evaluate(1) == {}


@pytest.mark.parametrize("wrong", [3, "Accuracy", [None]], ids=repr)
def test_the_evaluator_refuses_what_is_no_metric(wrong):
    with pytest.raises(TypeError, match="a metric is a BaseMetric"):
        Evaluator(wrong)


def test_dataset_meta_reaches_every_metric():
    evaluator = Evaluator([Count(), Count(prefix="b")])
    assert evaluator.dataset_meta is None and evaluator.metrics[0].dataset_meta is None
    evaluator.dataset_meta = {"classes": ["a"]}
    assert [metric.dataset_meta for metric in evaluator.metrics] == [{"classes": ["a"]}] * 2
    assert evaluator.dataset_meta == {"classes": ["a"]}


def test_two_values_of_one_name_are_an_error_that_names_both_metrics():
    class Other(Count):
        pass

    evaluator = Evaluator([Count(), Other()])
    evaluator.process([1])
    with pytest.raises(ValueError, match="Count and Other both have a value called 'count'"):
        evaluator.evaluate(1)


def test_a_metric_added_later_takes_part():
    evaluator = Evaluator([])
    evaluator.metrics.append(Count())
    evaluator.process([1])
    assert evaluator.evaluate(1) == {"count": 1}


@pytest.mark.parametrize("wrap", [list, iter])
def test_offline_evaluate_goes_chunk_by_chunk(wrap):
    metric = Count()
    assert Evaluator(metric).offline_evaluate(wrap([1, 2, 3]), wrap("abc"), chunk_size=2) == {"count": 3}
    assert metric.calls == [(["a", "b"], [1, 2]), (["c"], [3])]
    metric.calls.clear()
    assert Evaluator(metric).offline_evaluate(wrap([1, 2, 3]), chunk_size=2) == {"count": 3}
    assert metric.calls == [(None, [1, 2]), (None, [3])]


def test_offline_evaluate_refuses_unequal_lengths_and_empty_chunks():
    for samples, data in (([1, 2, 3], ["a"]), ([1], ["a", "b"])):
        with pytest.raises(ArgumentError, match="equally long"):
            Evaluator(Count()).offline_evaluate(samples, data)
    with pytest.raises(ArgumentError, match="chunk_size"):
        Evaluator(Count()).offline_evaluate([1], chunk_size=0)


def test_get_metric_value_by_full_name_or_last_part():
    metrics = {"coco/mAP": 1, "voc/mAP": 2, "coco/AR": 3, "loss": 4}
    assert get_metric_value("voc/mAP", metrics) == 2
    assert get_metric_value("AR", metrics) == 3 and get_metric_value("loss", metrics) == 4
    with pytest.raises(ValueError, match="several metrics, coco/mAP, voc/mAP"):
        get_metric_value("mAP", metrics)
    with pytest.raises(ValueError, match="Did you mean 'loss'"):
        get_metric_value("los", metrics)
    with pytest.raises(ValueError, match="'x/AR'"):
        get_metric_value("x/AR", metrics)


def test_dump_results_writes_the_predictions_it_saw(tmp_path):
    path = tmp_path / "deep" / "out.pkl"
    evaluator = Evaluator(DumpResults(str(path)))
    evaluator.process([BaseDataElement(x=torch.ones(1)), {"y": [torch.zeros(1)]}])
    assert evaluator.evaluate(2) == {}
    written = pickle.loads(path.read_bytes())
    assert written == [{"x": torch.ones(1)}, {"y": [torch.zeros(1)]}]
    with pytest.raises(ArgumentError, match=r"out\.json"):
        DumpResults("out.json")


def test_to_cpu_reaches_nested_tensors_and_elements():
    moved = _to_cpu({"a": (torch.ones(1, device="cpu"), [1]), "e": BaseDataElement(x=torch.ones(1))})
    assert moved["a"][1] == [1] and moved["e"].x.device.type == "cpu"


def test_results_over_the_budget_warn_once_with_the_way_out(logged):
    class Hoarder(Count):
        memory_budget_mb = 1

    metric = Hoarder()
    evaluator = Evaluator(metric)
    for _ in range(2):
        for _ in range(40):
            evaluator.process([{"scores": torch.zeros(1000)} for _ in range(20)])
        evaluator.evaluate(800)
    (message, _level), *more = logged
    assert not more and "Hoarder keeps" in message and "update, compute and reset" in message
    assert "memory_budget_mb" in message


def test_results_under_the_budget_do_not_warn(logged):
    evaluator = Evaluator(Count())
    for _ in range(100):
        evaluator.process(list(range(100)))
    assert not logged


@pytest.mark.parametrize(
    "make",
    [lambda: torch.zeros(256), lambda: [torch.zeros(128), {"a": torch.zeros(128)}],
     lambda: BaseDataElement(x=torch.zeros(256)), lambda: torch.zeros(256).numpy()],
)  # fmt: skip
def test_the_estimate_counts_what_tensors_hold(make):
    weight = _memory.weigh([make() for _ in range(10_000)])
    assert 9.7 < weight.host < 35 and weight.device == 0  # 10,000 kilobytes of numbers, and the objects around them
