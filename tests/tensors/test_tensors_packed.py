from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from drivetrain.errors import ArgumentError
from drivetrain.tensors import PackedList, cast, map_tensors, pack_together, packable, packed_of, unpack_together

DTYPES = [torch.uint8, torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
          torch.complex128]  # fmt: skip
SHAPES = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=6)


def tensors_of(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Tensor]:
    return [torch.arange(prod(shape)).add(index).reshape(shape).to(dtype) for index, shape in enumerate(shapes)]


def three() -> list[Tensor]:
    return [torch.ones(2, 3), torch.tensor(5.0), torch.arange(4.0)]


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(
        type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(found, expected, strict=True)
    )


@given(SHAPES, st.sampled_from(DTYPES), st.booleans())
def test_packed_tensors_are_the_tensors_and_lie_aligned_in_one_buffer(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, shared: bool
) -> None:
    given_tensors = tensors_of(shapes, dtype)
    packed = PackedList.pack(given_tensors, shared=shared)
    assert packed_of(packed) is packed
    assert equal(packed, given_tensors)
    assert packed.shapes == tuple(map(torch.Size, shapes))
    assert packed.buffer is not None and packed.buffer.dtype == dtype and packed.buffer.dim() == 1
    for tensor, shape, offset in zip(packed, shapes, packed.offsets, strict=True):
        assert offset * dtype.itemsize % 16 == 0
        view = packed.buffer[offset : offset + prod(shape)].view(shape)
        assert torch.equal(view, tensor)
        assert tensor.numel() == 0 or view.data_ptr() == tensor.data_ptr()
    assert shared is False or packed.buffer.numel() == 0 or packed.buffer.is_shared()


@given(SHAPES, st.sampled_from(DTYPES))
def test_pickles_and_copies_are_packed_again(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> None:
    packed = PackedList.pack(tensors_of(shapes, dtype))
    for again in (pickle.loads(pickle.dumps(packed)), copy.deepcopy(packed), copy.copy(packed)):
        assert packed_of(again) is again
        assert equal(again, packed)
        assert again.offsets == packed.offsets


def test_transposed_and_strided_tensors_are_packed_by_value() -> None:
    image = torch.arange(24).reshape(2, 3, 4)
    packed = PackedList.pack([image.permute(2, 0, 1), image[:, ::2], torch.tensor(7).expand(3)])
    assert equal(packed, [image.permute(2, 0, 1).clone(), image[:, ::2].clone(), torch.tensor([7, 7, 7])])
    assert all(tensor.is_contiguous() for tensor in packed)


def test_the_buffer_is_a_copy_and_its_items_do_not_touch_each_other() -> None:
    given_tensors = three()
    packed = PackedList.pack(given_tensors)
    packed[0].fill_(9)
    packed[0].add_(1)
    assert equal(given_tensors, three())
    assert equal(packed[1:], three()[1:])
    assert packed_of(packed) is packed


def test_a_change_in_place_is_no_change_to_what_a_graph_saved_of_another_item() -> None:
    packed, weight = PackedList.pack(three()), torch.ones(4, requires_grad=True)
    product = (packed[2] * weight).sum()
    packed[0].mul_(2)
    product.backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.arange(4.0))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("shapes", [[(3,), (3,)], [(3,), (2, 3)]])
def test_items_made_without_gradients_take_part_in_a_graph_in_place(
    context: Callable[[], Any], shapes: list[tuple[int, ...]]
) -> None:
    whole = PackedList.pack(tensors_of(shapes, torch.float32))
    with context():
        packed = pickle.loads(pickle.dumps(whole)) if context is not torch.inference_mode else copy.copy(whole)
    weight = torch.ones(3, requires_grad=True)
    packed[1].mul_(weight)
    assert packed[1].requires_grad
    assert packed_of(packed) is None


