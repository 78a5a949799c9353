"""Casting, slicing and mapping."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.config import ConfigDict
from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.utils import (
    apply_to,
    concat_list,
    has_method,
    is_list_of,
    is_method_overridden,
    is_seq_of,
    is_str,
    is_tuple_of,
    iter_cast,
    list_cast,
    slice_list,
    to_1tuple,
    to_2tuple,
    to_3tuple,
    to_4tuple,
    to_ntuple,
    tuple_cast,
)  # fmt: skip


def test_items_are_cast_lazily_or_into_a_type() -> None:
    assert list(iter_cast(["1", "2"], int)) == [1, 2] and not hasattr(iter_cast(["1"], int), "__len__")
    assert list_cast(("1", 2.0), int) == [1, 2] and tuple_cast([1], str) == ("1",)
    with pytest.raises(ArgumentTypeError, match="something iterable, got 1"):
        iter_cast(1, int)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="dst_type must be a type such as int, got 3"):
        iter_cast([1], 3)  # type: ignore[arg-type]


def test_kinds_of_sequences() -> None:
    assert is_str("a") and is_str(np.str_("a")) and not is_str(b"a")
    assert is_seq_of([1, 2], int) and is_seq_of((1, "a"), (int, str)) and is_seq_of("ab", str) and is_seq_of([], int)
    assert not is_seq_of({1}, int) and not is_seq_of((1,), int, list) and not is_seq_of([1, "a"], int)
    assert is_list_of([1], int) and not is_list_of((1,), int) and is_tuple_of((1,), int)


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6))
def test_slicing_undoes_joining(pieces: list[list[int]]) -> None:
    assert slice_list(concat_list(pieces), [len(piece) for piece in pieces]) == pieces


@given(st.integers(1, 5), st.integers(0, 5))
def test_one_length_cuts_equal_pieces(length: int, count: int) -> None:
    pieces = slice_list(range(length * count), length)
    assert [len(piece) for piece in pieces] == [length] * count
    assert concat_list(pieces) == list(range(length * count))


def test_pieces_keep_the_type_of_the_list() -> None:
    assert slice_list((1, 2, 3), [1, 2]) == [(1,), (2, 3)]


@pytest.mark.parametrize("lens", ["a", 2.0, [1.0, 2.0], None])
def test_lengths_that_are_no_integers_are_refused(lens: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="lens must be an integer or a list of integers"):
        slice_list([1, 2, 3], lens)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="add up to 2, but the list has 3 items"):
        slice_list([1, 2, 3], [1, 1])
    with pytest.raises(ArgumentError, match="3 items cannot be cut into pieces of 2"):
        slice_list([1, 2, 3], 2)


def test_single_values_are_repeated_and_iterables_kept() -> None:
    assert (to_1tuple(1), to_2tuple(1), to_3tuple(1), to_4tuple(None)) == ((1,), (1, 1), (1, 1, 1), (None,) * 4)
    assert to_2tuple([1, 2, 3]) == [1, 2, 3] and to_2tuple("ab") == "ab" and to_ntuple(5)(0) == (0,) * 5


Pair = namedtuple("Pair", "a b")


def test_leaves_are_replaced_and_containers_kept() -> None:
    def plus_one(data: Any) -> Any:
        return apply_to(data, lambda leaf: type(leaf) is int, lambda leaf: leaf + 1)

    assert plus_one({"a": [1, (2, "x")], "b": {3}}) == {"a": [2, (3, "x")], "b": {3}}
    assert plus_one(Pair(1, [2])) == Pair(2, [3]) and type(plus_one(Pair(1, 2))) is Pair
    assert type(plus_one(OrderedDict(a=1))) is OrderedDict and plus_one(7) == 8
    grouped = plus_one(defaultdict(list, a=[1]))
    assert grouped == {"a": [2]} and grouped.default_factory is list
    config = ConfigDict(a=dict(b=1))
    assert type(plus_one(config)) is ConfigDict and plus_one(config).a.b == 2 and config.a.b == 1


class Base:
    def step(self) -> None: ...


class Own(Base):
    def step(self) -> None: ...


class Inherits(Base): ...


def test_overridden_methods_are_seen_on_classes_and_instances() -> None:
    assert is_method_overridden("step", Base, Own) and is_method_overridden("step", Base, Own())
    assert not is_method_overridden("step", Base, Inherits)
    with pytest.raises(ArgumentTypeError, match="base_class must be a class"):
        is_method_overridden("step", Base(), Own)  # type: ignore[arg-type]


def test_method_is_something_callable() -> None:
    assert has_method(Base(), "step") and not has_method(Base(), "other") and not has_method(Base, "__doc__")
