"""Numbers that live on a device: own copies now, one transfer later. torch is used only where a tensor came in."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter, methodcaller
from typing import Any

from ._running import Running
from ._values import HOST_TYPES, is_tensor, is_tensor_type

HOST = -2
"""In place of a row: the value is a number on the host."""
SCALAR = -1
"""In place of a row: the value is a tensor without dimensions."""

_PARTS_OF_KIND = (attrgetter("dtype"), methodcaller("get_device"), attrgetter("shape"))

Entry = tuple[Any, int, int]
"""A value, its count, and where the number is: `HOST`, `SCALAR`, or a row of a one-dimensional tensor."""

Held = Any
"""What a series holds back: a number or a tensor without dimensions, of count 1, as it is; an `Entry` for all else.

The steps of a run append little else than the former, and a list of bare numbers is summed without a look at each.
"""


def entries_of(held: Iterable[Held]) -> list[Entry]:
    """All of `held` as entries."""
    return [item if type(item) is tuple else (item, 1, SCALAR if is_tensor(item) else HOST) for item in held]


def are_numbers(kinds: set[type]) -> bool:
    """Whether what has these types is bare numbers of Python alone."""
    return kinds <= HOST_TYPES.keys()


def are_tensors(kinds: set[type]) -> bool:
    """Whether what has these types is bare tensors alone."""
    return len(kinds) == 1 and all(map(is_tensor_type, kinds))


def packed_copy(values: Sequence[Any]) -> Any | None:
    """One tensor of shape (n,) with own copies of `values`, made in one operation; None unless all are of one kind.

    Args:
        values: two tensors or more.
    """
    first = values[0]
    dtype, device = first.dtype, first.device
    for value in values:
        if value.dim() or value.dtype is not dtype or value.device != device:
            return None
    return _torch().stack([value.detach() if value.requires_grad else value for value in values])


def to_host(tensors: Sequence[Any]) -> list[Any]:
    """The numbers of `tensors` (a number each, or a list of one for a tensor of shape (n,)), by one copy per kind."""
    if not tensors[0].dim() and _are_alike(tensors):
        return _copy(tensors, [])
    kinds: dict[Any, list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        kinds[tensor.dtype, tensor.device].append(index)
    found: list[Any] = [None] * len(tensors)
    for members in kinds.values():
        scalars = [index for index in members if not tensors[index].dim()]
        vectors = [index for index in members if tensors[index].dim()]
        numbers = _copy([tensors[index] for index in scalars], [tensors[index] for index in vectors])
        begin = len(scalars)
        for index, number in zip(scalars, numbers, strict=False):
            found[index] = number
        for index in vectors:
            end = begin + tensors[index].numel()
            found[index], begin = numbers[begin:end], end
    return found


def _copy(scalars: Sequence[Any], vectors: list[Any]) -> list[Any]:
    torch = _torch()
    parts = [torch.stack(list(scalars)), *vectors] if scalars else vectors
    flat = parts[0] if len(parts) == 1 else torch.cat(parts)
    numbers: list[Any] = flat.cpu().tolist()
    return numbers


def _torch() -> Any:
    return sys.modules["torch"]


class DeviceFold:
    """What is left of device values that nobody has read for long: their statistics and the newest of them.

    It stays on the device. Its size is fixed, so a run that never reads its log keeps a flat memory, and nothing is
    copied to the host.
    """

    __slots__ = ("_epoch", "_run", "tail", "tail_counts")

    def __init__(self) -> None:
        self._run = _DeviceRunning()
        self._epoch = _DeviceRunning()
        self.tail: Any = None
        self.tail_counts: list[int] = []

    @property
    def entries(self) -> int:
        """Number of values folded so far."""
        return self._run.entries

    def forget_epoch(self) -> None:
        """Start the statistics of the epoch anew."""
        self._epoch = _DeviceRunning()

    def add(self, held: Sequence[Held], before_epoch: int, capacity: int) -> None:
        """Fold `held` in; the first `before_epoch` are of an earlier epoch, the newest `capacity` are kept whole."""
        values, counts = _one_vector(held, self.tail)
        self._run.add(values, counts)
        if before_epoch < len(counts):
            self._epoch.add(values[before_epoch:], counts[before_epoch:])
        joined = values if self.tail is None else _torch().cat([self.tail, values])
        self.tail = joined[-capacity:].clone()
        self.tail_counts = (self.tail_counts + counts)[-capacity:]

    def tensors(self) -> list[Any]:
        """The tensors to copy to the host: the newest values, and the statistics of the run and of the epoch."""
        return [self.tail, *(part.state for part in (self._run, self._epoch) if part.entries)]

    def on_host(self, numbers: Sequence[Sequence[float]]) -> tuple[Running, Running]:
        """The statistics of the run and of the epoch, from the host copies of `tensors()`."""
        epoch = self._epoch.on_host(numbers[2]) if self._epoch.entries else Running()
        return self._run.on_host(numbers[1]), epoch


class _DeviceRunning:
    """`Running` with total, least and greatest in a tensor of shape (3,)."""

    __slots__ = ("entries", "state", "weight")

    def __init__(self) -> None:
        self.entries = 0
        self.weight = 0.0
        self.state: Any = None

    def add(self, values: Any, counts: Sequence[int]) -> None:
        """Take in `values`, shape (n,)."""
        torch = _torch()
        state = torch.stack([values.sum(), values.min(), values.max()])
        if self.state is not None:
            old = self.state
            low, high = torch.minimum(old[1], state[1]), torch.maximum(old[2], state[2])
            state = torch.stack([old[0] + state[0], low, high])
        self.state = state
        self.entries += len(counts)
        self.weight += sum(counts)

    def on_host(self, numbers: Sequence[float]) -> Running:
        """The statistics, from the host copy of `state`."""
        return Running(self.entries, self.weight, *numbers)


def _one_vector(held: Sequence[Held], earlier: Any | None) -> tuple[Any, list[int]]:
    """The values of `held` in one tensor (n,), float64 where the device has it, and their counts; no host read.

    `earlier` says where to put it when all of them are numbers.
    """
    torch = _torch()
    if are_tensors(set(map(type, held))) and _are_alike(held):
        return torch.stack(list(held)).to(_wide_dtype(held[0])), [1] * len(held)
    entries = entries_of(held)
    counts = [entry[1] for entry in entries]
    like: Any = next((value for value, _, row in entries if row != HOST), earlier)
    wide = _wide_dtype(like)
    rows = {row for _, _, row in entries}
    if HOST in rows or len(rows) > 1 or not _are_alike([entry[0] for entry in entries]):
        return torch.stack([_wide_scalar(entry, like.device, wide) for entry in entries]), counts
    block, row = torch.stack([entry[0] for entry in entries]), rows.pop()
    return (block if row == SCALAR else block[:, row]).to(wide), counts


def _wide_dtype(tensor: Any) -> Any:
    return _torch().float32 if tensor.device.type == "mps" else _torch().float64


def _are_alike(tensors: Sequence[Any]) -> bool:
    return all(len(set(map(part, tensors))) == 1 for part in _PARTS_OF_KIND)


def _wide_scalar(entry: Entry, device: Any, dtype: Any) -> Any:
    value, _, row = entry
    if row == HOST:
        return _torch().full((), float(value), dtype=dtype, device=device)
    return (value if row == SCALAR else value[row]).to(device, dtype, non_blocking=True)
