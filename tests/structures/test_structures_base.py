from __future__ import annotations

import copy
import pickle

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, FieldError, NotFoundError
from drivetrain.structures import BaseDataElement, InstanceData


class Guarded(BaseDataElement):
    @property
    def label(self):
        return self._label

    @label.setter
    def label(self, value):
        self.set_field(value, "_label", dtype=torch.Tensor)

    @label.deleter
    def label(self):
        del self._label


class Computed(BaseDataElement):
    """A property that stores in its own way."""

    @property
    def twice(self):
        return self.__dict__["kept"] * 2

    @twice.setter
    def twice(self, value):
        self.__dict__["kept"] = value / 2


def element(**kwargs):
    return BaseDataElement(metainfo={"size": [2, 3], "path": "a.png"}, x=torch.ones(2), **kwargs)


def test_fields_are_attributes_of_two_kinds_in_the_order_they_were_set():
    sample = element(b=1, a=2)
    assert sample.keys() == ["x", "b", "a"] and sample.metainfo_keys() == ["size", "path"]
    assert sample.all_keys() == ["size", "path", "x", "b", "a"]
    assert sample.values()[1:] == [1, 2] and sample.metainfo_values() == [[2, 3], "a.png"]
    assert len(sample.all_values()) == 5 and dict(sample.all_items()).keys() == set(sample.all_keys())
    assert sample._data_fields == {"x", "a", "b"} and sample._metainfo_fields == {"size", "path"}


def test_metainfo_is_kept_as_a_deep_copy_and_handed_out_by_reference():
    given_info = {"size": [2], "nested": {"k": [1]}, "shape": (1, [2])}
    sample = BaseDataElement(metainfo=given_info)
    given_info["size"].append(9)
    given_info["nested"]["k"].append(9)
    given_info["shape"][1].append(9)
    assert sample.metainfo == {"size": [2], "nested": {"k": [1]}, "shape": (1, [2])}
    sample.metainfo["size"].append(3)
    assert sample.size == [2, 3]


def test_a_metainfo_field_changes_only_through_set_metainfo():
    sample = element()
    with pytest.raises(FieldError, match="set_metainfo"):
        sample.path = "b.png"
    sample.set_metainfo({"path": "b.png"})
    assert sample.path == "b.png"


def test_a_name_belongs_to_one_kind():
    with pytest.raises(AttributeError, match="already a data field"):
        element().set_metainfo({"x": 1})
    with pytest.raises(AttributeError, match="already a metainfo field"):
        element().set_data({"path": 1})
    with pytest.raises(FieldError):
        element().update(BaseDataElement(metainfo={"x": 1}))


@pytest.mark.parametrize("name", ["_data_fields", "_metainfo_fields"])
def test_the_tables_of_fields_are_immutable(name):
    sample = element()
    for change in (
        lambda: setattr(sample, name, set()),
        lambda: delattr(sample, name),
        lambda: sample.set_field(1, name),
        lambda: sample.set_metainfo({name: 1}),
    ):
        with pytest.raises(AttributeError, match=r"reserved|keeps the names"):
            change()


def test_wrong_types_fail_early():
    with pytest.raises(ArgumentTypeError, match="metainfo must be a dict"):
        BaseDataElement(metainfo=[1])
    with pytest.raises(ArgumentTypeError, match="data must be a dict"):
        element().set_data([1])
    with pytest.raises(ArgumentTypeError, match="BaseDataElement"):
        element().update({"a": 1})
    with pytest.raises(TypeError):
        BaseDataElement({"a": 1})


def test_get_and_contains_see_both_kinds():
    sample = element()
    assert sample.get("path") == "a.png" and sample.get("nope") is None and sample.get("nope", 3) == 3
    assert "x" in sample and "path" in sample and "nope" not in sample and "keys" not in sample


def test_pop_removes_a_field_of_either_kind():
    sample = element(y=5)
    assert sample.pop("y") == 5 and sample.pop("path") == "a.png"
    assert sample.all_keys() == ["size", "x"] and not hasattr(sample, "y")
    assert sample.pop("y", None) is None and sample.pop("y", 4) == 4
    with pytest.raises(NotFoundError, match="Did you mean 'size'"):
        sample.pop("sizes")
    with pytest.raises(ArgumentTypeError, match="got 3"):
        sample.pop("a", 1, 2)
    with pytest.raises(ArgumentTypeError, match="got 0"):
        sample.pop()


