"""The law of random streams: what a sample draws depends on (seed, pass, index, occurrence) and on nothing else."""

from __future__ import annotations

import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, Dataset, Subset, TensorDataset, random_split

from drivetrain.dataset import DataLoader, DefaultSampler, InfiniteSampler, SampleKey
from drivetrain.dataset._keyed import fetches_batches
from drivetrain.dataset._streams import OtherKey, Streams, mixed, seed_stream

SIZE = 10
words = st.integers(0, 2**32 - 1)


class Draws(Dataset):
    """A sample is its index and one draw of each generator, as exact whole numbers."""

    def __init__(self, size=SIZE):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, idx):
        drawn = random.getrandbits(30), int(np.random.randint(0, 2**31)), int(torch.randint(0, 2**31, ()))
        gauss = random.gauss(0, 1), float(np.random.randn()), float(torch.randn(()))
        return (int(idx), *drawn, *gauss)


class BatchDraws(Draws):
    def __getitems__(self, indices):
        return [self[idx] for idx in indices]


def as_it_is(samples):
    return samples


def passes(loader, count=2):
    return [[sample for batch in loader for sample in batch] for _ in range(count)]


def loader_of(dataset=None, workers=0, **kwargs):
    kwargs = {"batch_size": 3, "seed": 7, "collate_fn": as_it_is, **kwargs}
    return DataLoader(dataset or Draws(), num_workers=workers, **kwargs)


REFERENCE = None


def reference():
    """Two passes with one sample a batch in the main process: index -> draws, for each pass."""
    global REFERENCE
    if REFERENCE is None:
        REFERENCE = [{sample[0]: sample for sample in one} for one in passes(loader_of(batch_size=1))]
    return REFERENCE


@pytest.mark.parametrize(
    ("workers", "persistent", "batch_size", "prefetch"),
    [(0, False, 3, None), (0, False, 10, None), (1, False, 4, 1), (2, False, 3, 2), (2, True, 2, 3)],
)
def test_draws_are_the_same_for_any_workers_batches_and_prefetch(workers, persistent, batch_size, prefetch):
    loader = loader_of(workers=workers, persistent_workers=persistent, batch_size=batch_size, prefetch_factor=prefetch)
    assert [{sample[0]: sample for sample in one} for one in passes(loader)] == reference()


def test_draws_are_the_same_under_spawn():
    loader = loader_of(workers=1, multiprocessing_context="spawn")
    assert {sample[0]: sample for batch in loader for sample in batch} == reference()[0]


def test_draws_are_the_same_without_batches():
    loader = loader_of(batch_size=None, collate_fn=None)
    assert {sample[0]: tuple(sample) for sample in loader} == reference()[0]


def test_draws_do_not_depend_on_the_order():
    shuffled = loader_of(sampler=DefaultSampler(Draws(), seed=3))
    assert {sample[0]: sample for batch in shuffled for sample in batch} == reference()[0]


def test_draws_differ_between_samples_passes_seeds_and_generators():
    both = [sample for one in reference() for sample in one.values()]
    other_seed = passes(loader_of(seed=8), 1)[0]
    for column in range(1, 7):
        drawn = [sample[column] for sample in both] + [sample[column] for sample in other_seed]
        assert len(set(drawn)) == len(drawn) == 3 * SIZE


def test_numpy_and_torch_do_not_draw_the_same_words():
    def words():
        # torch takes two words for each of these and returns the second.
        return np.random.randint(0, 2**32, 8, dtype=np.uint32).tolist()[1::2], torch.randint(0, 2**32, (4,)).tolist()

    np.random.seed(5)
    torch.default_generator.manual_seed(5)
    numpy_words, torch_words = words()
    assert numpy_words == torch_words  # one generator: the same seed would give the same words
    seed_stream(mixed(1))
    numpy_words, torch_words = words()
    assert not set(numpy_words) & set(torch_words)