CHANGES: dict[str, Callable[[Any], Any]] = {
    "assign": lambda x: x.__setitem__(0, torch.zeros(1)), "slice": lambda x: x.__setitem__(slice(0, 1), []),
    "delete": lambda x: x.__delitem__(0), "append": lambda x: x.append(torch.zeros(1)), "extend": lambda x: x.extend([]),
    "insert": lambda x: x.insert(0, torch.zeros(1)), "pop": lambda x: x.pop(), "clear": lambda x: x.clear(),
    "remove": lambda x: x.remove(x[0]), "reverse": lambda x: x.reverse(), "sort": lambda x: x.sort(key=Tensor.numel),
    "iadd": lambda x: x.__iadd__([torch.zeros(1)]), "imul": lambda x: x.__imul__(2),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_list_claims_no_buffer_and_does_what_a_plain_one_does(change: Callable[[Any], Any]) -> None:
    packed, plain = PackedList.pack(three()), three()
    change(packed)
    change(plain)
    assert equal(packed, plain)
    assert packed.buffer is None and packed.shapes == () and packed.offsets == ()
    assert packed_of(packed) is None
    assert equal(pickle.loads(pickle.dumps(packed)), plain)
    assert equal(cast(packed, "cpu"), plain)


def test_a_tensor_changed_behind_the_back_is_seen() -> None:
    def seen(change: Callable[[Tensor], Any]) -> bool:
        packed = PackedList.pack([torch.ones(2, 2), torch.ones(2, 2)])
        change(packed[1])
        return packed_of(packed) is None

    assert seen(lambda tensor: tensor.requires_grad_())
    assert seen(lambda tensor: tensor.resize_(4))
    assert seen(lambda tensor: tensor.t_())
    assert seen(lambda tensor: setattr(tensor, "data", torch.ones(2, 2)))
    assert not seen(lambda tensor: tensor.zero_())


def test_plain_lists_and_other_things_are_not_packed() -> None:
    assert packed_of(three()) is None
    assert packed_of(PackedList(three())) is None
    assert packed_of(None) is None
    assert packed_of(torch.nn.BatchNorm1d(1)) is None


@given(st.lists(st.tuples(SHAPES, st.sampled_from(DTYPES)), min_size=1, max_size=4), st.booleans())
def test_several_dtypes_lie_behind_each_other_in_one_block(
    kinds: list[tuple[list[tuple[int, ...]], torch.dtype]], shared: bool
) -> None:
    groups = [tensors_of(shapes, dtype) for shapes, dtype in kinds]
    block, lists = pack_together(groups, shared=shared)
    assert block.dtype == torch.uint8 and block.dim() == 1
    opened = unpack_together(block.clone(), [(dtype, shapes) for shapes, dtype in kinds])
    for packed, again, group in zip(lists, opened, groups, strict=True):
        assert packed_of(packed) is packed and packed_of(again) is again
        assert equal(packed, group) and equal(again, group)


def test_slices_sums_and_copies_are_plain_lists() -> None:
    packed = PackedList.pack(three())
    assert type(packed[:2]) is list and type(packed + three()) is list and type(packed.copy()) is list
    assert packed_of(packed) is packed


def test_moving_takes_one_copy_and_none_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PackedList.pack(three())
    assert packed.to("cpu") is packed
    assert cast({"x": packed}, "cpu")["x"] is packed
    moved: list[Tensor] = []

    def to(tensor: Tensor, device: Any, non_blocking: bool = False) -> Tensor:
        moved.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(Tensor, "to", to)
    there = cast([packed], "cpu", non_blocking=True)[0]
    assert [tensor is packed.buffer for tensor in moved] == [True]
    assert packed_of(there) is there and there is not packed and equal(there, packed)


def test_a_list_that_no_longer_claims_its_buffer_moves_item_by_item() -> None:
    packed = PackedList.pack(three())
    packed[0].resize_(3)
    there = packed.to("meta")
    assert [tensor.shape for tensor in there] == [(3,), (), (4,)]
    assert packed_of(there) is None


def test_the_thread_that_pins_memory_gets_a_list_of_pinned_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []

    def pin(tensor: Tensor, device: Any = None) -> Tensor:
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    packed = PackedList.pack(three())
    there = pin_memory({"x": packed})["x"]
    assert equal(there, three())
    # Newer versions of torch ask for `pin_memory` before they look for a sequence.
    assert (packed_of(there) is there) == (len(pinned) == 1)
    assert packed_of(packed) is packed


def test_mapping_makes_a_plain_list() -> None:
    mapped = map_tensors({"x": PackedList.pack(three())}, lambda tensor: tensor + 1)["x"]
    assert type(mapped) is list
    assert equal(mapped, [tensor + 1 for tensor in three()])


def test_a_saved_list_comes_back(tmp_path: Any) -> None:
    file = io.BytesIO()
    torch.save(PackedList.pack(three()), file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert packed_of(again) is again and equal(again, three())


class Sub(Tensor):
    pass


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([], "there are none"),
        ([torch.ones(1), torch.ones(1).long()], "they have 2 kinds: torch.float32 on cpu, torch.int64 on cpu"),
        ([torch.ones(1), torch.ones(1, device="meta")], "torch.float32 on meta"),
        ([torch.ones(1, requires_grad=True)], "Detach it first"),
        ([torch.ones(1).to_sparse()], "layout torch.sparse_coo"),
        ([torch.ones(1).as_subclass(Sub)], "one of them is a Sub"),
        ([None], "one of them is a NoneType"),
    ],
)
def test_what_cannot_be_packed_is_refused_with_the_reason(tensors: list[Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        PackedList.pack(tensors)
    assert len(tensors) != 1 or not packable(tensors[0])


def test_a_shared_buffer_is_sent_as_it_is() -> None:
    packed = PackedList.pack(three(), shared=True)
    assert packed.buffer is not None
    before = packed.buffer.data_ptr()
    assert packed.buffer.share_memory_().data_ptr() == before
