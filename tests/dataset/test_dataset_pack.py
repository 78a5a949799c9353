"""`pack_collate`: what arrives is what `pseudo_collate` gives, sent in a few buffers."""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset, get_worker_info

from drivetrain.dataset import DataLoader, build_dataloader, pack_collate, pseudo_collate
from drivetrain.errors import CollateError
from drivetrain.registry import FUNCTIONS
from drivetrain.structures import BaseDataElement, InstanceData, PixelData
from drivetrain.tensors import PackedList, packed_of


class Pair(NamedTuple):
    a: Any
    b: Any


class Sub(Tensor):
    pass


@dataclasses.dataclass
class Boxes:
    tensor: Tensor
    note: str = "xyxy"


class Batches(Dataset):
    """Whole batches of samples, each to be collated."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def sent(batches: list[Any], collate: Any = pack_collate, **kwargs: Any) -> list[Any]:
    return list(TorchDataLoader(Batches(batches), batch_size=None, num_workers=1, collate_fn=collate, **kwargs))


def same(found: Any, expected: Any) -> bool:
    """Equal in type and value, a packed list being a list."""
    kind = type(expected)
    if type(found) is not kind and not (kind is list and type(found) is PackedList):
        return False
    if issubclass(kind, Tensor):
        return (
            found.dtype == expected.dtype
            and found.shape == expected.shape
            and found.layout == expected.layout
            and found.requires_grad == expected.requires_grad
            and torch.equal(found.detach().to_dense().nan_to_num(), expected.detach().to_dense().nan_to_num())
        )
    if kind is np.ndarray:
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if issubclass(kind, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if issubclass(kind, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    if kind is float and expected != expected:
        return found != found
    return same(vars(found), vars(expected)) if hasattr(found, "__dict__") else found == expected


DTYPES = st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.bool, torch.float16])


@st.composite
def plain_tensors(draw: Any) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    tensor = torch.randint(0, 9, shape).to(draw(DTYPES))
    turn = draw(st.integers(0, 3))
    if turn == 1 and tensor.dim() > 1:
        return tensor.transpose(0, 1)
    return tensor[::2] if turn == 2 and tensor.dim() else tensor


@st.composite
def odd_tensors(draw: Any) -> Tensor:
    kind = draw(st.sampled_from(["grad", "sub", "sparse", "parameter"]))
    tensor = torch.rand(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    if kind == "grad":
        return tensor.requires_grad_()
    if kind == "sub":
        return tensor.as_subclass(Sub)
    return tensor.to_sparse() if kind == "sparse" else nn.Parameter(tensor)


def elements(values: Any) -> Any:
    fields = st.dictionaries(st.sampled_from(["bboxes", "labels", "extra"]), values, max_size=3)
    meta = st.dictionaries(
        st.sampled_from(["shape", "path"]), st.one_of(st.integers(), st.text(max_size=3)), max_size=2
    )
    return st.builds(lambda data, info: BaseDataElement(metainfo=info, **data), fields, meta)


PLAIN = st.one_of(st.none(), st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.binary(max_size=3),
                  st.builds(lambda n: np.arange(n), st.integers(0, 3)))  # fmt: skip
LEAVES = st.one_of(PLAIN, plain_tensors(), odd_tensors())
VALUES = st.one_of(LEAVES, elements(LEAVES), elements(elements(LEAVES)), st.builds(Boxes, plain_tensors()))


@st.composite
def batches(draw: Any) -> list[Any]:
    """Samples of one form, of which each value is drawn anew."""
    count = draw(st.integers(1, 4))
    depth = draw(st.integers(0, 2))

    def column(depth: int) -> list[Any]:
        if depth == 0:
            values = draw(st.sampled_from([LEAVES, VALUES, plain_tensors(), PLAIN]))
            return [draw(values) for _ in range(count)]
        columns = [column(depth - 1) for _ in range(draw(st.integers(1, 3)))]
        rows = list(zip(*columns, strict=True))
        form = draw(st.sampled_from(["dict", "ordered", "tuple", "list", "named"]))
        if form in ("dict", "ordered"):
            kind: Any = dict if form == "dict" else collections.OrderedDict
            return [kind(zip("abc", row, strict=False)) for row in rows]
        if form == "named" and len(columns) == 2:
            return [Pair(*row) for row in rows]
        return [list(row) if form == "list" else row for row in rows]

    return column(depth)


def collatable(samples: list[Any]) -> bool:
    try:
        pseudo_collate(samples)
    except CollateError:
        return False
    return True


@given(batches().filter(collatable))
def test_in_this_process_it_is_pseudo_collate(samples: list[Any]) -> None:
    assert same(pack_collate(samples), pseudo_collate(samples))


# torch says so when it rebuilds a sparse tensor that it sent itself.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@settings(max_examples=12)
@given(st.lists(batches().filter(collatable), min_size=4, max_size=8))
def test_what_a_worker_sends_arrives_as_pseudo_collate_gives_it(drawn: list[Any]) -> None:
    for samples, arrived in zip(drawn, sent(drawn), strict=True):
        assert same(arrived, pseudo_collate(samples))


def detection(index: int, boxes: int = 3) -> dict[str, Any]:
    sample = BaseDataElement(metainfo={"img_shape": (4, 4 + index)})
    sample.gt_instances = InstanceData(bboxes=torch.full((boxes, 4), float(index)), labels=torch.full((boxes,), index))
    sample.proposals = Boxes(torch.ones(index, 4))
    sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, 90, 90), index))
    return {
        "inputs": torch.full((3, 4, 4 + index), index, dtype=torch.uint8),
        "data_samples": sample,
        "name": str(index),
    }


class Detections(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Any]:
        return detection(index, index % 3)


def test_lists_of_tensors_arrive_packed_in_memory_shared_with_the_worker() -> None:
    (batch,) = sent([[detection(index) for index in range(4)]])
    inputs = packed_of(batch["inputs"])
    assert inputs is not None and inputs.buffer is not None
    assert inputs.buffer.is_shared()
    assert [tuple(image.shape) for image in inputs] == [(3, 4, 4 + index) for index in range(4)]
    assert type(batch["data_samples"]) is list


def segments(collate: Any) -> int:
    """Shared-memory segments that a batch of 16 detections takes."""
    batch = sent([[detection(index) for index in range(16)]], collate)[0]
    storages = {batch["inputs"][index].untyped_storage().data_ptr() for index in range(16)}
    for sample in batch["data_samples"]:
        instances = sample.gt_instances
        for tensor in (instances.bboxes, instances.labels, sample.proposals.tensor, sample.gt_sem_seg.sem_seg):
            if tensor.is_shared() and tensor.numel():
                storages.add(tensor.untyped_storage().data_ptr())
    return len(storages)


def test_a_batch_of_data_elements_takes_one_segment() -> None:
    assert segments(pseudo_collate) == 16 * 5 - 1
    # Images, and the large ones of the elements; small tensors are copies, in memory of their own.
    assert segments(pack_collate) == 1 + 1


def test_a_small_tensor_of_an_element_keeps_no_batch_in_memory() -> None:
    (batch,) = sent([[detection(index) for index in range(4)]])
    kept = batch["data_samples"][1].gt_instances.labels
    assert kept.untyped_storage().nbytes() == kept.nbytes


def test_a_tensor_that_is_in_two_places_of_a_sample_arrives_as_one() -> None:
    tensor = torch.ones(2)
    (batch,) = sent([[BaseDataElement(a=tensor, b=tensor), BaseDataElement(a=tensor, b=torch.ones(2))]])
    assert batch[0].a is batch[0].b and batch[1].a is batch[0].a and batch[1].b is not batch[0].a


@pytest.mark.parametrize("streams", ["sample", "worker"])
@pytest.mark.parametrize("persistent", [False, True])
def test_loaders_of_ours_give_the_same_batches_in_every_pass(streams: Any, persistent: bool) -> None:
    def passes(collate: str) -> list[Any]:
        config = {
            "dataset": Detections(), "sampler": {"type": "DefaultSampler", "shuffle": True}, "batch_size": 4,
            "num_workers": 2, "persistent_workers": persistent, "collate_fn": {"type": collate},
        }  # fmt: skip
        loader = build_dataloader(config, seed=3, streams=streams)
        return [*loader, *loader]

    packed, plain = passes("pack_collate"), passes("pseudo_collate")
    assert all(map(same, packed, plain)) and len(packed) == 6
    assert all(packed_of(batch["inputs"]) is not None for batch in packed)


def test_a_function_around_it_sees_lists_in_the_worker_too() -> None:
    def around(samples: list[Any]) -> Any:
        assert get_worker_info() is not None
        batch = pack_collate(samples)
        batch["count"] = len([sample.gt_instances for sample in batch["data_samples"]])
        batch["data_samples"].append("more")
        return batch

    (batch,) = sent([[detection(0), detection(1)]], around)
    assert batch["count"] == 2 and batch["data_samples"][2] == "more"


def test_an_object_that_cannot_be_pickled_is_refused_by_the_queue_itself(capfd: pytest.CaptureFixture[str]) -> None:
    from drivetrain.dataset._pack import _sealed

    column = [BaseDataElement(a=torch.ones(2), metainfo={}), lambda: None]
    assert _sealed(column) == (list, (column,))


def test_an_element_without_tensors_is_sent_without_a_block() -> None:
    (batch,) = sent([[BaseDataElement(a=1, b="x"), BaseDataElement(a=torch.empty(0, 2))]])
    assert batch[0].a == 1 and batch[1].a.shape == (0, 2)
    (batch,) = sent([[BaseDataElement(a=1)]])
    assert batch[0].a == 1


def test_samples_that_do_not_fit_together_are_refused_as_by_pseudo_collate() -> None:
    with pytest.raises(CollateError, match="at least one sample"):
        pack_collate([])
    with pytest.raises(CollateError, match="has the key 'image' and another has not"):
        pack_collate([{"image": torch.ones(1)}, {"imag": torch.ones(1)}])


def test_it_is_registered_and_pickles_by_name() -> None:
    assert FUNCTIONS.get("pack_collate") is pack_collate


def test_open_files_stay_few_while_many_batches_are_kept() -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = sent([[detection(index) for index in range(16)]] * 4)
    assert len(os.listdir("/proc/self/fd")) - before <= 4 * 3 + 8
    assert len(kept) == 4


def test_a_subclass_of_torchs_loader_takes_it(recwarn: pytest.WarningsRecorder) -> None:
    loader = DataLoader(Detections(), batch_size=4, num_workers=1, collate_fn=pack_collate)
    assert [type(batch["inputs"]) for batch in loader] == [PackedList] * 3
