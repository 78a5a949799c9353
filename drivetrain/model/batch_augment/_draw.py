"""Random numbers of a batch augmentation, drawn on the host, each row a function of where it is needed.

A row belongs to one sample. Its key is mixed from the seed, the rank, the step, the augmentation and the sample's place
in the batch; the numbers of the row are the outputs of SplitMix64 (Steele, Lea, Flood 2014) started at that key. No
generator has a state, so nothing is to be saved, and nobody else's draws can move them.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from drivetrain.utils import mixed

from ._moment import Moment

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

BATCH_AUGMENT = 6
"""What these streams are for; `dataset` has 1 to 5, and no two purposes share a stream."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ALL_RANKS = -1
_WHOLE_BATCH = -1
_TRIES = 8
"""Proposals for a Gamma variate; each is taken with a probability above 0.95, the last one is taken unseen."""


class Draw:
    """Draws the numbers of one augmentation for one batch.

    Args:
        moment: the step.
        path: which augmentation, as numbers; children add theirs.
    """

    def __init__(self, moment: Moment, *path: int) -> None:
        self._moment, self._path = moment, path

    def child(self, *numbers: int) -> Draw:
        """The draw of an augmentation inside this one."""
        return Draw(self._moment, *self._path, *numbers)

    def keys(self, batch: int) -> Array:
        """The key of each sample, uint64 (N,)."""
        moment = self._moment
        state = mixed(BATCH_AUGMENT, moment.seed, moment.rank, moment.iteration, moment.occurrence, *self._path)
        return _scrambled((np.arange(batch, dtype=np.uint64) ^ np.uint64(state)) + _GOLDEN)

    def rows(self, batch: int, columns: int) -> Array:
        """Uniform numbers in [0, 1), one row a sample: float64 (N, columns)."""
        return _uniform(self.keys(batch), columns)

    def once(self, columns: int) -> Array:
        """Uniform numbers in [0, 1) for the whole batch: float64 (columns,)."""
        moment = self._moment
        return self._whole(columns, moment.rank, moment.iteration, moment.occurrence)

    def on_all_ranks(self, columns: int, interval: int = 1) -> Array:
        """Uniform numbers in [0, 1), equal on every rank and for `interval` steps: float64 (columns,)."""
        return self._whole(columns, _ALL_RANKS, self._moment.iteration // interval, 0)

    def beta(self, alpha: float, size: int | None) -> Array:
        """Numbers with the distribution Beta(alpha, alpha): float64 (N,), or (1,) for the whole batch.

        Args:
            alpha: both parameters of the distribution.
            size: number of samples; None draws one number for all.
        """
        columns = 2 * (3 * _TRIES + 1)
        uniform = self.once(columns)[None] if size is None else self.rows(size, columns)
        first, second = uniform[:, : columns // 2], uniform[:, columns // 2 :]
        difference = _log_gamma_variate(first, alpha) - _log_gamma_variate(second, alpha)
        share: Array = 1 / (1 + np.exp(-np.clip(difference, -700, 700)))
        return share

    def cycle(self, batch: int) -> Array:
        """A random cyclic order of the samples: each sample's place in it, int64 (N,)."""
        return np.argsort(self.keys(batch), kind="stable")

    def _whole(self, columns: int, rank: int, iteration: int, occurrence: int) -> Array:
        key = mixed(BATCH_AUGMENT, self._moment.seed, rank, iteration, occurrence, *self._path, _WHOLE_BATCH)
        return _uniform(np.array([key], dtype=np.uint64), columns)[0]


def partners(order: Array, step: int = 1) -> Array:
    """For each sample the one that comes `step` places behind it in a cyclic order: int64 (N,)."""
    result = np.empty_like(order)
    result[order] = np.roll(order, -step)
    return result


def _scrambled(state: Array) -> Array:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def _uniform(keys: Array, columns: int) -> Array:
    steps = np.arange(1, columns + 1, dtype=np.uint64) * _GOLDEN
    numbers: Array = (_scrambled(keys[:, None] + steps) >> np.uint64(11)) * 2.0**-53
    return numbers


def _log_gamma_variate(uniform: Array, alpha: float) -> Array:
    """The logarithm of a Gamma(alpha) variate for each row (Marsaglia, Tsang 2000), at alpha + 1 and brought down.

    In logarithms, since for a small alpha the variates themselves are too small for any float.
    """
    shape = alpha + 1 - 1 / 3
    lifted, angle = uniform[:, :_TRIES], uniform[:, _TRIES : 2 * _TRIES]
    accept, down = 1 - uniform[:, 2 * _TRIES : 3 * _TRIES], 1 - uniform[:, 3 * _TRIES]
    normal = np.sqrt(-2 * np.log1p(-lifted)) * np.cos(2 * math.pi * angle)
    cube = (1 + normal / math.sqrt(9 * shape)) ** 3
    positive = cube > 0
    log_cube = np.log(np.where(positive, cube, 1.0))
    taken = positive & (np.log(accept) < normal**2 / 2 + shape * (1 - cube + log_cube))
    taken[:, -1] = True
    first = taken.argmax(1)
    return np.log(shape) + log_cube[np.arange(len(first)), first] + np.log(down) / alpha
