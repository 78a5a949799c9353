"""Random streams: which numbers a sample draws, whoever fetches it.

The numbers are a function of (seed, pass, index, occurrence within the pass). The seed of a stream has two words of 32
bits, for each fixed pass and occurrence a one-to-one function of the index. torch's CPU generator takes 32 bits, as
does the quick way to seed NumPy's; being one-to-one, no two samples of a pass share even these. The words differ, since
NumPy and torch run the same generator (MT19937) and would draw the same numbers from the same seed.
"""

from __future__ import annotations

import operator
import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from drivetrain.utils import mixed as mixed

SAMPLE, STEP, ORDER, WORKERS, BATCH = 1, 2, 3, 4, 5
"""What a stream is for; it goes into the mixture, so that no two purposes share a stream."""

_WORD = 0xFFFFFFFF

# `random.seed` checks types for 0.7 us before it calls this; the state it sets for an int is the same.
_random: Any = random.seed.__self__  # type: ignore[attr-defined]
_seed_random = super(random.Random, _random).seed
_numpy: Any = np.random  # its stub leaves out get_bit_generator and set_bit_generator
_seed_numpy = np.random.seed
_seed_torch = torch.default_generator.manual_seed


class SampleKey(int):
    """An index that carries the seed of its sample's random stream, and the pass, through a loader's queue.

    It equals, hashes and indexes as the index. A copy through pickle keeps both; arithmetic gives a plain int.

    Args:
        index: the index.
        stream: the seed, 64 bits.
        pass_index: number of the pass.
    """

    stream: int
    pass_index: int

    def __new__(cls, index: int, stream: int, pass_index: int = 0) -> SampleKey:
        key = int.__new__(cls, index)
        key.stream, key.pass_index = stream, pass_index
        return key

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleKey, (int(self), self.stream, self.pass_index)


class OtherKey:
    """What `SampleKey` is, for an index that is no plain int: a tuple, a str, a NumPy integer, a list of indices.

    Args:
        index: the index, handed to the dataset as it is.
        stream: the seed, 64 bits.
        pass_index: number of the pass.
    """

    __slots__ = ("index", "pass_index", "stream")

    def __init__(self, index: Any, stream: int, pass_index: int = 0) -> None:
        self.index, self.stream, self.pass_index = index, stream, pass_index

    def __reduce__(self) -> tuple[Any, ...]:
        return OtherKey, (self.index, self.stream, self.pass_index)


_new_int: Any = int.__new__