def test_delete_by_attribute_or_item():
    sample = element(y=5)
    del sample.y
    del sample["path"]
    assert sample.all_keys() == ["size", "x"]
    with pytest.raises(AttributeError, match="nope"):
        del sample.nope


def test_new_copies_metainfo_and_shares_data_unless_others_are_given():
    sample = element()
    same = sample.new()
    assert same.x is sample.x and same.size == [2, 3] and same.size is not sample.size
    assert sample.new(metainfo={"q": 1}).all_keys() == ["q", "x"]
    assert sample.new(w=3).all_keys() == ["size", "path", "w"]


def test_clone_shares_values_and_not_fields():
    sample = element()
    clone = sample.clone()
    clone.extra = 1
    assert clone.x is sample.x and clone.size is not sample.size and "extra" not in sample


def test_update_takes_over_the_fields_of_another():
    sample = element()
    sample.update(BaseDataElement(metainfo={"path": "b", "new": 1}, x=3, y=4))
    assert (sample.path, sample.x, sample.y) == ("b", 3, 4)
    assert sample.metainfo_keys() == ["size", "path", "new"]


def test_set_field_checks_type_and_kind():
    sample = element()
    sample.set_field(3, "count", dtype=int)
    sample.set_field("s", "either", dtype=(int, str))
    sample.set_field(1, "info", field_type="metainfo")
    assert sample.keys() == ["x", "count", "either"] and "info" in sample.metainfo_keys()
    with pytest.raises(ArgumentTypeError, match="must be int, got str"):
        sample.set_field("3", "count", dtype=int)
    with pytest.raises(ArgumentError, match="Did you mean 'metainfo'"):
        sample.set_field(3, "c", field_type="metainf")
    with pytest.raises(FieldError, match="already a data field"):
        sample.set_field(3, "count", field_type="metainfo")
    with pytest.raises(FieldError, match="already a metainfo field"):
        sample.set_field(3, "info")


def test_a_property_backed_field_goes_by_the_propertys_name():
    sample = Guarded(label=torch.ones(1), other=2)
    assert sample.keys() == ["label", "other"] and "label" in sample and "_label" in sample
    assert sample._data_fields == {"label", "_label", "other"} and "_label" in sample.__dict__
    assert sample.to_dict().keys() == {"label", "other"}
    with pytest.raises(ArgumentTypeError, match="must be Tensor"):
        sample.label = 3


@pytest.mark.parametrize("convert", [BaseDataElement.clone, BaseDataElement.new, copy.copy, copy.deepcopy])
def test_a_property_backed_field_survives_copies(convert):
    copied = convert(Guarded(label=torch.ones(1)))
    assert copied.keys() == ["label"] and copied.label.item() == 1


def test_a_property_backed_field_is_converted_and_removed_like_others():
    sample = Guarded(label=torch.ones(1))
    assert sample.to(torch.float64).label.dtype is torch.float64
    assert type(sample.numpy().label) is numpy.ndarray
    assert sample.pop("label").item() == 1 and sample.keys() == []
    sample.label = torch.ones(1)
    del sample.label
    assert sample.keys() == [] and sample.__dict__.keys() == {"_data_fields", "_metainfo_fields"}


def test_a_property_that_stores_in_its_own_way_is_converted_through_its_setter():
    sample = Computed(twice=torch.ones(1))
    moved = sample.to(torch.float64)
    assert moved.keys() == ["twice"] and moved.twice.dtype is torch.float64 and sample.twice.dtype is torch.float32


def test_to_moves_values_one_level_deep_and_leaves_metainfo():
    inner = InstanceData(scores=torch.ones(2))
    sample = BaseDataElement(
        metainfo={"m": torch.ones(1)}, x=torch.ones(1), inner=inner, listed=[torch.ones(1)], array=numpy.ones(1), s="s"
    )
    moved = sample.to("meta")
    assert moved.x.is_meta and moved.inner.scores.is_meta and type(moved.inner) is InstanceData
    assert not moved.m.is_meta and not moved.listed[0].is_meta and moved.s == "s"
    assert not sample.x.is_meta and not inner.scores.is_meta


