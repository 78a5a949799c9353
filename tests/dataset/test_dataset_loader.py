"""Positions: a loader can be sent to any batch, says where it stands, and leaves the user's objects alone."""

from __future__ import annotations

import copy
import gc
import random
import warnings
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data import (
    DataLoader as TorchDataLoader,
)
from torch.utils.data.distributed import DistributedSampler

from drivetrain.dataset import DataLoader, DefaultSampler, InfiniteSampler
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError

SIZE = 11


class Draws(Dataset):
    """A sample is its index and one draw of each generator; counts its calls."""

    def __init__(self, size=SIZE):
        self.size, self.calls = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, idx):
        self.calls.append(idx)
        return idx, random.random(), float(np.random.rand()), float(torch.rand(()))


def as_it_is(samples):
    return samples


SAMPLERS = {
    "default": lambda: {"sampler": DefaultSampler(Draws(), seed=5)},
    "in_order": lambda: {"sampler": DefaultSampler(Draws(), shuffle=False, seed=5)},
    "shuffle": lambda: {"shuffle": True},
    "subset": lambda: {"sampler": SubsetRandomSampler(range(3, 9))},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1.0] * SIZE, SIZE)},
    "repeats": lambda: {"sampler": RandomSampler(Draws(), replacement=True, num_samples=17)},
    "generator": lambda: {"shuffle": True, "generator": torch.Generator().manual_seed(4)},
    "batch_sampler": lambda: {"batch_size": 1, "batch_sampler": BatchSampler(DefaultSampler(Draws(), seed=5), 2, True)},
    "distributed": lambda: {"sampler": DistributedSampler(Draws(), num_replicas=2, rank=1)},
    "single": lambda: {"batch_size": None, "sampler": DefaultSampler(Draws(), seed=5)},
}


def loader_of(name="default", workers=0, **kwargs):
    kwargs = {"batch_size": 2, "seed": 7, "collate_fn": as_it_is, **SAMPLERS[name](), **kwargs}
    return DataLoader(Draws(), num_workers=workers, **kwargs)


def whole(name, count=3):
    """The batches of the first passes, with `set_epoch` called from outside."""
    loader, found = loader_of(name), []
    for number in range(count):
        loader.seek(number)
        found.append(list(loader))
    return found


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "generator"])
@pytest.mark.parametrize("start", [(0, 3), (1, 0), (2, 1)])
def test_seek_equals_skipping_and_fetches_nothing_that_is_skipped(name, start):
    loader = loader_of(name)
    loader.seek(*start)
    found = list(loader)
    assert found == whole(name)[start[0]][start[1] :]
    samples = [sample for batch in found for sample in (batch if type(batch) is list else [batch])]
    assert loader.dataset.calls == [sample[0] for sample in samples]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_saved_position_is_gone_on_from_in_a_new_process(name, workers):
    loader, seen = loader_of(name), []
    for number in range(2):
        loader.seek(number)
        for batch in loader:
            seen.append(batch)
            if number == 1 and loader.consumed == 2:
                state = copy.deepcopy(loader.state_dict())
    resumed = loader_of(name, workers, seed=99)
    resumed.load_state_dict(state)
    assert (resumed.pass_index, resumed.consumed) == (1, 2)
    rest = list(resumed)
    first = len(seen) - len(rest)
    assert rest == seen[first:] and len(rest) == len(loader) - 2


def test_pass_and_consumed_follow_the_loop():
    loader = loader_of(batch_size=4)
    assert (loader.pass_index, loader.consumed) == (0, 0)
    seen = [(loader.pass_index, loader.consumed) for _ in loader]
    assert seen == [(0, 1), (0, 2), (0, 3)]
    assert (loader.pass_index, loader.consumed) == (1, 0)
    next(iter(loader))
    assert (loader.pass_index, loader.consumed) == (1, 1)
    iter(loader)
    assert (loader.pass_index, loader.consumed) == (2, 0)


def test_batches_that_workers_fetched_ahead_are_not_consumed():
    loader = loader_of(workers=2, batch_size=1, prefetch_factor=4)
    batches = iter(loader)
    next(batches), next(batches)
    assert loader.consumed == 2
    assert loader.state_dict()["consumed"] == 2


def test_persistent_workers_live_through_passes_and_seeks():
    loader = loader_of("default", workers=1, persistent_workers=True)
    found, pids = [], set()
    for start in [(0, 0), (1, 3), (2, 0)]:
        loader.seek(*start)
        found.append(list(loader))
        pids.add(loader._view._iterator._workers[0].pid)
    assert len(pids) == 1
    expected = whole("default")
    assert found == [expected[0], expected[1][3:], expected[2]]


