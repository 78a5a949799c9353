"""What keeps a loader from being sent to a batch, and from saying where it is."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import IterableDataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

_SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def obstacle(loader: TorchDataLoader[Any], own_way: bool, streams: str) -> str:
    """Why the positions of a loader are not known, or an empty string.

    Args:
        loader: the loader.
        own_way: whether its class iterates in its own way.
        streams: 'sample' or 'worker'.
    """
    if own_way:
        return f"{type(loader).__name__} iterates in its own way; drop its __iter__ and _get_iterator."
    if not getattr(loader, "in_order", True):
        return "in_order=False hands batches out as they come, in an order of chance."
    if isinstance(loader.dataset, IterableDataset):
        return _iterable_obstacle(loader.dataset)
    if streams == "worker" and generator_of(loader) is None and _shuffles(loader):
        return (
            f"{type(loader.sampler).__name__} shuffles by torch's global generator. Give it a generator, use a "
            "DefaultSampler, or streams='sample'."
        )
    return ""


def generator_of(loader: TorchDataLoader[Any]) -> torch.Generator | None:
    """The generator that the user gave the sampler."""
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        generator = getattr(sampler, "generator", None)
        if type(generator) is torch.Generator:
            return generator
    return None


def _shuffles(loader: TorchDataLoader[Any]) -> bool:
    samplers = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    return any(type(sampler) in _SHUFFLING for sampler in samplers)


def _iterable_obstacle(dataset: Any) -> str:
    if hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict"):
        return ""
    return f"{type(dataset).__name__} is iterable and owns its order. Give it state_dict() and load_state_dict()."
