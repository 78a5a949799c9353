"""Worker processes whose states come along with their batches: other ones go on where they stood."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from drivetrain.dataset import DataLoader, build_dataloader


class Draws(Dataset):
    def __len__(self):
        return 11

    def __getitem__(self, index):
        return int(index), random.random(), random.gauss(0, 1), float(np.random.randn()), float(torch.rand(()))


class DrawsOfBatches(Draws):
    def __getitems__(self, indices):
        shift = random.random()
        return [(*self[index], shift, len(indices)) for index in indices]


class Stream(IterableDataset):
    """Numbers dealt to the workers, of which the last has fewer, with noise."""

    def __init__(self, size=13):
        self.size, self.at = size, 0

    def __iter__(self):
        info = get_worker_info()
        number, count = (info.id, info.num_workers) if info else (0, 1)
        while self.at * count + number < self.size - 4 * number:
            self.at += 1
            yield (self.at - 1) * count + number, random.random(), float(torch.rand(()))
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def loader_of(kind=Draws, streams="worker", workers=2, persistent=False, batch_size=2):
    cfg = {
        "dataset": kind(), "batch_size": batch_size, "num_workers": workers, "persistent_workers": persistent,
        "collate_fn": lambda samples: samples,
    }  # fmt: skip
    if kind is not Stream:
        cfg["sampler"] = {"type": "DefaultSampler", "shuffle": True}
    return build_dataloader(cfg, seed=3, streams=streams)


def passes(loader, first, last):
    """The passes as a loop makes them, which tells the loader their numbers."""
    batches = []
    for number in range(first, last):
        loader.seek(number, loader.consumed if number == loader.pass_index else 0)
        batches += loader
    return batches


@pytest.mark.parametrize("batch_size", [2, None])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("kind", "streams"), [(Draws, "worker"), (DrawsOfBatches, "worker"), (Stream, "worker"), (Stream, "sample")]
)
def test_new_workers_go_on_where_others_stood(kind, streams, persistent, batch_size):
    def make():
        return loader_of(kind, streams, persistent=persistent, batch_size=batch_size)

    torch.manual_seed(0)
    whole = passes(make(), 0, 3)
    torch.manual_seed(0)
    loader, length = make(), len(whole) // 3
    used, states = 0, []
    for number in range(2):
        loader.seek(number)
        for _ in loader:
            used += 1
            states.append((used, loader.state_dict(), torch.get_rng_state()))
        states.append((used, loader.state_dict(), torch.get_rng_state()))
    for used, state, main in [states[0], states[length - 2], states[length], states[length + 2]]:
        resumed = make()
        resumed.load_state_dict(state)
        torch.set_rng_state(main)
        assert passes(resumed, state["pass_index"], 3) == whole[used:], f"behind batch {used}"


def test_a_resumed_pass_leaves_the_main_process_its_numbers():
    loader = loader_of()
    batches = iter(loader)
    next(batches)
    state, main = loader.state_dict(), torch.get_rng_state()
    resumed = loader_of()
    resumed.load_state_dict(state)
    list(resumed)
    assert torch.equal(torch.get_rng_state(), main)


def test_a_second_resume_right_after_the_first_changes_nothing():
    loader = loader_of(Stream)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    first = loader_of(Stream)
    first.load_state_dict(loader.state_dict())
    second = loader_of(Stream)
    iter(first)
    second.load_state_dict(first.state_dict())
    assert list(second) == list(batches)


def test_a_loop_behind_the_loader_gets_the_states_of_where_it_stands():
    loader = loader_of()
    batches = iter(loader)
    used = [next(batches), next(batches)]
    ahead = [next(batches), next(batches)]
    state = loader.state_dict(pass_index=0, consumed=len(used))
    resumed = loader_of()
    resumed.load_state_dict(state)
    assert list(resumed)[:2] == ahead


def test_a_state_without_those_of_the_workers_says_what_repeats(capsys):
    resumed = loader_of()
    resumed.load_state_dict({"pass_index": 0, "consumed": 2, "seed": None})
    assert "workers begin as at the start of a run" in capsys.readouterr().out


def test_workers_are_seeded_anew_when_the_run_takes_over_another_seed():
    first, second = loader_of(), loader_of()
    second.reseed(3)
    first.reseed(8)
    other = build_dataloader(
        {"dataset": Draws(), "batch_size": 2, "num_workers": 2, "collate_fn": lambda samples: samples,
         "sampler": {"type": "DefaultSampler", "shuffle": True}}, seed=8, streams="worker",
    )  # fmt: skip
    assert list(first) == list(other) != list(second)


def test_a_loader_of_the_users_own_worker_function_goes_on_too():
    def make():
        return DataLoader(Draws(), batch_size=2, num_workers=2, streams="worker", collate_fn=list)

    torch.manual_seed(5)
    loader = make()
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    torch.manual_seed(6)
    resumed = make()
    resumed.load_state_dict(state)
    assert list(resumed) == list(batches)
