"""The encoder: everything allowed comes back as it was, through `torch.load(weights_only=True)` with no allow-list."""

from __future__ import annotations

import enum
import io
import pathlib
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from drivetrain.checkpoint import decode, encode
from drivetrain.errors import CheckpointError
from drivetrain.logging import HistoryBuffer


def through_a_file(obj: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(encode(obj), buffer)
    buffer.seek(0)
    return decode(torch.load(buffer, weights_only=True))


def same(left: Any, right: Any) -> bool:
    """Equal with equal types, NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic) and left.dtype.char in "gG":
        # NumPy leaves the padding of a long double as the memory was; text shows every bit of the number, and -0.
        return left.shape == right.shape and np.array_repr(np.asarray(left)) == np.array_repr(np.asarray(right))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        if left.dtype == object:
            return left.shape == right.shape and all(map(same, left.ravel().tolist(), right.ravel().tolist()))
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, np.generic):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(*keys) and same(left[keys[0]], right[keys[1]]) for keys in zip(left, right, strict=True)
        )
    if isinstance(left, list | tuple | deque):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) or (left != left and right != right)


finite = st.floats(allow_nan=False)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    finite,
    st.text(max_size=4),
    st.binary(max_size=4),
    st.complex_numbers(allow_nan=False),
    st.integers(-5, 5).map(np.int32),
    finite.map(np.float64),
    st.frozensets(st.integers(), max_size=3),
    st.text("ab/.", max_size=5).map(pathlib.Path),
    st.sampled_from([torch.float16, torch.device("cuda", 3), torch.Size([2, 3]), range(1, 9, 2), np.dtype("i2")]),
)
arrays = hnp.arrays(
    st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.array_dtypes()),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
leaves = st.one_of(
    hashables,
    st.floats(),
    st.integers(min_value=2**2000, max_value=2**2100),
    arrays,
    st.sampled_from([torch.arange(4), torch.tensor(1.5), torch.zeros(0, 2, dtype=torch.bfloat16)]),
    st.sets(st.integers(), max_size=3),
    st.builds(slice, st.none() | st.integers(), st.integers(), st.none()),
    st.binary(max_size=5).map(bytearray),
)
keys = st.one_of(st.sampled_from(["__drivetrain__", "value", "state_dict"]), hashables, st.tuples(hashables, hashables))
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(lambda items: deque(items, maxlen=5)),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=3).map(lambda items: defaultdict(list, items)),
        st.dictionaries(st.text(max_size=2), st.integers(), max_size=3).map(Counter),
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(nested)
@example({"__drivetrain__": "ndarray", "value": 1})
@example(OrderedDict({"__drivetrain__": [{"__drivetrain__": 1}]}))
@example(defaultdict(dict, {"__drivetrain__": 2, np.int64(3): {None: 1}}))
def test_any_nested_object_comes_back_equal_and_of_the_same_types(obj: Any) -> None:
    assert same(through_a_file(obj), obj)


@settings(max_examples=100)
@given(nested)
def test_encoding_twice_is_undone_by_decoding_twice(obj: Any) -> None:
    assert same(decode(decode(encode(encode(obj)))), obj)


def test_plain_structure_stays_readable_without_us() -> None:
    checkpoint = {
        "meta": {"epoch": 3, "note": "x"},
        "state_dict": OrderedDict(w=torch.ones(2)),
        "param_schedulers": [(1, 2.0)],
    }
    assert same(encode(checkpoint), checkpoint)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3))[:, ::-1],
        np.broadcast_to(np.arange(3), (2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, 2], ">i4"),
        np.array(["a", "bcd"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8", (2,))]),
        np.array([[1, None], ["x", {1: pathlib.Path("p")}]], dtype=object),
        np.array("2020-02-03", "M8[D]"),
        np.longdouble(1) / 3,
        np.finfo(np.longdouble).max,
        np.finfo(np.longdouble).smallest_subnormal,
        np.longdouble("-0.0"),
        np.longdouble("nan"),
        np.clongdouble(np.longdouble(2) / 3 - 1j * np.longdouble(1) / 3),
        np.arange(6, dtype=np.longdouble)[::-2] / 7,
        (np.arange(4, dtype=np.clongdouble) / 7).astype(np.dtype("G").newbyteorder()),
        np.str_("word"),
        np.bytes_(b"word"),
        np.void(b"abc"),
    ],
)
def test_unusual_arrays_and_scalars_survive(array: Any) -> None:
    assert same(through_a_file(array), np.array(array) if isinstance(array, np.ndarray) else array)


def with_other_padding(array: Any) -> Any:
    """The same values with every byte changed that holds none of them."""
    items = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize).copy()
    for index in range(array.itemsize):
        items[:, index] ^= 0xFF
        with np.errstate(invalid="ignore"):
            if not equal_by_field(items.view(array.dtype)[:, 0], array):
                items[:, index] ^= 0xFF
    return items.view(array.dtype)[:, 0]


def equal_by_field(left: Any, right: Any) -> bool:
    if left.dtype.names is None:
        return np.array_equal(left, right)
    return all(np.array_equal(left[name], right[name]) for name in left.dtype.names)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("g"),
        np.dtype("G"),
        np.dtype("g").newbyteorder(),
        np.dtype("G").newbyteorder(),
        np.dtype([("number", "g", (2,)), ("flag", "i1"), ("count", "i8")], align=True),
    ],
)
def test_padding_and_gaps_between_fields_do_not_reach_the_file(dtype: np.dtype[Any]) -> None:
    array = np.zeros(3, dtype)
    for part in [array] if dtype.names is None else [array[name] for name in dtype.names]:
        part[...] = (np.arange(1, part.size + 1, dtype="g") * 100 / 3).reshape(part.shape)
    other = with_other_padding(array)
    assert equal_by_field(array, other)
    assert torch.equal(encode(array)["value"]["raw"], encode(other)["value"]["raw"])
    assert equal_by_field(through_a_file(other), array)


def test_padding_of_a_long_double_scalar_does_not_reach_the_file() -> None:
    array = np.array([1, 2], np.longdouble) / 3
    raw = encode(array)["value"]["raw"].reshape(2, -1)
    for item, scalar in zip(raw, with_other_padding(array), strict=True):
        assert torch.equal(encode(scalar)["value"]["array"]["value"]["raw"], item)


def test_restored_array_is_writable_and_fortran_order_is_kept() -> None:
    restored = through_a_file(np.asfortranarray(np.ones((2, 3))))
    restored[0, 0] = 7
    assert restored.flags.f_contiguous and not restored.flags.c_contiguous


def test_tensors_and_arrays_are_not_copied() -> None:
    tensor, array = torch.ones(3), np.ones(3)
    encoded = encode({"t": [tensor], "a": array})
    assert encoded["t"][0] is tensor
    assert encoded["a"]["value"]["data"].data_ptr() == array.ctypes.data


def test_shared_tensors_stay_shared_in_the_file() -> None:
    weight = torch.ones(3)
    loaded = through_a_file({"a": weight, "b": weight})
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()


def test_subclasses_of_plain_types_become_plain() -> None:
    class Settings(dict):
        pass

    class Index(int):
        pass

    point = namedtuple("point", "x y")
    loaded = through_a_file({"d": Settings(a=Index(3)), "p": point(1, 2)})
    assert same(loaded, {"d": {"a": 3}, "p": (1, 2)})


def test_module_versions_on_a_state_dict_survive() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    loaded = through_a_file(state)
    assert type(loaded) is OrderedDict and loaded._metadata == state._metadata


def test_a_parameter_stays_one_and_attributes_on_tensors_are_dropped() -> None:
    parameter, tensor = nn.Parameter(torch.ones(2), requires_grad=False), torch.ones(2)
    parameter.origin = tensor.origin = object()
    loaded = through_a_file({"p": parameter, "t": tensor})
    assert type(loaded["p"]) is nn.Parameter and not loaded["p"].requires_grad
    assert torch.equal(loaded["t"], tensor)


def test_a_history_buffer_comes_back_with_its_numbers() -> None:
    history = HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 2], max_length=10)
    loaded = through_a_file({"train/loss": history})["train/loss"]
    assert type(loaded) is HistoryBuffer
    assert [column.tolist() for column in loaded.data] == [column.tolist() for column in history.data]
    assert float(loaded.mean()) == float(history.mean())


class Colour(enum.Enum):
    RED = 1


class Opaque:
    pass


class StrEnum(str, enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Opaque(), "Opaque"),
        (Colour.RED, "save its .value"),
        (StrEnum.A, "save its .value"),
        (nn.Linear(1, 1), r"save its state_dict\(\)"),
        (torch.Generator(), r"save its get_state\(\)"),
        (print, "save its name"),
        (np.ma.masked_array([1, 2], [0, 1]), "MaskedArray"),
        (defaultdict(lambda: 0), "default_factory"),
        (np.array([(None, 1)], dtype=[("a", object), ("b", int)]), "no portable bytes"),
        (nn.UninitializedParameter(), "UninitializedParameter"),
    ],
)
def test_what_cannot_be_saved_raises_with_its_key_path(value: Any, said: str) -> None:
    obj = {"message_hub": {"runtime_info": {"foo": [0, 1, 2, value]}}}
    with pytest.raises(CheckpointError, match=said) as raised:
        encode(obj)
    assert str(raised.value).startswith("message_hub.runtime_info.foo[3]: object of type ")


def test_the_key_path_quotes_names_with_dots() -> None:
    with pytest.raises(CheckpointError, match=r"^state_dict\['conv\.weight'\]: object"):
        encode({"state_dict": {"conv.weight": Opaque()}})


def test_cycles_raise() -> None:
    ring: list[Any] = []
    ring.append({"again": ring})
    with pytest.raises(CheckpointError, match=r"^a\[0\]\.again: this list holds itself"):
        encode({"a": ring})


def test_too_deep_a_nest_raises_a_checkpoint_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CheckpointError, match="too deeply"):
        encode(deep)


@pytest.mark.parametrize(
    "tagged",
    [
        {"__drivetrain__": "from_the_future", "value": 1},
        {"__drivetrain__": ["list"], "value": 1},
        {"__drivetrain__": "ndarray"},
        {"__drivetrain__": "ndarray", "value": {"dtype": "|O", "shape": [3], "raw": torch.zeros(1, dtype=torch.uint8)}},
        {"__drivetrain__": "torch.dtype", "value": "load"},
        {"__drivetrain__": "defaultdict", "value": ["eval", {}]},
        {"__drivetrain__": "path", "value": 3},
        {"__drivetrain__": "set", "value": [[1]]},
        {"__drivetrain__": "HistoryBuffer", "value": {}},
    ],
)
def test_damaged_or_unknown_tags_raise(tagged: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"kind|dtype"):
        decode({"a": tagged})


def test_a_file_whose_shared_containers_no_walk_could_end_is_refused_in_linear_time() -> None:
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(CheckpointError, match="than a walk could end"):
        decode(laughs)


def test_a_file_whose_container_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(CheckpointError, match="holds itself"):
        decode(ring)
