"""Orders: every sample once, the same on all ranks, from any start."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.dataset import DefaultSampler, InfiniteSampler, worker_init_fn
from drivetrain.errors import ArgumentError


def ranks(monkeypatch_rank, world):
    return [monkeypatch_rank(rank, world) for rank in range(world)]


def on_ranks(world, make):
    """The sampler of each rank."""
    import drivetrain.dataset._samplers as module

    before, found = module.get_dist_info, []
    try:
        for rank in range(world):
            module.get_dist_info = lambda rank=rank: (rank, world)
            found.append(make())
    finally:
        module.get_dist_info = before
    return found


def interleaved(parts):
    longest = max(map(len, parts))
    return [part[place] for place in range(longest) for part in parts if place < len(part)]


@given(st.integers(0, 20), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 3))
def test_the_ranks_deal_out_one_permutation(size, world, shuffle, round_up, epoch):
    samplers = on_ranks(world, lambda: DefaultSampler(range(size), shuffle, seed=3, round_up=round_up))
    for sampler in samplers:
        sampler.set_epoch(epoch)
    parts = [list(sampler) for sampler in samplers]
    assert [len(part) for part in parts] == [len(sampler) for sampler in samplers]
    order = interleaved(parts)
    assert sorted(order[:size]) == list(range(size))
    if round_up:
        assert len({len(part) for part in parts}) == 1
        assert order[size:] == (order[:size] * world)[: len(order) - size]
    else:
        assert len(order) == size
    if not shuffle:
        assert order[:size] == list(range(size))


@given(st.integers(0, 20), st.integers(1, 5), st.booleans(), st.integers(0, 25))
def test_the_order_can_be_entered_anywhere(size, world, round_up, start):
    for sampler in on_ranks(world, lambda: DefaultSampler(range(size), seed=3, round_up=round_up)):
        assert [index for index, _ in sampler.occurrences_from(start)] == list(sampler)[start:]


@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.integers(0, 30))
def test_the_endless_order_can_be_entered_anywhere(size, world, shuffle, start):
    samplers = on_ranks(world, lambda: InfiniteSampler(range(size), shuffle, seed=3))
    straight = [[next(iter(sampler)) for _ in range(start + 4)] for sampler in samplers]
    late = [[next(order) for _ in range(4)] for order in (sampler.occurrences_from(start) for sampler in samplers)]
    assert [[index for index, _ in part] for part in late] == [part[start:] for part in straight]
    for rank, part in enumerate(late):
        assert [count for _, count in part] == [(rank + (start + place) * world) // size for place in range(4)]
    whole = interleaved(straight)[: len(straight[0]) * world // size * size]
    for cycle in range(len(whole) // size):
        assert sorted(whole[cycle * size : (cycle + 1) * size]) == list(range(size))


def test_the_orders_are_the_known_ones():
    # Seen from outside on MMEngine 0.10.7: seed 5, 10 samples.
    sampler = DefaultSampler(range(10), seed=5)
    sampler.set_epoch(3)
    assert list(sampler) == [3, 5, 0, 1, 2, 6, 4, 7, 8, 9]
    rank1 = on_ranks(3, lambda: DefaultSampler(range(7), seed=2 + 3))[1]
    rank1.set_epoch(3)
    assert list(rank1) == [5, 0, 1]
    endless = iter(on_ranks(3, lambda: InfiniteSampler(range(10), seed=5))[2])
    assert [next(endless) for _ in range(12)] == [9, 5, 8, 2, 6, 3, 7, 4, 6, 2, 8, 5]


def test_epochs_shuffle_differently_and_the_global_generator_is_not_used():
    state = torch.get_rng_state()
    sampler = DefaultSampler(range(20), seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert torch.equal(state, torch.get_rng_state())


def test_an_endless_order_goes_on_where_it_stopped():
    sampler = InfiniteSampler(range(5), seed=0)
    straight = [index for index, _ in zip(sampler.occurrences_from(0), range(8), strict=False)]
    first = iter(sampler)
    found = [next(first) for _ in range(3)]
    del first
    found += [index for index, _ in zip(sampler, range(5), strict=False)]
    assert found == [index for index, _ in straight]
    assert len(sampler) == sampler.size == 5


def test_a_missing_seed_is_drawn_from_numpy():
    np.random.seed(3)
    one = DefaultSampler(range(3)).seed
    np.random.seed(3)
    assert InfiniteSampler(range(3)).seed == one


def test_an_empty_dataset_has_an_empty_order_and_no_endless_one():
    assert list(DefaultSampler([])) == []
    with pytest.raises(ArgumentError, match="this one is empty"):
        InfiniteSampler([])


def test_a_worker_is_seeded_by_its_number_and_rank():
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(()))

    worker_init_fn(1, num_workers=2, rank=3, seed=5)
    first = draws()
    random.seed(12), np.random.seed(12), torch.manual_seed(12)
    assert draws() == first


def test_later_workers_are_silent_on_request():
    import warnings

    with warnings.catch_warnings():
        worker_init_fn(1, 2, 0, 5, disable_subprocess_warning=True)
        warnings.warn("not shown", stacklevel=1)
