"""Samplers: which sample comes when, on which rank. Both own their order and can start anywhere in it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence, Sized

import torch
from torch.utils.data import Sampler

from drivetrain.dist import get_dist_info, sync_random_seed
from drivetrain.errors import ArgumentError
from drivetrain.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class DefaultSampler(Sampler[int]):
    """Every sample once a pass, shuffled by (seed, epoch) and dealt to the ranks in turn.

    Args:
        dataset: what has the length.
        shuffle: shuffle anew in every epoch; otherwise 0, 1, 2, ...
        seed: the same on all ranks; drawn and shared among them when None.
        round_up: give all ranks the same number of samples, beginning again from the start of the order where they run
            out.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle, self.round_up = dataset, shuffle, round_up
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        size = len(dataset)
        self.num_samples = math.ceil((size if round_up else size - self.rank) / self.world_size)
        self.total_size = self.num_samples * self.world_size if round_up else size

    def __iter__(self) -> Iterator[int]:
        """The indices of this rank, in this epoch's order."""
        order, places = self._order(), range(self.rank, self.total_size, self.world_size)
        return (order[place % len(order)] for place in places)

    def __len__(self) -> int:
        """Samples of this rank in a pass."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order: the one of `epoch`."""
        self.epoch = epoch

    def occurrences_from(self, start: int) -> Iterator[tuple[int, int]]:
        """The order of this rank from its `start`-th sample on, without walking there.

        Yields:
            Pairs (index, occurrence): how often the index came before in this pass, on any rank. It is 0 but for the
            samples that `round_up` repeats.
        """
        order = self._order()
        for place in range(self.rank + start * self.world_size, self.total_size, self.world_size):
            yield order[place % len(order)], place // len(order)

    def _order(self) -> Sequence[int]:
        """The order of all ranks, in 8 bytes a sample: a list takes 40."""
        size = len(self.dataset)
        if not self.shuffle:
            return range(size)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return array("q", torch.randperm(size, generator=generator).numpy().tobytes())


@DATA_SAMPLERS.register_module()
class InfiniteSampler(Sampler[int]):
    """An endless order: one permutation of the dataset after the other, dealt to the ranks in turn.

    Iterating a second time goes on where the first stopped.

    Args:
        dataset: what has the length.
        shuffle: draw permutations; otherwise 0, 1, 2, ... over and over.
        seed: the same on all ranks; drawn and shared among them when None.

    Raises:
        ArgumentError: the dataset is empty.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle = dataset, shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.size = len(dataset)
        if self.size == 0:
            raise ArgumentError(
                "InfiniteSampler needs a dataset of at least one sample; this one is empty. Look at its ann_file "
                "and at what filter_data drops."
            )
        self.indices = self._indices_of_rank()

    def _infinite_indices(self) -> Iterator[int]:
        """The order of all ranks together."""
        for _, order in self.cycles().walk(0):
            yield from order

    def _indices_of_rank(self) -> Iterator[int]:
        """The order of this rank."""
        return (index for index, _ in self.occurrences_from(0))

    def __iter__(self) -> Iterator[int]:
        """The indices of this rank, without end."""
        # Not `yield from`: dropping one iterator would then close the order for the next.
        return iter(self.indices.__next__, object())

    def __len__(self) -> int:
        """Samples of the dataset (of all ranks)."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Nothing: there are no epochs in an endless order."""

    def cycles(self, marks: dict[int, torch.Tensor] | None = None) -> Cycles:
        """The permutations this order consists of; `marks` let them be entered late."""
        return Cycles(self.size, self.shuffle, self.seed, marks)

    def occurrences_from(self, start: int, cycles: Cycles | None = None) -> Iterator[tuple[int, int]]:
        """The order of this rank from its `start`-th sample on.

        Args:
            start: samples of this rank to leave out.
            cycles: where the permutations come from, if not from the beginning.

        Yields:
            Pairs (index, occurrence): how often the index came before, on any rank.
        """
        first, place = divmod(self.rank + start * self.world_size, self.size)
        for number, order in (cycles or self.cycles()).walk(first):
            taken = order[place :: self.world_size]
            for index in taken:
                yield index, number
            place += len(taken) * self.world_size - self.size


class Cycles:
    """Permutation after permutation of the numbers below `size`, from one generator.

    Args:
        size: numbers of a permutation.
        shuffle: draw them; otherwise each is 0, 1, 2, ...
        seed: of the generator.
        marks: filled with the generator's state (uint8) at the start of each cycle by its number, and read to enter
            late; None keeps none.
        used: says how many numbers are used up for good; marks of cycles before that are dropped.
    """

    def __init__(
        self,
        size: int,
        shuffle: bool,
        seed: int,
        marks: dict[int, torch.Tensor] | None = None,
        used: Callable[[], int] = lambda: 0,
    ) -> None:
        self.size, self.shuffle, self.seed, self.marks, self.used = size, shuffle, seed, marks, used

    def walk(self, first: int) -> Iterator[tuple[int, list[int]]]:
        """Pairs (number of the cycle, its permutation) from cycle `first` on."""
        return self._drawn(first) if self.shuffle else self._counted(first)

    def mark_for(self, used: int) -> dict[int, torch.Tensor]:
        """The last mark at or before the cycle that holds number `used` of the order, if there is one."""
        marks = self.marks or {}
        number = max((mark for mark in marks if mark <= used // self.size), default=None)
        return {} if number is None else {number: marks[number]}

    def _counted(self, first: int) -> Iterator[tuple[int, list[int]]]:
        order = list(range(self.size))
        while True:
            yield first, order
            first += 1

    def _drawn(self, first: int) -> Iterator[tuple[int, list[int]]]:
        generator = torch.Generator().manual_seed(self.seed)
        number = max((mark for mark in self.marks or () if mark <= first), default=0)
        if self.marks and number in self.marks:
            generator.set_state(self.marks[number])
        while True:
            self._mark(number, generator)
            order = torch.randperm(self.size, generator=generator)
            if number >= first:
                yield number, order.tolist()
            number += 1

    def _mark(self, number: int, generator: torch.Generator) -> None:
        if self.marks is None:
            return
        self.marks[number] = generator.get_state()
        oldest = self.used() // self.size
        for mark in [mark for mark in self.marks if mark < min(oldest, number)]:
            del self.marks[mark]