class Streams:
    """Seeds of the streams of one pass.

    Args:
        purpose: SAMPLE, STEP, ...
        seed: seed of the run.
        pass_index: number of the pass.
    """

    def __init__(self, purpose: int, seed: int, pass_index: int) -> None:
        self._where = (purpose, seed, pass_index)
        self.pass_index = pass_index
        self._block = (0, 0)
        self._keys = self._keys_of(0, 0)

    def of(self, index: int, occurrence: int) -> int:
        """The seed of a stream, 64 bits."""
        block = (occurrence, index >> 32)
        if block != self._block:
            self._block, self._keys = block, self._keys_of(*block)
        first, second = self._keys
        # Two keyed permutations of 32-bit words with low bias (Wellons, hash-prospector); inline for speed.
        high = (index ^ first) & 0xFFFFFFFF
        high = ((high ^ (high >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        high = ((high ^ (high >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        low = (index ^ second) & 0xFFFFFFFF
        low = ((low ^ (low >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
        low = ((low ^ (low >> 15)) * 0xD35A2D97) & 0xFFFFFFFF
        return (high ^ (high >> 16)) << 32 | (low ^ (low >> 15))

    def _keys_of(self, occurrence: int, high_bits: int) -> tuple[int, int]:
        keys = mixed(*self._where, occurrence, high_bits)
        return keys >> 32, keys & _WORD


class Keys:
    """Turns the indices of one pass into keys, counting how often each came.

    Args:
        streams: seeds of the pass.
        size: samples of the dataset, or 0 when unknown.
    """

    def __init__(self, streams: Streams, size: int) -> None:
        self._of, self._pass_index = streams.of, streams.pass_index
        self._seen = bytearray(size)
        self._again: dict[int, int] = {}

    def made(self, index: int, occurrence: int) -> SampleKey:
        """The key of an index whose occurrence is known."""
        key = _new_int(SampleKey, index)
        key.stream, key.pass_index = self._of(index, occurrence), self._pass_index
        return key

    def key(self, index: Any) -> SampleKey | OtherKey:
        """The key of an index of any kind."""
        if type(index) is int:
            return self.made(index, self._occurrence(index))
        if type(index) is list:
            return OtherKey(index, mixed(BATCH, *(self.key(item).stream for item in index)), self._pass_index)
        number = _number(index)
        return OtherKey(index, self._of(number, self._occurrence(number)), self._pass_index)

    def keys(self, indices: Sequence[Any]) -> list[SampleKey | OtherKey]:
        """The keys of a batch of indices."""
        return [self.key(index) for index in indices]

    def _occurrence(self, number: int) -> int:
        # One byte for each sample: a dict of a million counts takes a hundred megabytes.
        if 0 <= number < len(self._seen):
            if not self._seen[number]:
                self._seen[number] = 1
                return 0
            count = self._again.get(number, 0) + 1
        else:
            count = self._again.get(number, -1) + 1
        self._again[number] = count
        return count


def _number(index: Any) -> int:
    """A whole number that stands for an index; the same in every process, as `hash` is not."""
    try:
        return operator.index(index)
    except TypeError:
        text = repr(index).encode()
        return zlib.crc32(text) << 32 | zlib.adler32(text)


def batch_stream(keys: Sequence[SampleKey | OtherKey]) -> int:
    """The seed of one stream for a batch that is fetched at once."""
    return mixed(BATCH, *(key.stream for key in keys))


def seed_stream(stream: int) -> None:
    """Seed `random`, NumPy's global generator and torch's CPU generator."""
    _seed_random(stream)
    _random.gauss_next = None
    _seed_numpy(stream & 0xFFFFFFFF)
    _seed_torch(stream >> 32)


def own_numpy() -> np.random.BitGenerator:
    """Let NumPy's global functions draw from a generator of their own, and return the one they drew from."""
    before: np.random.BitGenerator = _numpy.get_bit_generator()
    _numpy.set_bit_generator(np.random.MT19937(0))
    return before


class MainProcess:
    """Keeps the main process's own random numbers apart from those of the samples it fetches itself.

    torch's state is put back after each batch; NumPy's global generator is exchanged for another one meanwhile;
    `random`, whose state takes 17 us to save and restore, is seeded anew from (seed, pass, batch).

    Args:
        steps: seeds for `random` after each batch.
        batch: number of the next batch of the pass.
    """

    def __init__(self, steps: Streams, batch: int) -> None:
        self._steps, self._batch = steps, batch
        self._private = np.random.MT19937(0)
        self._state: torch.Tensor | None = None
        self._numpy: Any = None

    def guarded(self, indices: Iterator[Any]) -> Iterator[Any]:
        """The indices; the samples of each are fetched before the next is asked for.

        The state is taken between index and sample: a sampler's own draws belong to the main process.
        """
        for item in indices:
            self._state = torch.default_generator.get_state()
            self._numpy = _numpy.get_bit_generator()
            _numpy.set_bit_generator(self._private)
            yield item

    def leave(self) -> None:
        """Go back to the main process's own numbers."""
        if self._state is None:
            return
        torch.default_generator.set_state(self._state)
        _numpy.set_bit_generator(self._numpy)
        self._state = None
        _seed_random(self._steps.of(self._batch, 0))
        _random.gauss_next = None
        self._batch += 1


@contextmanager
def isolated(stream: int) -> Iterator[None]:
    """Seed everything for a block, and put every state back behind it."""
    torch_state, random_state = torch.default_generator.get_state(), random.getstate()
    numpy_generator = own_numpy()
    seed_stream(stream)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(random_state)
        _numpy.set_bit_generator(numpy_generator)