@given(st.integers(0, 2**63), st.integers(0, 10**6), st.integers(0, 1000), st.integers(0, 2**32 - 3000))
def test_within_a_pass_no_two_samples_share_either_word(seed, pass_index, occurrence, start):
    streams = Streams(1, seed, pass_index)
    seeds = [streams.of(index, occurrence) for index in range(start, start + 2000)]
    assert len({seed >> 32 for seed in seeds}) == len({seed & 0xFFFFFFFF for seed in seeds}) == 2000


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4), st.integers(0, 3))
def test_mixing_depends_on_every_number(numbers, place):
    changed = list(numbers)
    changed[place % len(numbers)] += 1
    assert 0 <= mixed(*numbers) < 2**64
    assert mixed(*numbers) != mixed(*changed)
    assert mixed(*numbers) != mixed(*numbers, 0)


@given(st.integers(-(2**65), 2**65), st.integers(-(2**65), 2**65), st.integers(0, 3))
def test_streams_of_any_whole_numbers_differ(one, other, occurrence):
    streams = Streams(1, 5, 0)
    assert 0 <= streams.of(one, occurrence) < 2**64
    assert (streams.of(one, occurrence) == streams.of(other, occurrence)) == (one == other)
    assert streams.of(one, occurrence) != streams.of(one, occurrence + 1)


def test_bits_of_streams_are_balanced():
    streams = Streams(1, 0, 0)
    ones = np.array([[seed >> bit & 1 for bit in range(64)] for seed in (streams.of(i, 0) for i in range(4000))]).mean(
        0
    )
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / 4000**0.5


def test_an_index_that_comes_again_draws_anew():
    loader = loader_of(sampler=[4, 1, 4, 4])
    first, second = passes(loader)
    assert len(set(first)) == 4
    assert first[0] == reference()[0][4]
    assert not set(first) & set(second)


def test_an_endless_sampler_draws_anew_in_every_cycle():
    loader = loader_of(Draws(4), sampler=InfiniteSampler(Draws(4), seed=1), batch_size=4)
    batches = iter(loader)
    cycles = [next(batches) for _ in range(3)]
    assert len({sample for cycle in cycles for sample in cycle}) == 12
    assert all({sample[0] for sample in cycle} == {0, 1, 2, 3} for cycle in cycles)


def test_samples_that_ranks_repeat_to_come_out_even_draw_anew():
    found = []
    for rank in range(3):
        sampler = DefaultSampler(Draws(4), shuffle=True, seed=0)
        sampler.rank, sampler.world_size, sampler.num_samples, sampler.total_size = rank, 3, 2, 6
        found += [sample for batch in loader_of(Draws(4), sampler=sampler) for sample in batch]
    assert sorted(Counter(sample[0] for sample in found).values()) == [1, 1, 2, 2]
    assert len(set(found)) == 6


@pytest.mark.parametrize("cut", [lambda data: Subset(data, range(SIZE)), lambda data: random_split(data, [SIZE])[0]])
def test_a_subset_of_torch_is_seeded_for_each_sample(cut):
    subset = cut(Draws())
    one = passes(loader_of(subset, batch_size=1), 1)[0]
    assert one == passes(loader_of(subset, batch_size=5), 1)[0]
    assert len(set(one)) == SIZE


def test_a_dataset_that_fetches_batches_is_seeded_for_each_batch():
    assert fetches_batches(BatchDraws()) and fetches_batches(Subset(BatchDraws(), [0]))
    one, two = passes(loader_of(BatchDraws()))
    assert one == passes(loader_of(BatchDraws(), workers=2), 1)[0]
    assert len(set(one + two)) == 2 * SIZE


@pytest.mark.parametrize(
    "indices", [[(0, 64), (1, 64), (0, 64)], ["a", "b", "a"], [np.int64(3), np.int64(4), np.int64(3)]]
)
def test_indices_of_other_kinds_reach_the_dataset_unchanged_with_a_stream_each(indices):
    class Echo(Dataset):
        def __getitem__(self, idx):
            return idx, float(torch.rand(()))

    found = passes(loader_of(Echo(), sampler=indices), 1)[0]
    assert [sample[0] for sample in found] == indices
    assert all(type(sample[0]) is type(idx) for sample, idx in zip(found, indices, strict=True))
    assert len({sample[1] for sample in found}) == 3
    assert found == passes(loader_of(Echo(), sampler=indices, batch_size=1), 1)[0]


