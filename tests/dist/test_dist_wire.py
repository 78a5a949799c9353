"""Results as a message: tensors packed, everything else pickled, all as it was on the other side."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.dist import _wire
from drivetrain.structures import BaseDataElement, InstanceData

DTYPES = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
          torch.complex64, torch.float8_e4m3fn]  # fmt: skip


def sent(data):
    return _wire.unpacked(pickle.loads(pickle.dumps(_wire.packed(data))))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)), max_size=6))
def test_tensors_of_all_types_and_shapes_arrive(forms):
    tensors = [(torch.arange(27)[: torch.Size(shape).numel()] % 2).reshape(shape).to(dtype) for dtype, shape in forms]
    arrived = sent([{"tensor": tensor, "id": place} for place, tensor in enumerate(tensors)])
    assert [entry["id"] for entry in arrived] == list(range(len(forms)))
    for entry, tensor in zip(arrived, tensors, strict=True):
        assert entry["tensor"].dtype is tensor.dtype and entry["tensor"].shape == tensor.shape
        assert torch.equal(entry["tensor"].to(torch.complex128), tensor.to(torch.complex128))


def test_elements_arrays_and_objects_arrive():
    boxes = torch.rand(3, 4)
    element = BaseDataElement(pred=InstanceData(boxes=boxes, scores=np.ones(3)), metainfo={"name": "a"})
    (arrived, same, again), text = sent([[element, boxes, boxes], "text"])
    assert torch.equal(arrived.pred.boxes, boxes) and arrived.name == "a" and arrived.pred.scores.tolist() == [1, 1, 1]
    assert again is same and text == "text"


def test_odd_tensors_go_their_own_way():
    parameter = torch.nn.Parameter(torch.ones(2))
    arrived = sent([parameter, torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.complex64).conj()])
    assert type(arrived[0]) is torch.nn.Parameter and arrived[0].requires_grad
    assert arrived[1].is_sparse and torch.equal(arrived[2].resolve_conj(), torch.ones(2, dtype=torch.complex64))


@pytest.mark.parametrize("rows", [100, 1000])
def test_rows_of_a_batch_travel_without_the_batch(rows):
    batch = torch.zeros(rows, 1000)
    message = pickle.dumps(_wire.packed([row[:10] for row in batch]))
    assert len(message) < rows * 80 + 1000
    kept = _wire.unpacked(pickle.loads(message))[3]
    assert kept.untyped_storage().nbytes() == 40
