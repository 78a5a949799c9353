from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, FieldError, OutOfRangeError
from drivetrain.structures import LabelData, PixelData


def maps():
    return PixelData(metainfo={"k": 1}, x=torch.arange(24).view(2, 3, 4), y=numpy.arange(12).reshape(3, 4))


def test_a_map_of_two_dimensions_gets_a_channel_axis_and_shares_memory():
    plane = torch.zeros(3, 4)
    found = PixelData(a=plane)
    assert found.a.shape == (1, 3, 4) and found.a.data_ptr() == plane.data_ptr()
    assert maps().y.shape == (1, 3, 4) and maps().shape == (3, 4) and PixelData().shape is None


@pytest.mark.parametrize(
    ("item", "rows", "columns"),
    [
        ((0, 0), slice(0, 1), slice(0, 1)),
        ((-1, slice(None)), slice(2, 3), slice(None)),
        ((slice(0, 2), slice(1, 3)), slice(0, 2), slice(1, 3)),
        ((slice(9, 9), numpy.int64(3)), slice(0, 0), slice(3, 4)),
    ],
)
def test_cutting_keeps_three_dimensions(item, rows, columns):
    cut = maps()[item]
    assert torch.equal(cut.x, maps().x[:, rows, columns])
    assert (cut.y == maps().y[:, rows, columns]).all() and type(cut.y) is numpy.ndarray
    assert cut.k == 1 and type(cut) is PixelData


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (0, ArgumentTypeError),
        ([0, 1], ArgumentTypeError),
        ((0,), ArgumentError),
        ((0, 0, 0), ArgumentError),
        (([0], 0), ArgumentTypeError),
        ((slice(0, 2), None), ArgumentTypeError),
        ((3, 0), OutOfRangeError),
        ((0, -5), OutOfRangeError),
    ],
)
def test_a_wrong_cut_is_refused(item, error):
    with pytest.raises(error):
        maps()[item]


def test_maps_have_one_height_and_width():
    with pytest.raises(ArgumentError, match=r"\(2, 2\) .* \(3, 4\)"):
        maps().z = torch.zeros(1, 2, 2)
    found = maps()
    found.z = torch.zeros(7, 3, 4)
    assert found.keys() == ["x", "y", "z"]


@pytest.mark.parametrize("value", [torch.zeros(2), torch.zeros(1, 2, 2, 2), numpy.zeros(3)])
def test_maps_have_two_or_three_dimensions(value):
    with pytest.raises(ArgumentError, match="dimensions"):
        PixelData(a=value)


def test_maps_are_tensors_or_arrays():
    with pytest.raises(ArgumentTypeError, match="list"):
        PixelData(a=[[1]])
    with pytest.raises(FieldError):
        maps()._data_fields = torch.zeros(3, 4)


def test_label_to_onehot_keeps_the_dtype():
    onehot = LabelData.label_to_onehot(torch.tensor([0, 2, 2], dtype=torch.int32), 4)
    assert onehot.tolist() == [1, 0, 1, 0] and onehot.dtype is torch.int32
    assert LabelData.label_to_onehot(torch.tensor([], dtype=torch.long), 2).tolist() == [0, 0]
    assert LabelData.label_to_onehot(torch.tensor(1), 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ([1], ArgumentTypeError),
        (torch.tensor([1.0]), ArgumentTypeError),
        (torch.tensor([True]), ArgumentTypeError),
        (torch.tensor([[1]]), ArgumentError),
        (torch.tensor([4]), ArgumentError),
        (torch.tensor([-1]), ArgumentError),
    ],
    ids=repr,
)
def test_label_to_onehot_refuses_what_is_no_label(label, error):
    with pytest.raises(error):
        LabelData.label_to_onehot(label, 4)


@pytest.mark.parametrize(
    "onehot", [[0, 1], torch.tensor([[0, 1]]), torch.tensor([0, 2]), torch.tensor([0.5])], ids=repr
)
def test_onehot_to_label_refuses_what_is_no_onehot(onehot):
    with pytest.raises((ArgumentTypeError, ArgumentError)):
        LabelData.onehot_to_label(onehot)


def test_onehot_to_label_of_zeros_is_empty():
    assert LabelData.onehot_to_label(torch.zeros(3)).tolist() == []
    assert LabelData.onehot_to_label(torch.tensor([False, True])).tolist() == [1]


@given(st.sets(st.integers(0, 9)))
def test_labels_survive_the_way_through_onehot(labels):
    onehot = LabelData.label_to_onehot(torch.tensor(sorted(labels), dtype=torch.long), 10)
    assert LabelData.onehot_to_label(onehot).tolist() == sorted(labels)
