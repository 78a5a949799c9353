"""What stands around the user's dataset in a loader with a stream for each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import StackDataset, Subset, get_worker_info

from ._streams import OtherKey, SampleKey, batch_stream, own_numpy, seed_stream
from ._worker_signals import settle_in

_pass_index: int | None = None
"""The pass of the sample that is being fetched in this process."""


def current_pass() -> int | None:
    """The number of the pass for which a sample is being fetched, from 0: an epoch of the run, where a pass is one.

    It comes with the sample's key, so that a worker knows it without being told or restarted, whatever it has fetched
    ahead, and after a resume too. None where samples come without keys: with `streams='worker'`, or outside of a loader
    of the engine.
    """
    return _pass_index


class KeyedDataset:
    """Seeds the random generators from the key, then asks the dataset.

    Args:
        dataset: the user's dataset; it gets plain indices.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, key: SampleKey | OtherKey) -> Any:
        global _pass_index
        seed_stream(key.stream)
        _pass_index = key.pass_index
        try:
            return self.dataset[int(key) if type(key) is SampleKey else key.index]  # type: ignore[union-attr]
        finally:
            _pass_index = None


class KeyedBatchDataset(KeyedDataset):
    """A `KeyedDataset` around a dataset that fetches whole batches; it is seeded once for each."""

    def __getitems__(self, keys: Sequence[SampleKey | OtherKey]) -> Any:
        """The samples of a batch."""
        global _pass_index
        seed_stream(batch_stream(keys))
        _pass_index = keys[0].pass_index if keys else None
        try:
            return self.dataset.__getitems__([_index(key) for key in keys])
        finally:
            _pass_index = None


def keyed(dataset: Any) -> KeyedDataset:
    """The dataset with keys for indices."""
    return KeyedBatchDataset(dataset) if fetches_batches(dataset) else KeyedDataset(dataset)


def fetches_batches(dataset: Any) -> bool:
    """Whether `__getitems__` of a dataset does more than call `__getitem__` for each index.

    torch's `Subset` (from `random_split`) and `StackDataset` always have it, and only pass it on.
    """
    if type(dataset) is Subset:
        return fetches_batches(dataset.dataset)
    if type(dataset) is StackDataset:
        inner = dataset.datasets
        return any(fetches_batches(part) for part in (inner.values() if type(inner) is dict else inner))
    return callable(getattr(dataset, "__getitems__", None))


class WorkerStart:
    """The start of a worker: `get_worker_info().dataset` is the user's own, then the user's function is called.

    Args:
        worker_init_fn: the user's function, or None.
    """

    def __init__(self, worker_init_fn: Callable[[int], Any] | None) -> None:
        self.worker_init_fn = worker_init_fn

    def __call__(self, worker_id: int) -> None:
        settle_in()
        info: Any = get_worker_info()
        # WorkerInfo refuses plain assignment; the keyed dataset is ours and no business of a worker_init_fn.
        object.__setattr__(info, "dataset", info.dataset.dataset)
        own_numpy()
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)


def _index(key: SampleKey | OtherKey) -> Any:
    return int(key) if type(key) is SampleKey else key.index  # type: ignore[union-attr]
