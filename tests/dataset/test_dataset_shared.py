"""Annotations in shared memory: one copy for all workers however they start, by record or by column, nothing left."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from drivetrain.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    _node,
    _records,
    _shared,
    build_dataloader,
)
from drivetrain.dataset._columns import ColumnBytes
from drivetrain.dataset._shared import SharedArray
from drivetrain.errors import ArgumentError, ArgumentTypeError

sys.path.append(str(Path(__file__).parents[1] / "dist"))
from gloo_processes import run_on_processes

LINUX = sys.platform == "linux"
PARSED = {"times": 0}


class Many(BaseDataset):
    """Annotations without a file; `load_data_list` counts its calls in this process."""

    count = 4000

    def load_data_list(self):
        PARSED["times"] += 1
        return [
            {
                "img_path": f"images/{place:06d}.jpg",
                "label": place % 7,
                "box": [place, 1, 2, 3],
                "ids": [1] * (place % 3),
            }
            for place in range(self.count)
        ]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


class Few(Many):
    count = 3


class Frozen(Few):
    """How many objects the garbage collector is not to look at."""

    def prepare_data(self, idx):
        return gc.get_freeze_count()


class Looking(Many):
    """What a worker sees of its dataset."""

    def prepare_data(self, idx):
        region = self.data_bytes._region
        return {
            "parsed": PARSED["times"],
            "handed": region.fd is not None,
            "mapped": "drivetrain-annotations" in Path("/proc/self/maps").read_text() if LINUX else True,
            **self.get_data_info(idx),
        }


def as_they_are(samples):
    return samples


FORMS = pytest.mark.parametrize("form", [True, "columns"])


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_workers_map_the_annotations_and_neither_parse_nor_copy_them(start):
    both = ConcatDataset([Looking(), Looking(serialize_data="columns")])
    PARSED["times"] = 1 if start == "fork" else 0
    loader = DataLoader(
        both, 2, num_workers=1, multiprocessing_context=start, collate_fn=as_they_are, sampler=[9, 4009]
    )
    for sample in next(iter(loader)):
        assert sample["parsed"] == PARSED["times"] and sample["handed"] and sample["mapped"]
        plain = {key: sample[key] for key in ("img_path", "label", "box", "ids", "sample_idx")}
        assert plain == both.get_data_info(9) == both.get_data_info(4009)


def pss_of_annotations(pid):
    """Bytes of the annotations that count for a process: a page that n processes map is 1/n of each."""
    found, name = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *rest = line.split()
        name = " ".join(rest) if "-" in key else name
        found += int(rest[0]) * 1024 if key == "Pss:" and "drivetrain-annotations" in name else 0
    return found


@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_all_processes_together_hold_one_copy(start):
    parts = [Many(), Many(serialize_data="columns")]
    loader = DataLoader(ConcatDataset(parts), 500, num_workers=2, multiprocessing_context=start, collate_fn=as_they_are,
                        persistent_workers=True)  # fmt: skip
    one = sum(part.data_bytes.nbytes + part.data_address.nbytes for part in parts)
    for _ in range(2):
        assert sum(len(batch) for batch in loader) == 8000
        processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        assert 0.7 * one < sum(map(pss_of_annotations, processes)) < 1.05 * one + 8192


def test_the_collector_of_a_worker_leaves_its_parents_objects_alone():
    loader = build_dataloader(
        {"dataset": Frozen(), "num_workers": 1, "sampler": {"type": "DefaultSampler", "shuffle": False},
         "batch_size": 3, "multiprocessing_context": "fork", "collate_fn": as_they_are}
    )  # fmt: skip
    assert all(count > 10_000 for batch in loader for count in batch)


def test_spawning_sends_no_copy():
    dataset, size = Many(), Many().data_bytes.nbytes
    with spawning() as popen:
        assert len(pickle.dumps(ConcatDataset([dataset, dataset]))) < 6000 < size
        assert len(popen._fds) == 1
        assert len(pickle.dumps(dataset)) > size  # a pickle in the pickle cannot hand the file again: it carries it


class spawning:
    """As if a process were being spawned: what `multiprocessing` sets while it pickles for one."""

    def __enter__(self):
        from multiprocessing.popen_spawn_posix import Popen

        self.popen = Popen.__new__(Popen)
        self.popen._fds = []
        multiprocessing.context.set_spawning_popen(self.popen)
        return self.popen

    def __exit__(self, *_):
        multiprocessing.context.set_spawning_popen(None)


@FORMS
def test_a_pickle_for_a_file_carries_the_content(form):
    dataset = Many(serialize_data=form)
    read = pickle.loads(pickle.dumps(dataset))
    assert read.data_bytes._region is None if form == "columns" else type(read.data_bytes) is np.ndarray
    assert [read[place] for place in (0, 77, -1)] == [dataset[place] for place in (0, 77, -1)]
    assert len(read.get_subset(5)) == 5 and len(pickle.loads(pickle.dumps(read))) == 4000


@FORMS
@pytest.mark.parametrize("cls", [Few, Many])
def test_a_deep_copy_is_its_own_and_shares_the_pages(cls, form):
    dataset = cls(serialize_data=form)
    other = copy.deepcopy(dataset)
    expected = dataset[2]
    other.data_bytes[:] = 0
    assert dataset[2] == expected
    assert (dataset.data_bytes._region.fd is not None) == (cls is Many)


@FORMS
def test_the_attributes_of_the_contract_are_numpy_arrays(form):
    dataset = Many(serialize_data=form)
    assert isinstance(dataset.data_bytes, np.ndarray) and dataset.data_bytes.dtype == np.uint8
    assert isinstance(dataset.data_address, np.ndarray) and dataset.data_address.dtype == np.int64
    assert len(dataset.data_address) == 4000 and dataset.data_list == []
    if form is True:  # what packages do with them
        start, end = dataset.data_address[1].item(), dataset.data_address[2].item()
        assert pickle.loads(memoryview(dataset.data_bytes[start:end]))["img_path"] == "images/000002.jpg"


@FORMS
def test_subsets_and_datasets_of_datasets_read_the_same(form):
    dataset, plain = Many(serialize_data=form), Many(serialize_data=False)
    places = [5, 3999, 5, -2, *range(2000)]
    part, expected = dataset.get_subset(places), plain.get_subset(places)
    for wrap in (lambda data: data, lambda data: RepeatDataset(data, 2), lambda data: ConcatDataset([data, data]),
                 lambda data: ClassBalancedDataset(data, 0.2)):  # fmt: skip
        ours, theirs = wrap(part), wrap(expected)
        assert len(ours) == len(theirs) and all(ours[i] == theirs[i] for i in (0, 1, 3, 50, len(ours) - 1))
    dataset.get_subset_(places)
    assert [dataset[i] for i in range(5)] == [expected[i] for i in range(5)]
    assert len(dataset.get_subset([])) == 0


def test_a_subset_of_columns_shares_the_bytes():
    dataset = Many(serialize_data="columns")
    assert dataset.get_subset([3, 1]).data_bytes is dataset.data_bytes


def test_columns_take_less_memory_than_pickles():
    assert Many(serialize_data="columns").data_bytes.nbytes < 0.65 * Many().data_bytes.nbytes


def test_lazy_datasets_load_in_the_process_that_uses_them():
    dataset = Many(lazy_init=True)
    assert len(pickle.dumps(dataset)) < 3000
    assert len(dataset) == 4000


def test_few_annotations_open_no_file():
    before = len(os.listdir("/proc/self/fd")) if LINUX else 0
    dataset = Few()
    assert dataset.data_bytes._region.fd is None
    assert not LINUX or len(os.listdir("/proc/self/fd")) == before


def test_the_file_is_closed_with_the_last_array():
    dataset = Many()
    fd = dataset.data_bytes._region.fd
    part = dataset.data_bytes[:10]
    del dataset
    assert os.fstat(fd).st_size > 0 and len(part.tobytes()) == 10
    del part
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


@pytest.mark.parametrize("broken", ["memfd", "memfd and files"])
def test_without_memfd_a_file_without_a_name_serves_and_without_that_the_process_own_memory(
    monkeypatch, tmp_path, broken
):
    def refused(*args, **kwargs):
        raise OSError("not here")

    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if broken != "memfd":
        monkeypatch.setattr("tempfile.TemporaryFile", refused)
    dataset = Many()
    assert dataset[5]["label"] == 5 and list(tmp_path.iterdir()) == []
    assert (dataset.data_bytes._region.fd is None) == (broken != "memfd")


def test_a_c_library_that_cannot_give_memory_back_is_no_obstacle(monkeypatch):
    def no_library(name):
        raise OSError("not here")

    monkeypatch.setattr("ctypes.CDLL", no_library)
    assert len(Many()) == 4000


@pytest.mark.parametrize("form", [True, "columns"])
def test_a_record_that_cannot_be_pickled_is_named_with_its_key(form):
    class Wrong(Many):
        def load_data_list(self):
            records = super().load_data_list()
            records[17]["ids"] = {"loader": [1, lambda: None]}
            return records

    with pytest.raises(ArgumentTypeError, match=r"annotation 17 .*\['ids'\]\['loader'\]\[1\]: <function.*pipeline"):
        Wrong(serialize_data=form)


def test_another_text_is_refused_with_the_nearest():
    with pytest.raises(ArgumentError, match=r"'column'.*Did you mean 'columns'"):
        BaseDataset(serialize_data="column", lazy_init=True)


NUMBERS = [st.integers(), st.integers(-5, 300), st.floats(), st.booleans(), st.none(), st.text()]
KINDS = st.sampled_from(
    [
        *NUMBERS,
        *(st.lists(kind, min_size=length, max_size=length) for kind in NUMBERS[:5] for length in (0, 2)),
        st.lists(st.integers(), max_size=3),
        st.tuples(st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.integers(0, 9), st.floats()),
        st.one_of(st.integers(), st.booleans(), st.floats()),
        st.floats(width=32).map(np.float32),
        st.integers(0, 255).map(np.uint8),
        st.booleans().map(np.bool_),
        st.integers(0, 9).map(np.longlong),
        st.lists(st.integers(0, 9), min_size=2, max_size=2).map(np.array),
        st.lists(st.integers(0, 9), max_size=3).map(lambda items: np.array(items, dtype=np.float32)),
        st.integers(0, 9).map(lambda item: np.array(item, dtype=">i4")),
        st.integers(0, 9).map(lambda item: np.full((2, 3), item, order="F")),
        st.integers(0, 9).map(np.array),
        st.text().map(lambda item: np.array([item])),
        st.dictionaries(st.text(), st.lists(st.integers()), max_size=2),
        st.just("same"),
        st.sampled_from([True, 1, 1.0]),
        st.sampled_from([0.0, -0.0]),
    ]
)
KEYS = st.lists(st.one_of(st.text(), st.integers()), unique=True, max_size=5)


@st.composite
def alike(draw):
    keys = draw(KEYS)
    kinds = {key: draw(KINDS) for key in keys}
    return [{key: draw(kinds[key]) for key in keys} for _ in range(draw(st.integers(0, 6)))]


def spelled(value):
    """Everything about a value that can be seen: type, order of keys, bits of floats, form of arrays."""
    if isinstance(value, dict):
        return [(spelled(key), spelled(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [spelled(item) for item in value]
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.shape, value.strides, value.flags.writeable, value.tolist().__repr__()
    return type(value), float.hex(value) if isinstance(value, float) else repr(value)


@settings(max_examples=300, deadline=None)
@given(alike())
def test_columns_return_what_pickles_return(records):
    pickles, columns = _records.packed(records), _records.packed(records, by_column=True)
    assert len(columns[1]) == len(records)
    for place in range(len(records)):
        assert spelled(_records.unpacked(*columns, place)) == spelled(_records.unpacked(*pickles, place))


@pytest.mark.parametrize(
    "records", [[], [{}], [3, 4], [{"a": 1}, {"b": 1}], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1}, {}]]
)
def test_records_that_differ_in_their_keys_stay_pickled(records):
    data, ends = _records.packed(records, by_column=True)
    assert type(data) is SharedArray and [_records.unpacked(data, ends, i) for i in range(len(records))] == records


def test_values_are_new_each_time_and_what_was_one_object_stays_one():
    box, note = [1, 2], {"a": [1]}
    records = [{"box": box, "again": box, "note": note, "more": note, "other": [3, 4]} for _ in range(3)]
    data, ends = _records.packed(records, by_column=True)
    assert type(data) is ColumnBytes
    first, second = (_records.unpacked(data, ends, 1) for _ in range(2))
    assert first["box"] is first["again"] and first["note"] is first["more"]
    first["box"].append(9)
    first["other"].append(9)
    first["note"]["a"].append(9)
    assert second == _records.unpacked(data, ends, 1) == records[0]


@pytest.mark.parametrize("values", [[-1, 2**40], [0, 255], [-129, 127], [0, 2**63 - 1], [-(2**63), 5], [0, 2**64]])
def test_whole_numbers_of_any_size_come_back(values):
    data, ends = _records.packed([{"n": value} for value in values], by_column=True)
    assert [_records.unpacked(data, ends, place)["n"] for place in range(2)] == values


def on_rank(rank):
    same = Many()
    differing = Many()
    Many.count = 4000 + rank
    differing = Many()
    return {
        "memory": os.fstat(same.data_bytes._region.fd).st_ino,
        "differing": os.fstat(differing.data_bytes._region.fd).st_ino,
        "last": differing[-1]["sample_idx"],
        "labels": [same[place]["label"] for place in range(20)],
        "blind": _node._opened(f"{os.getppid()} 9999 1 2 3"),
    }


@pytest.mark.skipif(not LINUX, reason="ranks find each other's memory through /proc")
def test_ranks_of_a_node_keep_the_same_annotations_once():
    first, second = run_on_processes(on_rank)
    assert first["memory"] == second["memory"] and first["labels"] == second["labels"] == [i % 7 for i in range(20)]
    assert first["differing"] != second["differing"] and (first["last"], second["last"]) == (3999, 4000)
    assert first["blind"] is None


def test_one_process_alone_asks_nobody(monkeypatch):
    monkeypatch.setattr(_node, "_store", lambda: pytest.fail("no store is needed"))
    assert Many().data_bytes._region.fd is not None or not LINUX


def test_the_limit_below_which_no_file_is_opened_is_the_documented_one():
    spool = _shared.Spool()
    spool.write(bytes(_shared.SMALLEST))
    assert spool._file is None
    spool.write(b"1")
    assert spool._file is not None and bytes(spool.region().memory[-1:]) == b"1"
