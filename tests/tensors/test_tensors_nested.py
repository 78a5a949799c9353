from __future__ import annotations

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from drivetrain.structures import BaseDataElement
from drivetrain.tensors import cast, map_tensors


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Plain:
    image: Any
    name: str


@dataclasses.dataclass(frozen=True)
class Frozen:
    image: Any
    computed: Any = dataclasses.field(init=False, default=3)


class Named(dict):
    pass


class Items(list):
    def __init__(self, owner, items):
        super().__init__(items)
        self.owner = owner


class OnlyDevice:
    def __init__(self, place="cpu"):
        self.place = place

    def to(self, device):
        return OnlyDevice(str(device))


def meta(data):
    return cast(data, "meta")


def test_cast_moves_tensors_of_every_container():
    batch = {"a": torch.ones(1), "b": [torch.ones(1), (torch.ones(1),)], "p": Point(torch.ones(1), "s")}
    moved = meta(batch)
    assert moved["a"].is_meta and moved["b"][0].is_meta and moved["b"][1][0].is_meta and moved["p"].x.is_meta
    assert type(moved["p"]) is Point and type(moved["b"][1]) is tuple
    assert not batch["a"].is_meta


def test_cast_keeps_what_does_not_move():
    array, thing = numpy.ones(2), object()
    batch = ["text", b"bytes", 3, 2.5, True, None, array, thing, torch.Tensor, range(3)]
    assert all(new is old for new, old in zip(meta(batch), batch, strict=True))


def test_cast_to_where_a_tensor_is_does_not_copy_it():
    tensor = torch.ones(2)
    assert cast({"x": tensor}, "cpu")["x"] is tensor


def test_cast_keeps_the_class_and_the_extras_of_a_mapping():
    counts = collections.defaultdict(list, x=torch.ones(1))
    assert type(meta(counts)) is collections.defaultdict and meta(counts).default_factory is list
    assert type(meta(Named(x=torch.ones(1)))) is Named
    ordered = collections.OrderedDict([("b", torch.ones(1)), ("a", 1)])
    assert list(meta(ordered)) == ["b", "a"]
    assert meta(types.MappingProxyType({"x": torch.ones(1)}))["x"].is_meta


def test_cast_leaves_the_given_mapping_alone():
    batch = Named(x=torch.ones(1))
    meta(batch)
    assert not batch["x"].is_meta


def test_cast_keeps_list_and_tuple_subclasses():
    items = meta(Items("me", [torch.ones(1)]))
    assert type(items) is Items and items.owner == "me" and items[0].is_meta
    assert meta(torch.Size([2, 3])) == torch.Size([2, 3])


def test_cast_moves_the_fields_of_dataclasses_frozen_ones_too():
    plain = Plain(torch.ones(1), "n")
    moved = meta(plain)
    assert moved.image.is_meta and moved.name == "n" and not plain.image.is_meta
    assert meta(Frozen(torch.ones(1))).image.is_meta


def test_cast_moves_whatever_has_a_to():
    assert meta([OnlyDevice()])[0].place == "meta"
    assert cast([OnlyDevice()], "meta", non_blocking=True)[0].place == "meta"
    element = meta(BaseDataElement(x=torch.ones(1)))
    assert type(element) is BaseDataElement and element.x.is_meta
    assert cast({"p": pack_sequence([torch.ones(2)])}, torch.device("cpu"))["p"].data.shape == (2,)


def test_cast_passes_non_blocking_on(monkeypatch):
    seen = []

    class Mover:
        def to(self, device, non_blocking=False):
            seen.append(non_blocking)
            return self

    cast([Mover()], "cpu", non_blocking=True)
    cast([Mover()], "cpu")
    assert seen == [True, False]


def test_cast_moves_parameters_and_tensor_subclasses():
    moved = meta([torch.nn.Parameter(torch.ones(1)), torch.ones(1).as_subclass(type("Sub", (torch.Tensor,), {}))])
    assert all(tensor.is_meta for tensor in moved)


def test_map_tensors_reaches_data_elements_and_leaves_the_rest():
    batch = {"x": torch.ones(1), "s": BaseDataElement(y=torch.ones(1), z="q"), "m": OnlyDevice(), "n": 4}
    doubled = map_tensors(batch, lambda tensor: tensor * 2)
    assert doubled["x"].item() == 2 and doubled["s"].y.item() == 2 and doubled["s"].z == "q"
    assert doubled["m"] is batch["m"] and doubled["n"] == 4
    assert batch["x"].item() == 1 and batch["s"].y.item() == 1


def test_map_tensors_may_change_what_a_tensor_is():
    assert map_tensors([torch.tensor([1, 2]), "a"], torch.Tensor.tolist) == [[1, 2], "a"]


leaves = st.one_of(st.integers(), st.text(), st.none(), st.builds(torch.tensor, st.integers(0, 9)))
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Point, inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(nests)
def test_map_tensors_with_the_identity_gives_an_equal_nest(nest):
    assert map_tensors(nest, lambda tensor: tensor) == nest
    assert cast(nest, "cpu") == nest


@given(nests)
def test_map_tensors_calls_once_a_tensor(nest):
    def count(data):
        if type(data) in (list, tuple, Point):
            return sum(map(count, data))
        return sum(map(count, data.values())) if type(data) is dict else int(type(data) is torch.Tensor)

    calls = []
    map_tensors(nest, calls.append)
    assert len(calls) == count(nest)


def test_a_device_that_does_not_exist_is_torchs_own_error():
    with pytest.raises(RuntimeError, match="tpuu"):
        cast([torch.ones(1)], "tpuu")
