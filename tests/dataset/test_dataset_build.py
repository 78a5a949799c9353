"""`build_dataloader`: a loader from a config."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, IterableDataset, SequentialSampler
from torch.utils.data import DataLoader as TorchDataLoader

from drivetrain.dataset import (
    BaseDataset,
    DataLoader,
    DefaultSampler,
    build_dataloader,
    default_collate,
    pseudo_collate,
    worker_init_fn,
)
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.registry import DATASETS, FUNCTIONS

built = []


@DATASETS.register_module(name="DatasetTestTen")
class Ten(BaseDataset):
    METAINFO = {"classes": ["a"]}

    def full_init(self):
        built.append(self)
        super().full_init()

    def load_data_list(self):
        return [{"i": number} for number in range(10)]


def config(**kwargs):
    return {
        "dataset": {"type": "DatasetTestTen", "lazy_init": True},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 4,
        **kwargs,
    }


def numbers(loader):
    return [batch["i"] for batch in loader]


def test_a_config_becomes_a_loader_and_is_not_changed():
    cfg = config(collate_fn={"type": "pseudo_collate"}, worker_init_fn={"type": "pseudo_collate", "x": 1})
    before = copy.deepcopy(cfg)
    loader = build_dataloader(cfg, seed=5)
    assert cfg == before and type(loader) is DataLoader
    assert type(loader.dataset) is Ten and loader.dataset._fully_initialized
    assert type(loader.sampler) is DefaultSampler and loader.sampler.seed == 5 and len(loader) == 3
    assert numbers(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert loader.seed == 5 and loader.streams == "sample"
    assert loader.worker_init_fn.keywords == {"x": 1}


def test_the_default_worker_start_is_bound_to_the_loader():
    loader = build_dataloader(config(num_workers=2, disable_subprocess_warning=True), seed=5)
    assert loader.worker_init_fn.func is worker_init_fn
    assert loader.worker_init_fn.keywords == {
        "num_workers": 2,
        "rank": 0,
        "seed": 5,
        "disable_subprocess_warning": True,
    }
    assert build_dataloader(config()).worker_init_fn is None


def test_without_a_seed_the_streams_take_the_samplers():
    loader = build_dataloader(config())
    assert loader.seed == loader.sampler.seed


def test_with_a_seed_for_each_rank_the_sampler_draws_a_common_one():
    np.random.seed(4)
    loader = build_dataloader(config(), seed=5, diff_rank_seed=True)
    assert loader.seed == 5 and loader.sampler.seed != 5
    np.random.seed(4)
    assert build_dataloader(config(), seed=6, diff_rank_seed=True).sampler.seed == loader.sampler.seed


def test_objects_are_taken_as_they_are():
    data, sampler = list(range(6)), SequentialSampler(range(6))
    loader = build_dataloader({"dataset": data, "sampler": sampler, "batch_size": 3, "drop_last": True}, seed=1)
    assert loader.dataset is data and loader.sampler is sampler and loader.drop_last
    assert list(loader) == [[0, 1, 2], [3, 4, 5]]
    own = BatchSampler(sampler, 2, False)
    loader = build_dataloader({"dataset": data, "batch_sampler": own}, seed=1)
    assert loader.batch_sampler is own and len(loader) == 3


def test_a_batch_sampler_gets_sampler_and_batch_size():
    loader = build_dataloader(config(batch_sampler={"type": BatchSampler, "drop_last": True}), seed=5)
    assert type(loader.batch_sampler.sampler) is DefaultSampler and loader.batch_sampler.batch_size == 4
    assert numbers(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("given", [{"type": "default_collate"}, {"type": default_collate}, default_collate])
def test_a_collate_function_is_named_or_given(given):
    batch = next(iter(build_dataloader(config(collate_fn=given), seed=5)))
    assert torch.equal(batch["i"], torch.arange(4))


def test_other_keys_of_a_collate_config_are_passed_on():
    def scaled(samples, factor):
        return [sample["i"] * factor for sample in samples]

    FUNCTIONS.register_module(name="dataset_test_scaled", module=scaled, force=True)
    loader = build_dataloader(config(collate_fn={"type": "dataset_test_scaled", "factor": 3}), seed=5)
    assert next(iter(loader)) == [0, 3, 6, 9]
    assert build_dataloader(config(), seed=5).collate_fn is pseudo_collate


def test_an_epoch_can_be_cut_short():
    loader = build_dataloader(config(num_batch_per_epoch=2), seed=5)
    assert len(loader) == 2 and len(loader.dataset) == 8
    assert numbers(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert loader.dataset.metainfo == {"classes": ["a"]}
    assert len(pickle.loads(pickle.dumps(loader.dataset))) == 8
    assert len(build_dataloader(config(num_batch_per_epoch=7), seed=5)) == 3


def test_shuffle_alone_makes_our_sampler():
    cfg = config(shuffle=True)
    del cfg["sampler"]
    loader = build_dataloader(cfg, seed=5)
    assert type(loader.sampler) is DefaultSampler and loader.sampler.shuffle
    assert type(build_dataloader(config(sampler=None), seed=5).sampler) is SequentialSampler


def test_an_iterable_dataset_needs_no_sampler():
    class Lines(IterableDataset):
        def __iter__(self):
            return iter([{"i": 1}, {"i": 2}, {"i": 3}])

    loader = build_dataloader({"dataset": Lines(), "batch_size": 2}, seed=1)
    assert numbers(loader) == [[1, 2], [3]] and not loader.positions_known


def test_without_batches_samples_come_as_they_are():
    loader = build_dataloader(config(batch_size=None), seed=1)
    assert [sample["i"] for sample in loader] == list(range(10))


def test_a_torch_loader_is_adopted():
    user = TorchDataLoader(list(range(4)), batch_size=2)
    loader = build_dataloader(user, seed=3, streams="worker")
    assert type(loader) is DataLoader and loader.dataset is user.dataset and loader.streams == "worker"
    assert build_dataloader(loader, seed=9) is loader


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"num_worker": 2}, ArgumentTypeError, "no argument 'num_worker'. Did you mean 'num_workers'"),
        ({"batch_size": 0}, ArgumentError, "batch_size must be 1 or more, got 0"),
        ({"batch_size": "4"}, ArgumentTypeError, "batch_size must be an int, got str"),
        ({"batch_size": True}, ArgumentTypeError, "batch_size must be an int, got bool"),
        ({"num_workers": -1}, ArgumentError, "num_workers must be 0 or more"),
        ({"num_workers": None}, ArgumentTypeError, "num_workers must be an int"),
        ({"num_batch_per_epoch": 0}, ArgumentError, "num_batch_per_epoch must be 1 or more"),
        ({"disable_subprocess_warning": 1}, ArgumentTypeError, "must be a bool"),
        ({"collate_fn": "default_collate"}, ArgumentTypeError, "collate_fn must be a callable"),
        ({"collate_fn": None}, ArgumentTypeError, "collate_fn must be a callable"),
        ({"collate_fn": {"type": "default_colate"}}, NotFoundError, "Did you mean 'default_collate'"),
        ({"worker_init_fn": {"kind": "x"}}, ArgumentTypeError, "worker_init_fn must be a callable"),
    ],
)
def test_mistakes_are_found_before_the_dataset_is_built(change, error, words):
    built.clear()
    with pytest.raises(error, match=words):
        build_dataloader(config(**change), seed=5)
    assert built == []


def test_missing_parts_are_named():
    with pytest.raises(NotFoundError, match="needs a dataset"):
        build_dataloader({"batch_size": 2})
    cfg = config()
    del cfg["sampler"]
    with pytest.raises(NotFoundError, match="needs a sampler"):
        build_dataloader(cfg, seed=5)
    with pytest.raises(ArgumentTypeError, match="expected a torch DataLoader or its config"):
        build_dataloader([1])


def test_persistent_workers_without_workers_fail_as_in_torch():
    with pytest.raises(ValueError, match="persistent_workers option needs num_workers > 0"):
        build_dataloader(config(persistent_workers=True), seed=5)


def test_partial_functions_stay_picklable():
    loader = build_dataloader(config(num_workers=1), seed=5)
    assert isinstance(pickle.loads(pickle.dumps(loader.worker_init_fn)), partial)


@pytest.mark.parametrize(("there", "given", "pinned"), [(True, {}, True), (False, {}, False),
                                                        (True, {"pin_memory": False}, False)])  # fmt: skip
def test_memory_is_pinned_where_that_helps_and_the_config_does_not_say(monkeypatch, there, given, pinned):
    monkeypatch.setattr("drivetrain.dataset._build.has_pinned_memory", lambda: there)
    assert build_dataloader(config(**given), seed=5).pin_memory is pinned
