"""Results that a metric keeps: off the device in bulk, free of the batches they were cut from, rightly weighed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.evaluator import BaseMetric, DumpResults, Evaluator, _kept, _memory
from drivetrain.fileio import load
from drivetrain.structures import BaseDataElement, InstanceData

MB = _memory.BYTES_PER_MB


class Keeps(BaseMetric):
    """Keeps what it is given, and shows what it computed on."""

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {"results": results}


@pytest.fixture
def device(monkeypatch):
    """Tensors of float64 stand for such on a device; returns the sizes of the copies that were made of them."""
    copies = []
    real = Tensor.to

    def counted(tensor, *args, **kwargs):
        if args == ("cpu",):
            copies.append(tensor.numel())
            return real(tensor, torch.float32)  # off the device
        return real(tensor, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", counted)
    monkeypatch.setattr(_kept, "is_away", lambda tensor: type(tensor) is Tensor and tensor.dtype is torch.float64)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    return copies


def away(*values):
    return torch.tensor(values, dtype=torch.float64)


def storage_bytes(tensor):
    return tensor.untyped_storage().nbytes()


def test_entries_on_a_device_come_to_the_host_in_one_copy_for_many_batches(device):
    evaluator = Evaluator(Keeps())
    kept = evaluator.metrics[0].results
    for batch in range(40):
        evaluator.process([{"score": away(batch, place), "id": batch} for place in range(2)])
        assert len(device) == (1 if batch >= 31 else 0)  # the 64th entry is the occasion
    assert device == [2 * 62]  # entries of the last batch stayed
    assert kept[0]["score"].dtype is torch.float32 and kept[63]["score"].dtype is torch.float64
    values = evaluator.evaluate(80)["results"]
    assert device == [124, 2 * 18]
    assert [value["score"].tolist() for value in values] == [[i // 2, i % 2] for i in range(80)]
    assert all(value["score"].dtype is torch.float32 and storage_bytes(value["score"]) == 8 for value in values)


def test_results_wait_on_the_device_up_to_a_bound(device, monkeypatch):
    monkeypatch.setattr(_memory, "UNLEAN_BYTES", 10 * 512)  # ten blocks of the device
    evaluator = Evaluator(Keeps())
    waiting = []
    for _ in range(100):
        evaluator.process([away(1.0) for _ in range(2)])
        waiting.append(sum(entry.dtype is torch.float64 for entry in evaluator.metrics[0].results))
    assert max(waiting[32:]) <= 12 and len(device) >= 10


def test_big_results_are_copied_in_chunks(device, monkeypatch):
    monkeypatch.setattr(_kept, "CHUNK_BYTES", 80)
    moved = _kept.to_host([away(*range(4)) for _ in range(5)] + [away(*range(30))])
    assert device == [8, 8, 4, 30] and moved[5].tolist() == list(range(30)) and moved[4].tolist() == [0, 1, 2, 3]


def test_a_row_of_a_batch_does_not_keep_the_batch():
    evaluator = Evaluator(Keeps())
    for start in range(0, 200, 10):
        batch = torch.arange(start, start + 10).repeat(1000, 1).T
        evaluator.process([{"row": row[:5], "all": [(row.numpy()[2:4], row[0])]} for row in batch.contiguous()])
    results = evaluator.metrics[0].results
    for entry in results[: _memory.SAMPLED - 10]:
        assert storage_bytes(entry["row"]) == 40 and entry["all"][0][0].base is None
        assert storage_bytes(entry["all"][0][1]) == 8 and type(entry["all"][0]) is tuple
    assert [int(entry["row"][4]) + int(entry["all"][0][0][0]) for entry in results] == [2 * i for i in range(200)]


def test_an_entry_that_the_metric_also_keeps_elsewhere_is_left_alone():
    class Running(Keeps):
        def __init__(self):
            super().__init__()
            self.batch = torch.zeros(100)
            self.own = {"sum": self.batch[:1]}

        def process(self, data_batch, data_samples):
            if not self.results:
                self.results.append(self.own)
            self.results.extend(data_samples)
            self.own["sum"] += len(data_samples)

    evaluator = Evaluator(Running())
    for _ in range(50):
        evaluator.process([torch.zeros(9)[1:], torch.zeros(9)[1:]])
    assert evaluator.metrics[0].results[0] is evaluator.metrics[0].own
    assert float(evaluator.evaluate(101)["results"][0]["sum"]) == 100
    assert storage_bytes(evaluator.metrics[0].own["sum"]) == 400


def test_a_metric_that_clears_or_replaces_its_results_is_followed():
    evaluator = Evaluator(Keeps())
    metric = evaluator.metrics[0]
    for batch in range(60):
        if batch == 30:
            metric.results = []
        if batch == 45:
            metric.results.clear()
        evaluator.process([torch.full((4,), batch)[:1] for _ in range(5)])
    assert [int(entry) for entry in metric.results] == [batch for batch in range(45, 60) for _ in range(5)]


def test_plain_results_are_not_walked(monkeypatch):
    monkeypatch.setattr(_kept, "make_lean", lambda *_: pytest.fail("nothing is to be made lean"))
    evaluator = Evaluator(Keeps())
    for batch in range(200):
        evaluator.process([(batch, 1.0), {"a": torch.zeros(3), "b": np.zeros(3)}, "text", None])


def test_odd_tensors_stay_what_they_are():
    parameter, sparse = nn.Parameter(torch.zeros(4)), torch.eye(3).to_sparse()
    graph = torch.zeros(4, requires_grad=True)[1:] * 2
    entries = [{"p": parameter, "s": sparse, "g": graph, "v": torch.zeros(9)[:2], "m": torch.zeros(2, device="meta")}]
    before = dict(entries[0])
    _kept.make_lean(entries, 0, 1)
    assert all(entries[0][key] is before[key] for key in "psgm") and storage_bytes(entries[0]["v"]) == 8
    assert _memory.weigh(entries * 3).device == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.one_of(st.integers(), st.text(max_size=3), st.integers(0, 4).map(lambda n: torch.arange(8)[n:]),
                      st.integers(0, 4).map(lambda n: np.arange(8)[n:]), st.just(None),
                      st.integers(0, 3).map(lambda n: torch.ones(4, 2).T[:, n]), st.just(torch.ones(2).expand(3, 2))),
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.tuples(inner, inner),
                                    st.dictionaries(st.text(max_size=2), inner, max_size=3)),
            max_leaves=8,
        ), max_size=8,
    )
)  # fmt: skip
def test_lean_entries_equal_the_old_ones(entries):
    expected = copy.deepcopy(entries)
    _kept.make_lean(entries, 0, len(entries))
    assert repr(entries) == repr(expected) and len(entries) == len(expected)


def test_what_several_entries_hold_stays_one_object():
    palette, table = torch.zeros(100)[:3], np.zeros(100)[:3]
    kept = [{"id": i, "palette": palette, "table": table} for i in range(50)]
    _kept.make_lean(kept, 0, 50)
    assert len({id(entry["palette"]) for entry in kept}) == 1 == len({id(entry["table"]) for entry in kept})
    assert storage_bytes(kept[0]["palette"]) == 12 and kept[0]["table"].base is None


def test_data_elements_are_made_lean_with_what_is_inside():
    boxes = torch.zeros(50, 4)
    element = BaseDataElement(pred=InstanceData(boxes=boxes[:2]), metainfo={"id": 3})
    kept = [element]
    del element
    _kept.make_lean(kept, 0, 1)
    assert storage_bytes(kept[0].pred.boxes) == 32 and kept[0].id == 3 and len(kept[0].pred) == 2


def test_dumped_rows_do_not_carry_their_batches(tmp_path):
    evaluator = Evaluator(DumpResults(str(tmp_path / "kept.pkl")))
    for _ in range(50):
        evaluator.process(list(torch.zeros(4, 1000)))
    evaluator.evaluate(200)
    assert (tmp_path / "kept.pkl").stat().st_size < 2.5 * 200 * 4000
    assert len(load(str(tmp_path / "kept.pkl"))) == 200


@pytest.mark.parametrize("entries", [1_000, 20_000])
def test_a_kept_view_weighs_the_batch_that_it_keeps(entries):
    one_of_ten = [torch.zeros(2560)[:1] for _ in range(entries // 10) for _ in range(10)]
    assert 0.9 < _memory.weigh(one_of_ten).host / (entries * (10240 + 580) / MB) < 1.2
    rows = [row for _ in range(entries // 50) for row in torch.zeros(50, 256)]
    assert 0.9 < _memory.weigh(rows).host / (entries * (1024 + 580) / MB) < 1.4


def test_arrays_weigh_once_with_the_batch_that_they_are_views_of():
    own = [np.zeros(256, np.float32) for _ in range(1000)]
    assert 0.95 < _memory.weigh(own).host / (1000 * (1024 + 112) / MB) < 1.1
    pinned = [torch.zeros(2560).numpy()[:1] for _ in range(1000)]
    assert 0.95 < _memory.weigh(pinned).host / (1000 * (10240 + 112) / MB) < 1.1


def test_what_all_entries_have_in_common_weighs_once():
    common = torch.zeros(256 * 1024)
    weight = _memory.weigh([{"id": i, "palette": common} for i in range(100_000)])
    assert weight.host < 150  # not 100,000 MB


def test_the_device_is_weighed_apart(monkeypatch):
    class There:
        type = "cuda"

    monkeypatch.setattr(_memory._kept, "owner_of", lambda leaf: (id(leaf), leaf.nbytes))
    original = Tensor.device
    monkeypatch.setattr(Tensor, "device", property(lambda tensor: There()))
    try:
        weight = _memory.weigh([torch.zeros(256) for _ in range(1000)] + [torch.zeros(1) for _ in range(1000)])
    finally:
        monkeypatch.setattr(Tensor, "device", original)
    assert 0.9 < weight.device / (1000 * (1024 + 512) / MB) < 1.2 and weight.host < 2


def test_lean_results_pickle_small():
    evaluator = Evaluator(Keeps())
    for _ in range(20):
        evaluator.process(list(torch.zeros(10, 1000)))
    kept = evaluator.metrics[0].results
    assert len(pickle.dumps(kept[0])) < 5000 < len(pickle.dumps(kept[-1]))
