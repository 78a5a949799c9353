from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import classification

from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError, NotFoundError
from drivetrain.evaluator import BaseMetric, Evaluator, StreamingMetric
from drivetrain.evaluator._arguments import Arguments, drop_last
from drivetrain.evaluator._values import snake_case_name
from drivetrain.structures import BaseDataElement, InstanceData

SCORES = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.3, 0.1]])
LABELS = torch.tensor([0, 1, 1, 0])


def accuracy():
    return classification.MulticlassAccuracy(num_classes=3, average="micro")


def elements(label=lambda label: label):
    return [
        BaseDataElement(pred_score=score, gt_label=label(target)) for score, target in zip(SCORES, LABELS, strict=True)
    ]


class Mean:
    """A streaming metric of the user's own."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.total, self.count = 0.0, 0

    def update(self, values):
        self.total, self.count = self.total + values.sum(), self.count + len(values)

    def compute(self):
        return self.total / self.count


@pytest.mark.parametrize(
    "outputs",
    [(SCORES, LABELS), [SCORES, LABELS], {"preds": SCORES, "target": LABELS, "unknown": 3}],
    ids=["tuple", "list", "dict"],
)
def test_a_bare_metric_takes_the_outputs_as_the_model_returned_them(outputs):
    evaluator = Evaluator(accuracy())
    evaluator.process(outputs)
    assert evaluator.evaluate(4) == {"accuracy": 0.75}


def test_a_metric_by_config_is_the_same():
    configs = [
        {"type": "torchmetrics.Accuracy", "task": "multiclass", "num_classes": 3},
        {"type": "StreamingMetric", "metric": {"type": "torchmetrics.MeanSquaredError"}, "name": "mse",
         "select": lambda batch, outputs: (outputs[0][:, 0], outputs[1])},
    ]  # fmt: skip
    evaluator = Evaluator(configs)
    evaluator.process((SCORES, LABELS))
    values = evaluator.evaluate(4)
    assert values["accuracy"] == 0.75 and values["mse"].ndim == 0


def test_evaluate_resets_the_metric():
    evaluator = Evaluator(accuracy())
    evaluator.process((SCORES, LABELS))
    evaluator.evaluate(4)
    evaluator.process((SCORES[2:3], LABELS[2:3]))
    assert evaluator.evaluate(1) == {"accuracy": 0}


def test_both_kinds_of_metric_see_the_same_batch():
    class Count(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(type(data_samples[0]))

        def compute_metrics(self, results):
            return {"kinds": results}

    evaluator = Evaluator([Count(), StreamingMetric(accuracy(), preds="pred_score", target="gt_label")])
    evaluator.process(elements())
    assert evaluator.evaluate(4) == {"kinds": [dict], "accuracy": 0.75}


@pytest.mark.parametrize(
    "label", [lambda label: label, lambda label: label[None], int, lambda label: label.numpy()],
    ids=["scalar", "one entry", "int", "array"],
)  # fmt: skip
def test_fields_of_elements_are_put_together(label):
    evaluator = Evaluator(StreamingMetric(accuracy(), preds="pred_score", target="gt_label"))
    evaluator.process(elements(label))
    assert evaluator.evaluate(4) == {"accuracy": 0.75}


def test_fields_of_dicts_and_inside_of_fields_are_found():
    metric = StreamingMetric(Mean(), preds="found.scores")
    metric.process(None, [{"found": InstanceData(scores=torch.ones(n))} for n in (1, 2, 3)])
    assert metric.metric.count == 6
    batched = StreamingMetric(accuracy(), preds="a", target="b")
    batched.process(None, {"a": SCORES, "b": LABELS})
    assert batched.evaluate(4) == {"accuracy": 0.75}


def test_a_field_that_is_not_there_names_the_nearest():
    metric = StreamingMetric(accuracy(), preds="pred_scores", target="gt_label")
    with pytest.raises(NotFoundError, match="Did you mean 'pred_score'"):
        metric.process(None, elements())


def test_select_chooses_from_the_batch_and_the_outputs():
    batch = {"inputs": None, "labels": LABELS}
    chosen = [
        lambda data, outputs: (outputs, data["labels"]),
        lambda data, outputs: [outputs, data["labels"]],
        lambda data, outputs: {"preds": outputs, "target": data["labels"]},
    ]
    for select in chosen:
        metric = StreamingMetric(accuracy(), select=select)
        metric.process(batch, SCORES)
        assert metric.evaluate(4) == {"accuracy": 0.75}
    single = StreamingMetric(Mean(), select=lambda data, outputs: outputs)
    single.process(None, torch.ones(2))
    assert single.evaluate(2) == {"mean": 1}


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        (elements(), "list of 4 BaseDataElement"),
        ({"scores": SCORES}, "'scores'"),
        (SCORES, "with Tensor"),
        ([SCORES, LABELS, LABELS], "list of 3 Tensor"),
        (3, "returned int"),
        ([], "list of 0"),
    ],
    ids=["elements", "names", "one", "three", "number", "empty"],
)
@pytest.mark.parametrize("make", [accuracy, lambda: torchmetrics.MetricCollection([accuracy()])])
def test_outputs_of_the_wrong_form_say_what_to_set(make, outputs, match):
    with pytest.raises(MetricError, match=f"{match}.*preds='pred_score', target='gt_label'.*select=lambda"):
        Evaluator(make()).process(outputs)


def test_a_collection_gives_its_own_names_under_the_prefix():
    collection = torchmetrics.MetricCollection({"acc": accuracy(), "f1": classification.MulticlassF1Score(3)})
    evaluator = Evaluator(StreamingMetric(collection, prefix="val"))
    evaluator.process((SCORES, LABELS))
    assert evaluator.evaluate(4).keys() == {"val/acc", "val/f1"}


def test_a_value_of_several_numbers_is_kept_as_it_is():
    evaluator = Evaluator(classification.MulticlassAccuracy(num_classes=3, average=None))
    evaluator.process((SCORES, LABELS))
    assert evaluator.evaluate(4)["accuracy"].tolist() == [1, 0.5, 0]


def test_any_object_with_update_compute_and_reset_is_a_metric():
    evaluator = Evaluator([Mean(), StreamingMetric(Mean(), name="other", prefix="p")])
    evaluator.process(torch.tensor([1.0, 3.0]))
    evaluator.process(torch.tensor([5.0]))
    assert evaluator.evaluate(3) == {"mean": 3, "p/other": 3}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MulticlassF1Score", "f1_score"), ("BinaryAUROC", "auroc"), ("MultilabelAccuracy", "accuracy"),
     ("MeanSquaredError", "mean_squared_error"), ("R2Score", "r2_score"), ("Binary", "binary"), ("Mean", "mean")],
)  # fmt: skip
def test_the_default_name_is_the_class_in_snake_case(name, expected):
    assert snake_case_name(type(name, (), {})) == expected


def test_contradicting_arguments_are_refused():
    with pytest.raises(ArgumentError, match="either select"):
        StreamingMetric(Mean(), preds="a", select=lambda batch, outputs: outputs)
    with pytest.raises(ArgumentError, match="needs preds"):
        StreamingMetric(Mean(), target="a")
    with pytest.raises(ArgumentTypeError, match="int has no update, compute, reset"):
        StreamingMetric(3)


def test_dataset_meta_reaches_a_metric_that_has_the_attribute():
    inner = Mean()
    inner.dataset_meta = None
    evaluator = Evaluator([inner, accuracy()])
    evaluator.dataset_meta = {"classes": ["a"]}
    assert inner.dataset_meta == {"classes": ["a"]} == evaluator.metrics[1].dataset_meta
    assert not hasattr(evaluator.metrics[1].metric, "dataset_meta")


def test_the_metric_and_all_tensors_go_to_the_device_of_the_first_tensor():
    places = []

    class Placed(Mean):
        def to(self, device):
            places.append(str(device))

        def update(self, first, second):
            places.extend([str(first.device), str(second.device)])

        def compute(self):
            return 0

    metric = StreamingMetric(Placed(), select=lambda batch, outputs: (outputs, batch))
    metric.process(torch.ones(1), torch.ones(1, device="meta"))
    metric.process(torch.ones(1), torch.ones(1, device="meta"))
    assert places == ["meta"] * 5


def test_updating_reads_no_value_on_the_host():
    metric = StreamingMetric(Mean(), preds="s")
    # A meta tensor has no value: a read would raise.
    metric.process(None, [{"s": torch.ones(3, device="meta")}, {"s": torch.ones(3, device="meta")}])
    assert metric.metric.total.is_meta


def resident_mb():
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def test_memory_is_flat_from_a_thousand_to_a_million_samples():
    evaluator = Evaluator(classification.MulticlassAccuracy(num_classes=32, average="micro"))
    scores, labels = torch.rand(1000, 32), torch.randint(32, (1000,))
    evaluator.process((scores.clone(), labels.clone()))
    before = resident_mb()
    for _ in range(999):
        evaluator.process((scores.clone(), labels.clone()))  # keeping these would take 137 MB
    grown = resident_mb() - before
    assert evaluator.metrics[0].metric.update_count == 1000
    assert grown <= 50


@given(st.integers(1, 6), st.booleans())
def test_dropping_the_last_sample_shortens_every_batched_argument(n, named):
    values = {"a": torch.ones(n, 2), "b": list(range(n)), "c": torch.tensor(1.0), "d": "text"}
    call = Arguments((), values) if named else Arguments(tuple(values.values()), {})
    left = drop_last(call)
    if n == 1:
        assert left is None
        return
    a, b, c, d = left.named.values() if named else left.positional
    assert a.shape == (n - 1, 2) and b == list(range(n - 1)) and c is values["c"] and d == "text"
