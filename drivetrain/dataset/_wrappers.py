"""Datasets made of datasets: one after the other, repeated, or with rare classes repeated."""

from __future__ import annotations

import bisect
import copy
import math
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from torch.utils.data import ConcatDataset as TorchConcatDataset

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError
from drivetrain.registry import DATASETS

from . import _records
from ._base import BaseDataset, force_full_init
from ._configs import is_config


class _Whole:
    """Refuses to be cut: which samples a subset would hold is ambiguous for a dataset made of others."""

    def get_subset_(self, indices: list[int] | int) -> None:
        """Not supported: cut the dataset inside, then wrap it.

        Raises:
            NotSupportedError: always.
        """
        self._refuse()

    def get_subset(self, indices: list[int] | int) -> BaseDataset:
        """Not supported: cut the dataset inside, then wrap it.

        Raises:
            NotSupportedError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        name = type(self).__name__
        raise NotSupportedError(
            f"{name} has no subsets, since it is not clear what they would hold. Take the subset of the dataset "
            f"inside (its argument `indices`, or get_subset), then wrap it in {name}."
        )


@DATASETS.register_module()
class ConcatDataset(_Whole, TorchConcatDataset[Any]):
    """Datasets one after the other.

    Args:
        datasets: datasets or their configs.
        lazy_init: do not load their annotations yet.
        ignore_keys: keys of metainfo that may differ; the first dataset's values count.

    Raises:
        ArgumentError: there is no dataset, or metainfo differs.
        ArgumentTypeError: an entry is neither a dataset nor a config.
    """

    def __init__(
        self,
        datasets: Sequence[BaseDataset | dict[str, Any]],
        lazy_init: bool = False,
        ignore_keys: str | list[str] | None = None,
    ) -> None:
        self.ignore_keys = _keys(ignore_keys)
        if hasattr(datasets, "full_init") or is_config(datasets) or len(datasets) == 0:
            raise ArgumentError(f"ConcatDataset needs a list of one or more datasets, got {datasets!r}.")
        self.datasets: list[Any] = [_built(dataset) for dataset in datasets]
        self._metainfo = self.datasets[0].metainfo
        for number, dataset in enumerate(self.datasets[1:], 2):
            self._compare(number, dataset.metainfo)
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts about the first dataset, as a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Load the annotations of every dataset."""
        if self._fully_initialized:
            return
        for dataset in self.datasets:
            dataset.full_init()
        super().__init__(self.datasets)
        self._fully_initialized = True

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        """Which dataset sample `idx` comes from, and its place there."""
        place = _records.place_of(idx, len(self))
        number = bisect.bisect_right(self.cumulative_sizes, place)
        return number, place - (self.cumulative_sizes[number - 1] if number else 0)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotations of a sample, as its own dataset gives them."""
        number, place = self._get_ori_dataset_idx(idx)
        return self.datasets[number].get_data_info(place)

    @force_full_init
    def __len__(self) -> int:
        """Samples of all datasets."""
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Any:
        """A sample, as its own dataset gives it."""
        number, place = self._get_ori_dataset_idx(idx)
        return self.datasets[number][place]

    def _compare(self, number: int, metainfo: dict[str, Any]) -> None:
        ours = {key: value for key, value in self._metainfo.items() if key not in self.ignore_keys}
        theirs = {key: value for key, value in metainfo.items() if key not in self.ignore_keys}
        wrong = sorted(
            key
            for key in {*ours, *theirs}
            if key not in ours or key not in theirs or not _equal(ours[key], theirs[key])
        )
        if wrong:
            key = wrong[0]
            raise ArgumentError(
                f"metainfo of dataset {number} of the ConcatDataset differs from that of dataset 1 in {wrong}: "
                f"{key!r} is {theirs.get(key, '(missing)')!r} there and {ours.get(key, '(missing)')!r} in the "
                f"first. Make them equal, or pass ignore_keys={wrong!r} to use the first."
            )


@DATASETS.register_module()
class RepeatDataset(_Whole):
    """A dataset several times over, so that an epoch is longer.

    Args:
        dataset: a dataset or its config.
        times: how often.
        lazy_init: do not load its annotations yet.

    Raises:
        ArgumentTypeError: `dataset` is neither a dataset nor a config, or `times` is no whole number from 0 on.
    """

    def __init__(self, dataset: BaseDataset | dict[str, Any], times: int, lazy_init: bool = False) -> None:
        if type(times) is not int or times < 0:
            raise ArgumentTypeError(f"times must be an int from 0 on, got {times!r}.")
        self.dataset: Any = _built(dataset)
        self.times = times
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts about the dataset, as a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Load the annotations of the dataset inside."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._ori_len = len(self.dataset)
        self._fully_initialized = True

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        """The place in the dataset inside."""
        return idx % self._ori_len

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotations of a sample of the dataset inside."""
        return self.dataset.get_data_info(self._get_ori_dataset_idx(idx))

    def __getitem__(self, idx: int) -> Any:
        """A sample of the dataset inside."""
        return self.dataset[self._get_ori_dataset_idx(idx)]

    @force_full_init
    def __len__(self) -> int:
        """`times` the samples inside."""
        return self.times * self._ori_len