def test_an_abandoned_pass_is_followed_by_a_whole_one():
    for persistent in (False, True):
        loader = loader_of("shuffle", workers=1, persistent_workers=persistent)
        next(iter(loader))
        assert list(loader) == whole("shuffle")[1]


def test_workers_stop_when_the_iterator_is_dropped():
    loader = loader_of(workers=1)
    batches = iter(loader)
    next(batches)
    worker = weakref.ref(batches._batches)
    del batches
    gc.collect()
    assert worker() is None


def test_a_position_at_the_end_of_a_pass_yields_nothing_more_and_then_the_next_pass():
    loader = loader_of()
    loader.seek(1, len(loader))
    assert list(loader) == []
    loader.sampler.set_epoch(2)
    assert list(loader) == whole("default")[2]


def test_the_state_can_say_where_a_loop_behind_the_loader_stands():
    loader = loader_of()
    seen = list(loader)
    state = loader.state_dict(pass_index=0, consumed=len(seen) - 1)
    resumed = loader_of()
    resumed.load_state_dict(state)
    assert list(resumed) == seen[-1:]


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 40), st.integers(0, 3), st.booleans())
def test_an_endless_sampler_starts_anywhere(size, world, consumed, more, shuffle):
    def loader():
        sampler = InfiniteSampler(Draws(size), shuffle, seed=3)
        sampler.rank, sampler.world_size = min(1, world - 1), world
        return DataLoader(Draws(size), batch_size=3, sampler=sampler, collate_fn=as_it_is, seed=0)

    straight = loader()
    batches = iter(straight)
    seen = [next(batches) for _ in range(consumed)]
    state = straight.state_dict()
    rest = [next(batches) for _ in range(more)]
    assert sum(len(batch) for batch in seen) == 3 * consumed
    sought, loaded = loader(), loader()
    sought.seek(0, consumed)
    loaded.load_state_dict(state)
    for other in (sought, loaded):
        again = iter(other)
        assert [next(again) for _ in range(more)] == rest


def test_an_endless_sampler_goes_on_in_the_next_pass():
    def loader():
        return DataLoader(Draws(), batch_size=2, sampler=InfiniteSampler(Draws(), seed=3), collate_fn=as_it_is, seed=0)

    plain = iter(InfiniteSampler(Draws(), seed=3))
    broken, found = loader(), []
    for count in (2, 5, 4):
        batches = iter(broken)
        found += [sample[0] for _ in range(count) for sample in next(batches)]
    assert found == [next(plain) for _ in found]
    state = broken.state_dict()
    assert (state["pass_index"], state["consumed"], state["first"]) == (2, 4, 14)
    resumed = loader()
    resumed.load_state_dict(state)
    assert next(iter(resumed)) == next(batches)


def test_an_endless_sampler_resumes_a_million_steps_on_without_drawing_what_came_before(monkeypatch):
    sampler = InfiniteSampler(Draws(), seed=3)
    loader = DataLoader(Draws(), batch_size=4, sampler=sampler, seed=0, collate_fn=as_it_is)
    batches = iter(loader)
    for _ in range(500):
        next(batches)
    assert len(loader._position.marks) <= 2
    state = loader.state_dict()
    assert len(state["marks"]) == 1
    drawn = []
    randperm = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *args, **kwargs: drawn.append(1) or randperm(*args, **kwargs))
    resumed = DataLoader(Draws(), batch_size=4, sampler=InfiniteSampler(Draws(), seed=3), seed=0, collate_fn=as_it_is)
    resumed.load_state_dict(state)
    assert next(iter(resumed)) == next(batches)
    assert len(drawn) <= 3


def test_a_state_is_plain():
    for name in SAMPLERS:
        loader = loader_of(name)
        next(iter(loader))
        for value in loader.state_dict().values():
            assert type(value) in (int, dict, torch.Tensor)
    assert set(loader_of().state_dict()) == {"pass_index", "consumed", "seed", "sampler_seed", "order"}


def test_adopting_leaves_the_users_loader_alone():
    user = TorchDataLoader(Draws(), batch_size=2, shuffle=True, collate_fn=as_it_is, num_workers=1)
    before = dict(user.__dict__)
    ours = DataLoader.adopt(user, seed=7)
    found = [list(ours), list(ours)]
    assert found == whole("shuffle", 2)
    assert user.__dict__ == before and type(user) is TorchDataLoader
    assert ours.dataset is user.dataset and ours.sampler is user.sampler and ours.batch_sampler is user.batch_sampler
    assert len(ours) == len(user) and user.sampler.generator is None and user.generator is None
    assert ours.positions_known and ours.why_not == ""