def test_to_passes_arguments_on():
    moved = element().to(torch.float16, copy=True)
    assert moved.x.dtype is torch.float16
    assert element().to(device="cpu", dtype=torch.float64).x.dtype is torch.float64


@pytest.mark.parametrize("name", ["cuda", "npu", "mlu", "musa"])
def test_accelerator_methods_name_their_device(name, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: asked.append(device) or self)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: asked.append("cuda") or self)
    getattr(element(n=InstanceData(y=torch.ones(1)), plain=3), name)()
    assert asked == [name, name]


def test_detach_numpy_and_to_tensor_convert_nested_elements_too():
    grad = torch.ones(1, requires_grad=True)
    sample = BaseDataElement(x=grad, n=BaseDataElement(y=grad), s="s")
    assert not sample.detach().x.requires_grad and not sample.detach().n.y.requires_grad
    arrays = sample.numpy()
    assert type(arrays.x) is numpy.ndarray and type(arrays.n.y) is numpy.ndarray and arrays.s == "s"
    back = arrays.to_tensor()
    assert type(back.x) is torch.Tensor and type(back.n.y) is torch.Tensor
    assert sample.cpu().x is grad and sample.x.requires_grad


def test_to_dict_unfolds_nested_elements_and_metainfo():
    sample = element(n=InstanceData(y=[1]), listed=[InstanceData(y=[1])])
    unfolded = sample.to_dict()
    assert unfolded["n"] == {"y": [1]} and unfolded["path"] == "a.png"
    assert type(unfolded["listed"][0]) is InstanceData


def test_a_pickle_round_trip_keeps_everything():
    sample = element(n=InstanceData(y=[1]))
    again = pickle.loads(pickle.dumps(sample))
    assert again.all_keys() == sample.all_keys() and again.n.y == [1] and again.path == "a.png"
    assert b"drivetrain.structures" in pickle.dumps(sample) and b"_base" not in pickle.dumps(sample)


def test_the_plain_state_of_an_old_pickle_is_taken_as_it_is():
    old = BaseDataElement.__new__(BaseDataElement)
    old.__dict__.update(_metainfo_fields={"a"}, _data_fields={"x"}, a=1, x=2)
    old.y = 3
    assert old.all_keys() == ["a", "x", "y"] and old.new().y == 3


def test_copies_have_their_own_tables_and_a_deep_copy_its_own_values():
    sample = element()
    shallow, deep = copy.copy(sample), copy.deepcopy(sample)
    shallow.extra = deep.extra = 1
    assert "extra" not in sample and sample.keys() == ["x"]
    assert shallow.x is sample.x and deep.x is not sample.x


def test_repr_shows_kinds_and_nesting():
    sample = BaseDataElement(
        metainfo={"shape": (1, 2)},
        s="text",
        inner=InstanceData(y=[1]),
        d={"k": {"q": 1}},
        t=torch.zeros(2, 1),
    )
    text = repr(sample)
    pattern = """<BaseDataElement(

    META INFORMATION
    shape: (1, 2)

    DATA FIELDS
    s: 'text'
    inner: <InstanceData(
    ....
    ....    META INFORMATION
    ....
    ....    DATA FIELDS
    ....    y: [1]
    ....) at {inner:#x}>
    d: .
        k: .
            q: 1
    t: tensor([[0.],
                [0.]])
) at {outer:#x}>"""
    expected = pattern.format(inner=id(sample.inner), outer=id(sample)).replace("....", "    ").replace(": .\n", ": \n")
    assert text == expected


names = st.text("abcdef", min_size=1, max_size=3)


@given(st.dictionaries(names, st.integers()), st.dictionaries(names, st.integers()))
def test_kinds_partition_the_names_whatever_is_set(meta, data):
    sample = BaseDataElement(metainfo=meta)
    for name, value in data.items():
        if name in meta:
            with pytest.raises(FieldError):
                setattr(sample, name, value)
        else:
            setattr(sample, name, value)
    assert sample.metainfo == meta
    assert dict(sample.items()) == {name: value for name, value in data.items() if name not in meta}
    assert sample.clone().to_dict() == sample.to_dict()
