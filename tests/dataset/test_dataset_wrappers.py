"""Datasets made of datasets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError, OutOfRangeError
from drivetrain.registry import DATASETS


@DATASETS.register_module(name="DatasetTestNumbers")
class Numbers(BaseDataset):
    METAINFO = {"classes": ["a"], "version": 1}

    def __init__(self, size=3, offset=0, cats=None, **kwargs):
        self.size, self.offset, self.cats = size, offset, cats
        super().__init__(**kwargs)

    def load_data_list(self):
        return [{"i": self.offset + number} for number in range(self.size)]

    def get_cat_ids(self, idx):
        return self.cats[idx] if self.cats else [0]


def values(dataset):
    return [dataset[place]["i"] for place in range(len(dataset))]


def test_concatenation_puts_datasets_behind_each_other():
    both = ConcatDataset([Numbers(), {"type": "DatasetTestNumbers", "size": 2, "offset": 10}])
    assert values(both) == [0, 1, 2, 10, 11] and [sample["i"] for sample in both] == values(both)
    assert both[-1]["i"] == 11 and both[-5]["i"] == 0
    assert both.get_data_info(3) == {"i": 10, "sample_idx": 0} and both.metainfo == {"classes": ["a"], "version": 1}
    for idx in (5, -6):
        with pytest.raises(OutOfRangeError, match="from -5 to 4"):
            both[idx]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_concatenation_counts_like_a_list(sizes):
    parts = [Numbers(size, 10 * number) for number, size in enumerate(sizes)]
    assert values(ConcatDataset(parts)) == [value for part in parts for value in values(part)]


@pytest.mark.parametrize(
    ("metainfo", "key"), [({"classes": ["b"]}, "classes"), ({"more": 1}, "more"), ({"version": np.ones(2)}, "version")]
)
def test_concatenation_wants_equal_metainfo(metainfo, key):
    with pytest.raises(ArgumentError, match=f"dataset 2 of the ConcatDataset differs.*{key}"):
        ConcatDataset([Numbers(), Numbers(metainfo=metainfo)])
    for ignored in (key, [key]):
        assert ConcatDataset([Numbers(), Numbers(metainfo=metainfo)], ignore_keys=ignored).metainfo == Numbers.METAINFO


def test_arrays_in_metainfo_are_compared_by_value():
    def part(value):
        return Numbers(metainfo={"mean": np.full(2, value), "deep": {"std": [np.full(2, value)]}})

    assert len(ConcatDataset([part(1.0), part(1.0)])) == 6
    with pytest.raises(ArgumentError, match="mean"):
        ConcatDataset([part(1.0), part(2.0)])


@pytest.mark.parametrize("wrong", [[], Numbers(), {"type": "DatasetTestNumbers"}])
def test_concatenation_needs_a_list_of_datasets(wrong):
    with pytest.raises(ArgumentError, match="list of one or more datasets"):
        ConcatDataset(wrong)


def test_repetition_repeats():
    thrice = RepeatDataset(Numbers(), 3)
    assert values(thrice) == [0, 1, 2] * 3 and thrice[-1]["i"] == 2 and thrice.get_data_info(4)["sample_idx"] == 1
    assert thrice.metainfo == Numbers.METAINFO and len(RepeatDataset(Numbers(), 0)) == 0


@pytest.mark.parametrize("times", [2.5, -1, "3", True])
def test_repetition_needs_a_whole_number(times):
    with pytest.raises(ArgumentTypeError, match="times must be an int"):
        RepeatDataset(Numbers(), times)


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=12),
    st.floats(0.01, 3.0),
)
def test_class_balance_follows_the_formula(cats, threshold):
    size = len(cats)
    share = {cat: sum(cat in found for found in cats) / size for found in cats for cat in found}
    expected = []
    for place, found in enumerate(cats):
        factor = max([max(1.0, math.sqrt(threshold / share[cat])) for cat in found], default=1.0)
        if abs(factor - round(factor)) < 1e-9:
            return  # rounding up is a matter of the last bit
        expected += [place] * math.ceil(factor)
    balanced = ClassBalancedDataset(Numbers(size, cats=cats), threshold)
    assert balanced.repeat_indices == expected and values(balanced) == expected
    assert balanced.get_cat_ids(len(expected) - 1) == cats[-1]


def test_class_balance_knows_its_bounds():
    balanced = ClassBalancedDataset(Numbers(4, cats=[[0], [1], [1], [1]]), 1.0)
    assert values(balanced) == [0, 0, 1, 1, 2, 2, 3, 3] and balanced[-1]["i"] == 3
    assert balanced.metainfo == Numbers.METAINFO and balanced.get_data_info(2)["i"] == 1
    with pytest.raises(OutOfRangeError):
        balanced[8]


@pytest.mark.parametrize(
    "wrap",
    [lambda data, **kw: ConcatDataset([data], **kw), lambda data, **kw: RepeatDataset(data, 2, **kw),
     lambda data, **kw: ClassBalancedDataset(data, 0.5, **kw)],
)  # fmt: skip
def test_every_wrapper_is_lazy_on_request_refuses_subsets_and_takes_wrappers(wrap):
    inner = Numbers(lazy_init=True)
    wrapped = wrap(inner, lazy_init=True)
    assert not inner._fully_initialized
    assert len(wrapped) >= 3 and inner._fully_initialized
    for cut in (wrapped.get_subset, wrapped.get_subset_):
        with pytest.raises(NotSupportedError, match="Take the subset of the dataset inside"):
            cut(1)
    assert len(RepeatDataset(wrapped, 2)) == 2 * len(wrapped)
    with pytest.raises(ArgumentTypeError, match="expected a dataset"):
        wrap(3)