def test_adopting_keeps_what_a_subclass_adds():
    class Mine(TorchDataLoader):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.name = "mine"

        def __len__(self):
            return 100

        def hello(self):
            return self.name

    ours = DataLoader.adopt(Mine(Draws(), batch_size=2, shuffle=True, collate_fn=as_it_is), seed=7)
    assert isinstance(ours, Mine) and isinstance(ours, DataLoader)
    assert ours.hello() == "mine" and len(ours) == 100 and ours.positions_known
    assert list(ours) == whole("shuffle")[0]


def test_a_subclass_with_its_own_iteration_is_iterated_as_it_is():
    class Doubles(TorchDataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch
                yield batch

    user = Doubles([1, 2], batch_size=1)
    ours = DataLoader.adopt(user, seed=0)
    assert [batch.tolist() for batch in ours] == [[1], [1], [2], [2]]
    assert not ours.positions_known and "Doubles" in ours.why_not
    assert ours.pass_index == 1
    ours.seek(3)
    assert ours.pass_index == 3
    with pytest.raises(NotReadyError, match="Doubles"):
        ours.seek(0, 1)
    with pytest.raises(NotReadyError, match="Doubles"):
        ours.state_dict()


def test_adopting_ours_keeps_a_seed_that_was_given_and_sets_one_that_was_not():
    given_seed = loader_of()
    assert DataLoader.adopt(given_seed, seed=1) is given_seed
    drawn = loader_of(seed=None)
    assert drawn.seed == drawn.sampler.seed
    adopted = DataLoader.adopt(drawn, seed=1)
    assert adopted.seed == 1 and drawn.seed == drawn.sampler.seed


def test_reseeding_changes_the_streams_and_the_order_of_our_sampler():
    loader = DataLoader(Draws(), batch_size=2, sampler=DefaultSampler(Draws(), seed=7), collate_fn=as_it_is, seed=7)
    first = list(loader)
    loader.reseed(8)
    assert loader.seed == loader.sampler.seed == 8
    loader.seek(0)
    second = list(loader)
    assert [sample for batch in first for sample in batch] != [sample for batch in second for sample in batch]
    loader.reseed(7)
    loader.seek(0)
    assert list(loader) == first
    own = loader_of()
    own.reseed(8)
    assert own.sampler.seed == 5


def test_worker_mode_is_torchs_own_loader():
    def run(make):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        loader = make(Draws(), batch_size=2, shuffle=True, collate_fn=as_it_is)
        return [list(loader), list(loader), random.random(), float(torch.rand(()))]

    assert run(TorchDataLoader) == run(lambda *args, **kwargs: DataLoader(*args, streams="worker", **kwargs))


def test_worker_mode_can_seek_where_the_order_is_its_samplers():
    loader = loader_of(streams="worker")
    loader.seek(1, 2)
    assert [[sample[0] for sample in batch] for batch in loader] == [
        [s[0] for s in batch] for batch in whole("default")[1][2:]
    ]
    distributed = loader_of("distributed", streams="worker")
    distributed.seek(1, 1)
    assert [[s[0] for s in batch] for batch in distributed] == [
        [s[0] for s in batch] for batch in whole("distributed")[1][1:]
    ]


def test_worker_mode_refuses_positions_in_an_order_of_the_global_generator():
    loader = loader_of("shuffle", streams="worker")
    assert not loader.positions_known
    with pytest.raises(NotReadyError, match="RandomSampler"):
        loader.seek(0, 1)


class Lines(IterableDataset):
    def __init__(self, count=6):
        self.count, self.at = count, 0

    def __iter__(self):
        while self.at < self.count:
            self.at += 1
            yield self.at
        self.at = 0


class StatefulLines(Lines):
    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def test_an_iterable_dataset_passes_through():
    loader = DataLoader(Lines(), batch_size=2, seed=0)
    assert [batch.tolist() for batch in loader] == [[1, 2], [3, 4], [5, 6]]
    assert not loader.positions_known and "state_dict" in loader.why_not
    assert loader.pass_index == 1
    with pytest.raises(TypeError):
        len(loader)


def test_an_iterable_dataset_with_a_state_resumes():
    loader = DataLoader(StatefulLines(), batch_size=2, seed=0)
    next(iter(loader))
    state = loader.state_dict()
    resumed = DataLoader(StatefulLines(), batch_size=2, seed=0)
    resumed.load_state_dict(state)
    assert resumed.consumed == 1
    assert [batch.tolist() for batch in resumed] == [[3, 4], [5, 6]]
    assert [batch.tolist() for batch in resumed] == [[1, 2], [3, 4], [5, 6]]


def test_a_loop_may_seek_to_where_a_state_was_loaded():
    for make in (lambda: DataLoader(StatefulLines(), batch_size=2, seed=0), lambda: loader_of("generator")):
        loader = make()
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        rest = [str(batch) for batch in batches]
        resumed = make()
        resumed.load_state_dict(state)
        resumed.seek(0, 1)
        assert [str(batch) for batch in resumed] == rest


def test_an_iterable_dataset_cannot_be_sent_anywhere_by_number():
    with pytest.raises(NotReadyError, match="only load_state_dict"):
        DataLoader(StatefulLines(), batch_size=2, seed=0).seek(0, 1)


def test_a_users_batch_sampler_around_an_endless_sampler_is_sought_from_the_beginning():
    class Pairs:
        def __init__(self, sampler):
            self.sampler = sampler

        def __iter__(self):
            order = iter(self.sampler)
            while True:
                yield [next(order), next(order)]

    def make():
        return DataLoader(Draws(), batch_sampler=Pairs(InfiniteSampler(Draws(), seed=1)), collate_fn=as_it_is, seed=0)

    batches = iter(make())
    seen = [next(batches) for _ in range(8)]
    loader = make()
    for start in (3, 5):
        loader.seek(0, start)
        assert next(iter(loader)) == seen[start]


def test_workers_of_an_iterable_dataset_are_seeded_by_seed_and_pass():
    class Random(IterableDataset):
        def __iter__(self):
            yield float(torch.rand(()))

    def run(shift):
        torch.manual_seed(shift)
        loader = DataLoader(Random(), num_workers=1, batch_size=None, seed=3)
        return [list(loader), list(loader)]

    assert run(0) == run(1)
    assert run(0)[0] != run(0)[1]


def test_batches_out_of_order_have_no_position():
    assert "in_order" in loader_of(workers=2, in_order=False).why_not


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: loader_of(streams="samples"), ArgumentError, "Did you mean 'sample'"),
        (lambda: loader_of(seed=1.5), ArgumentTypeError, "must be an int or None, got float"),
        (lambda: loader_of().seek(-1), ArgumentError, "pass_index must be 0 or more, got -1"),
        (lambda: loader_of().seek(0, "3"), ArgumentTypeError, "consumed must be an int, got str"),
        (lambda: loader_of().load_state_dict({"pass": 1}), ArgumentError, "'pass_index' and 'consumed'"),
        (lambda: DataLoader.adopt([1]), ArgumentTypeError, "expected a torch DataLoader"),
    ],
)
def test_wrong_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        call()