def test_a_list_of_indices_reaches_the_dataset_as_a_list_of_plain_ints():
    data = TensorDataset(torch.arange(6))
    loader = DataLoader(data, batch_size=None, sampler=BatchSampler(range(6), 4, False), seed=0)
    assert [batch[0].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5]]


def test_the_dataset_gets_plain_ints():
    seen = []

    class Spy(Draws):
        def __getitem__(self, idx):
            seen.append(type(idx))
            return idx

    passes(loader_of(Spy()))
    assert set(seen) == {int}


@given(st.integers(0, 100), st.integers(0, 2**64 - 1))
def test_a_key_is_its_index_and_keeps_its_stream_through_pickle(index, stream):
    key = pickle.loads(pickle.dumps(SampleKey(index, stream)))
    assert type(key) is SampleKey and key.stream == stream
    assert key == index and hash(key) == hash(index) and list(range(200))[key] == index
    assert np.arange(200)[key] == index and type(int(key)) is int and type(key + 1) is int
    other = pickle.loads(pickle.dumps(OtherKey((index, "x"), stream)))
    assert other.index == (index, "x") and other.stream == stream


def test_the_main_process_keeps_its_own_numbers():
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(4).tolist(), np.random.rand(4).tolist()
    torch.manual_seed(3)
    np.random.seed(3)
    drawn = [(float(torch.rand(())), float(np.random.rand())) for _ in loader_of(shuffle=True)]
    assert torch.tensor(next(zip(*drawn, strict=True))).tolist() == expected[0]
    assert [row[1] for row in drawn] == expected[1]


def test_the_main_process_is_not_touched_when_workers_fetch():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    passes(loader_of(workers=1, shuffle=True), 1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_random_of_the_main_process_is_a_function_of_seed_pass_and_batch():
    def drawn(dataset):
        loader = loader_of(dataset)
        return [random.random() for _ in range(2) for _ in loader]

    random.seed(1)
    first = drawn(Draws())
    random.seed(2)
    assert drawn(list(range(SIZE))) == first  # whatever the samples drew
    assert len(set(first)) == len(first)


def test_states_are_put_back_when_a_sample_fails():
    class Fails(Draws):
        def __getitem__(self, idx):
            torch.rand(3), np.random.rand(3)
            raise KeyError(idx)

    torch_state, numpy_generator = torch.get_rng_state(), np.random.get_bit_generator()
    with pytest.raises(KeyError):
        next(iter(loader_of(Fails())))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.random.get_bit_generator() is numpy_generator


def test_a_samplers_own_draws_belong_to_the_main_process():
    class Picks:
        def __iter__(self):
            for _ in range(20):
                yield [int(torch.randint(0, SIZE, ()))]

        def __len__(self):
            return 20

    picked = [batch[0][0] for batch in loader_of(batch_size=1, batch_sampler=Picks())]
    assert len(set(picked)) > 3


def test_the_order_of_samplers_without_a_generator_is_a_function_of_seed_and_pass():
    def order(shift):
        torch.manual_seed(shift)
        return [[sample[0] for sample in one] for one in passes(loader_of(shuffle=True))]

    assert order(1) == order(2)
    assert order(1)[0] != order(1)[1]


def test_a_numpy_shuffling_sampler_is_a_function_of_seed_and_pass_too():
    class Shuffles:
        def __iter__(self):
            return iter(np.random.permutation(SIZE).tolist())

        def __len__(self):
            return SIZE

    def order():
        return [[sample[0] for sample in one] for one in passes(loader_of(sampler=Shuffles()))]

    first = order()
    np.random.seed(99)
    assert order() == first and first[0] != first[1]


def dataset_type(worker_id):
    from torch.utils.data import get_worker_info

    torch.multiprocessing.current_process().seen = type(get_worker_info().dataset).__name__


class TellsWorker(Draws):
    def __getitem__(self, idx):
        return torch.multiprocessing.current_process().seen


def test_a_worker_init_fn_sees_the_users_dataset():
    loader = loader_of(TellsWorker(), workers=1, worker_init_fn=dataset_type)
    assert set(passes(loader, 1)[0]) == {"TellsWorker"}
