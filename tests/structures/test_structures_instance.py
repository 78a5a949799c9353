from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, FieldError, MissingAttributeError, OutOfRangeError
from drivetrain.structures import BaseDataElement, InstanceData


class Box:
    """A value of the user's own."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, item):
        return Box(self.data[item])

    @classmethod
    def cat(cls, boxes):
        return cls(torch.cat([box.data for box in boxes]))


class Special(InstanceData):
    pass


def instances(n=3):
    return InstanceData(
        metainfo={"k": [1]},
        tensor=torch.arange(n * 2).view(n, 2),
        array=numpy.arange(n),
        listed=list("abcdefgh")[:n],
        text="abcdefgh"[:n],
        pair=tuple(range(n)),
        nested=InstanceData(y=list(range(n))),
        box=Box(torch.arange(n)),
    )


def positions(chosen):
    """The same choice, as every kind of value shows it."""
    tensor = (chosen.tensor[:, 0] // 2).tolist()
    assert chosen.array.tolist() == tensor and type(chosen.array) is numpy.ndarray
    assert chosen.listed == ["abcdefgh"[i] for i in tensor] and type(chosen.listed) is list
    assert chosen.text == "".join(chosen.listed) and chosen.pair == tuple(tensor)
    assert chosen.nested.y == tensor and chosen.box.data.tolist() == tensor
    assert len(chosen) == len(tensor) and chosen.k == [1]
    return tensor


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (0, [0]),
        (-1, [2]),
        (numpy.int64(1), [1]),
        (slice(0, 2), [0, 1]),
        (slice(None, None, 2), [0, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        ([0, 2], [0, 2]),
        ([2, 0, 0], [2, 0, 0]),
        ([0, -1], [0, 2]),
        ([], []),
        ([True, False, True], [0, 2]),
        (numpy.array([2, 1]), [2, 1]),
        (numpy.array([False, True, False]), [1]),
        (numpy.array([], dtype=numpy.int64), []),
        (torch.tensor([1, 0]), [1, 0]),
        (torch.tensor([1, 0], dtype=torch.int32), [1, 0]),
        (torch.tensor([], dtype=torch.int64), []),
        (torch.tensor([True, True, False]), [0, 1]),
        (torch.tensor([False, False, False]), []),
    ],
    ids=repr,
)
def test_every_kind_of_index_chooses_from_every_kind_of_value(item, expected):
    assert positions(instances()[item]) == expected


@pytest.mark.parametrize(
    ("item", "error", "match"),
    [
        (3, OutOfRangeError, "index 3 is out of range for 3"),
        (-4, IndexError, "-4"),
        ([True], ArgumentError, "each of the 3 instances, got 1"),
        (torch.tensor([True]), ArgumentError, "got 1"),
        (torch.tensor([[0]]), ArgumentError, "one dimension"),
        (torch.tensor(1.0), ArgumentError, "one dimension"),
        (torch.tensor([0.0]), ArgumentTypeError, "torch.float32"),
        (torch.tensor([1], dtype=torch.uint8), ArgumentTypeError, "torch.uint8"),
        (numpy.array([0.5]), ArgumentTypeError, "torch.float64"),
        ((0, 1), ArgumentTypeError, "tuple"),
        (None, ArgumentTypeError, "NoneType"),
        (1.0, ArgumentTypeError, "float"),
        ("tensr", MissingAttributeError, "Did you mean 'tensor'"),
    ],
    ids=repr,
)
def test_a_wrong_index_is_refused_with_its_reason(item, error, match):
    with pytest.raises(error, match=match):
        instances()[item]


def test_a_name_as_index_is_the_field():
    found = InstanceData(a=[1, 2])
    assert found["a"] == [1, 2]
    found["b"] = [3, 4]
    assert found.b == [3, 4]
    del found["a"]
    assert found.keys() == ["b"]


def test_length_is_that_of_the_fields_and_metainfo_has_none():
    assert len(InstanceData()) == 0 and len(InstanceData(metainfo={"k": [1, 2]})) == 0
    assert len(instances(5)) == 5


def test_iterating_gives_each_instance():
    assert [one.a for one in InstanceData(a=[1, 2])] == [[1], [2]]


def test_fields_must_be_equally_long():
    with pytest.raises(ArgumentError, match=r"2 entries .* 1 instances"):
        InstanceData(a=[1], b=[1, 2])
    found = InstanceData(a=[1])
    with pytest.raises(ArgumentError):
        found.a = [1, 2]
    del found.a
    found.a = [1, 2]
    assert len(found) == 2


@pytest.mark.parametrize("value", [3, None, torch.tensor(3)], ids=repr)
def test_a_value_without_length_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="'a' needs one entry for each instance"):
        InstanceData(a=value)


def test_reserved_and_metainfo_names_are_refused():
    with pytest.raises(FieldError):
        instances()._data_fields = [1, 2, 3]
    with pytest.raises(FieldError, match="metainfo"):
        instances().k = [1, 2, 3]


def test_choosing_keeps_class_and_copies_metainfo():
    found = Special(metainfo={"k": [1]}, a=[1, 2])
    assert type(found[0]) is Special and found[0].k is not found.k


def test_choosing_from_a_list_of_elements_gives_the_elements():
    found = InstanceData(a=[BaseDataElement(x=1), BaseDataElement(x=2)])
    assert found[[1]].a[0].x == 2


def test_a_mask_chooses_on_the_device_of_the_values():
    found = InstanceData(a=torch.ones(3, device="meta"))
    assert found[1:].a.is_meta and found[torch.tensor([0, 2])].a.shape == (2,)


def test_cat_joins_every_kind_of_value():
    joined = InstanceData.cat([instances(3), instances(2)])
    assert positions(joined) == [0, 1, 2, 0, 1]


def test_cat_of_one_is_itself_and_keeps_the_first_elements_class():
    one = instances()
    assert InstanceData.cat([one]) is one
    assert type(InstanceData.cat([Special(a=[1]), InstanceData(a=[2])])) is Special


def test_cat_takes_zero_length_fields():
    joined = InstanceData.cat([InstanceData(a=torch.tensor([1.0])), InstanceData(a=torch.zeros(0))])
    assert joined.a.tolist() == [1]
    assert len(InstanceData.cat([InstanceData(), InstanceData()])) == 0


@pytest.mark.parametrize(
    ("elements", "error", "match"),
    [
        ([], ArgumentError, "at least one"),
        ([1], ArgumentTypeError, "int"),
        ([InstanceData(a=[1]), InstanceData(b=[1])], ArgumentError, "element 1 .* in a, b"),
        ([InstanceData(a=[1]), InstanceData()], ArgumentError, "zero-length"),
        ([InstanceData(a=[1]), InstanceData(metainfo={"m": 1}, a=[1])], ArgumentError, "in m"),
        ([InstanceData(a=torch.ones(1)), InstanceData(a=[1])], ArgumentTypeError, "'a' holds Tensor, list"),
        ([InstanceData(a={1: 2}), InstanceData(a={1: 2})], ArgumentTypeError, "'a' holds dict"),
    ],
    ids=str,
)
def test_cat_explains_what_does_not_fit(elements, error, match):
    with pytest.raises(error, match=match):
        InstanceData.cat(elements)


@given(st.integers(1, 8), st.data())
def test_choosing_equals_choosing_from_a_list(n, data):
    index = data.draw(st.lists(st.integers(-n, n - 1), max_size=6))
    step = data.draw(st.sampled_from([-2, -1, 1, 2]))
    start, stop = data.draw(st.tuples(*[st.one_of(st.none(), st.integers(-9, 9))] * 2))
    numbers = list(range(n))
    assert positions(instances(n)[index]) == [numbers[i] for i in index]
    assert positions(instances(n)[start:stop:step]) == numbers[start:stop:step]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_cat_then_slicing_gives_the_parts_back(lengths):
    joined = InstanceData.cat([instances(n) for n in lengths])
    first = 0
    for n in lengths:
        assert positions(joined[first : first + n]) == list(range(n))
        first += n