def test_a_profiler_sees_the_fetches():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            list(loader_of())
    assert any("DataLoader" in event.key for event in profile.key_averages())


def test_memory_of_a_loader_does_not_grow_with_passes():
    import tracemalloc

    loader = loader_of("shuffle")
    for _ in range(3):
        list(loader)
    loader.dataset.calls.clear()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(60):
        for _ in loader:
            loader.dataset.calls.clear()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


class Switched(Dataset):
    def __init__(self):
        self.pipeline = "first"

    def __len__(self):
        return 4

    def __getitem__(self, idx):
        return self.pipeline


@pytest.mark.parametrize("adopted", [False, True])
def test_resetting_the_iterator_starts_persistent_workers_anew_with_the_dataset_as_it_is(adopted):
    options = {"batch_size": 4, "num_workers": 1, "persistent_workers": True, "collate_fn": as_it_is}
    loader = TorchDataLoader(Switched(), **options) if adopted else DataLoader(Switched(), **options, seed=0)
    loader = DataLoader.adopt(loader, seed=0) if adopted else loader
    assert list(loader) == [["first"] * 4]
    loader.dataset.pipeline = "second"
    assert list(loader) == [["first"] * 4]
    assert loader._iterator is not None
    loader._DataLoader__initialized = False
    loader._iterator = None
    assert list(loader) == [["second"] * 4]
    loader._DataLoader__initialized = True
    assert list(loader) == [["second"] * 4]


@pytest.mark.parametrize("streams", ["sample", "worker"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["default", "in_order", "batch_sampler", "single"])
def test_whoever_watches_is_told_the_indices_of_every_batch_and_changes_nothing(name, workers, streams):
    told = {}
    loader = loader_of(name, workers, streams=streams)
    loader.watch_indices = lambda number, batch, indices: told.setdefault((number, batch), indices)
    loader.seek(1, 1)
    found = [[sample[0] for sample in (batch if type(batch) is list else [batch])] for batch in loader]
    assert told == {(1, place + 1): indices for place, indices in enumerate(found)}
    unwatched = loader_of(name, workers, streams=streams)
    unwatched.seek(1, 1)
    again = [[sample[0] for sample in (batch if type(batch) is list else [batch])] for batch in unwatched]
    assert again == found
