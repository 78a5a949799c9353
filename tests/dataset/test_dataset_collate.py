"""Collating: the form of a batch follows the form of its samples."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch

from drivetrain.dataset import COLLATE_FUNCTIONS, default_collate, pseudo_collate
from drivetrain.errors import CollateError
from drivetrain.registry import FUNCTIONS
from drivetrain.structures import BaseDataElement

Pair = namedtuple("Pair", "a b")
ONE, TWO = torch.tensor([1.0]), torch.tensor([2.0])


def same(found, expected):
    """Equal in types and values, tensors included."""
    if type(found) is not type(expected):
        return False
    if type(found) is torch.Tensor:
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(found, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in found)
    if isinstance(found, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([ONE, TWO], [ONE, TWO]),
        ([1, 2], [1, 2]),
        (["a", "b"], ["a", "b"]),
        ([None, None], [None, None]),
        ([{"img": ONE, "name": "a"}, {"img": TWO, "name": "b"}], {"img": [ONE, TWO], "name": ["a", "b"]}),
        ([{"a": {"b": [1, 2]}}, {"a": {"b": [3, 4]}}], {"a": {"b": [(1, 3), (2, 4)]}}),
        ([(ONE, "a"), (TWO, "b")], [(ONE, TWO), ("a", "b")]),
        ([Pair(1, ONE), Pair(2, TWO)], Pair((1, 2), (ONE, TWO))),
        ([OrderedDict(a=1), OrderedDict(a=2)], OrderedDict(a=[1, 2])),
        ([defaultdict(list, a=1)] * 2, {"a": [1, 1]}),
        ([{"a": 1}, {"a": 2, "b": 3}], {"a": [1, 2]}),
    ],
)
def test_pseudo_collate_lists(samples, expected):
    assert same(pseudo_collate(samples), expected)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([ONE, TWO], torch.tensor([[1.0], [2.0]])),
        ([1, 2], torch.tensor([1, 2])),
        ([1.0, 2.0], torch.tensor([1.0, 2.0], dtype=torch.float64)),
        ([True, False], torch.tensor([True, False])),
        ([np.ones(2), np.zeros(2)], torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)),
        ([np.float32(1), np.float32(2)], torch.tensor([1.0, 2.0])),
        (["a", "b"], ["a", "b"]),
        ([b"a", b"b"], [b"a", b"b"]),
        ([{"img": ONE, "name": "a"}, {"img": TWO, "name": "b"}], {"img": torch.stack([ONE, TWO]), "name": ["a", "b"]}),
        ([(1, "a"), (2, "b")], [torch.tensor([1, 2]), ("a", "b")]),
        ([[1, [2]], [3, [4]]], [torch.tensor([1, 3]), [torch.tensor([2, 4])]]),
        ([Pair(1, ONE), Pair(2, TWO)], Pair(torch.tensor([1, 2]), torch.stack([ONE, TWO]))),
    ],
)
def test_default_collate_stacks(samples, expected):
    assert same(default_collate(samples), expected)


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_data_elements_are_listed(collate):
    elements = [BaseDataElement(metainfo={"a": 1}), BaseDataElement()]
    batch = collate([{"data_samples": element} for element in elements])
    assert [one is other for one, other in zip(batch["data_samples"], elements, strict=True)] == [True, True]


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "at least one sample"),
        ([[1, 2], [3]], r"these have \[2, 1\]"),
        ([{"img": 1}, {"imgs": 1}], "Did you mean 'imgs'"),
        ([{"a": 1}, 3], "it has int"),
        ([[1], 2], r"these have \[1, None\]"),
    ],
)
def test_samples_that_do_not_fit_are_refused(collate, samples, words):
    with pytest.raises(CollateError, match=words):
        collate(samples)


@pytest.mark.parametrize("samples", [[torch.ones(2), torch.ones(1)], [None, None], [1, "a"]])
def test_what_cannot_be_stacked_is_refused_with_the_way_out(samples):
    with pytest.raises(CollateError, match="pseudo_collate"):
        default_collate(samples)


def test_both_are_registered():
    assert COLLATE_FUNCTIONS is FUNCTIONS
    assert FUNCTIONS.get("pseudo_collate") is pseudo_collate and FUNCTIONS.get("default_collate") is default_collate