@DATASETS.register_module()
class ClassBalancedDataset(_Whole):
    """A dataset in which samples of rare classes come several times.

    A class c that occurs in a share f(c) of the samples gets the factor r(c) = max(1, sqrt(t / f(c))), a sample the
    largest factor of its classes; it comes that many times, rounded up. From LVIS (Gupta et al. 2019, section 6.2).

    Args:
        dataset: a dataset or its config, with a method `get_cat_ids(idx)`.
        oversample_thr: t, the share below which a class counts as rare.
        lazy_init: do not load its annotations yet.

    Raises:
        ArgumentTypeError: `dataset` is neither a dataset nor a config.
        NotSupportedError: it does not say which classes a sample has.
    """

    def __init__(self, dataset: BaseDataset | dict[str, Any], oversample_thr: float, lazy_init: bool = False) -> None:
        self.dataset: Any = _built(dataset)
        self.oversample_thr = oversample_thr
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Facts about the dataset, as a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Load the annotations of the dataset inside and count its classes."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        factors = self._get_repeat_factors(self.dataset, self.oversample_thr)
        self.repeat_indices = [idx for idx, factor in enumerate(factors) for _ in range(math.ceil(factor))]
        self._fully_initialized = True

    def _get_repeat_factors(self, dataset: Any, repeat_thr: float) -> list[float]:
        """How often each sample is to come, before rounding."""
        classes = [set(dataset.get_cat_ids(idx)) for idx in range(len(dataset))]
        counts = Counter(cat for found in classes for cat in found)
        factor = {cat: max(1.0, math.sqrt(repeat_thr * len(dataset) / count)) for cat, count in counts.items()}
        return [max((factor[cat] for cat in found), default=1.0) for found in classes]

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        """The place in the dataset inside."""
        return self.repeat_indices[_records.place_of(idx, len(self.repeat_indices))]

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """The categories in a sample."""
        return self.dataset.get_cat_ids(self._get_ori_dataset_idx(idx))

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotations of a sample of the dataset inside."""
        return self.dataset.get_data_info(self._get_ori_dataset_idx(idx))

    def __getitem__(self, idx: int) -> Any:
        """A sample of the dataset inside."""
        return self.dataset[self._get_ori_dataset_idx(idx)]

    @force_full_init
    def __len__(self) -> int:
        """Samples with their repetitions."""
        return len(self.repeat_indices)


def _built(dataset: Any) -> Any:
    found = DATASETS.build(dataset) if is_config(dataset) else dataset
    if hasattr(found, "full_init") and hasattr(found, "metainfo"):
        return found
    raise ArgumentTypeError(
        f"expected a dataset with full_init() and metainfo, such as a BaseDataset, or its config; got "
        f"{type(found).__name__}: {found!r}."
    )


def _keys(ignore_keys: Any) -> list[str]:
    if ignore_keys is None or type(ignore_keys) is str:
        return [] if ignore_keys is None else [ignore_keys]
    if type(ignore_keys) is not list or any(type(key) is not str for key in ignore_keys):
        raise ArgumentTypeError(f"ignore_keys must be a str or a list of str, got {ignore_keys!r}.")
    return ignore_keys


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(np.array_equal(one, other)) if hasattr(one, "shape") else bool(one == other)
    except (ValueError, RuntimeError):  # an array somewhere inside has no single truth value
        return pickle.dumps(one) == pickle.dumps(other)
