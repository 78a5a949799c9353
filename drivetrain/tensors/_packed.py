"""A list of tensors that lie in one buffer: it is moved, pinned and sent to another process by one copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from operator import attrgetter
from typing import Any, SupportsIndex, TypeAlias, cast

import torch
from torch import Tensor

from drivetrain.errors import ArgumentError
from drivetrain.typing import DeviceLike

ALIGNMENT = 16
"""Bytes. Each tensor of a buffer starts at a multiple, so that kernels read it in whole words."""

Shapes: TypeAlias = "Sequence[tuple[int, ...]]"

_requires_grad = attrgetter("requires_grad")
_shape = attrgetter("shape")


class PackedList(list[Tensor]):
    """A list of tensors of one dtype, of any shapes, that are views of one flat buffer.

    It is a list for everybody: indexing, iterating, `isinstance(x, list)`. Who knows what it is takes `buffer` as a
    whole. Its items are tensors of their own, that is, changing one in place touches no other; but one of them that
    is kept keeps the memory of all (`clone` it).

    A changed list (an item assigned, appended, removed, ...) is a plain one from then on: `buffer` is None. A tensor of
    it may change behind its back (`resize_`, `requires_grad_`); so ask `packed_of` before you use the buffer.

    Args:
        tensors: items of a list without a buffer; `pack` makes one with a buffer.

    Attributes:
        buffer: 1-d, of the dtype and on the device of the tensors; None where there is none.
        shapes: shape of each tensor.
        offsets: where in the buffer each starts, in elements; a multiple of 16 bytes.
    """

    # The public path: pickles name it, and the file behind it may move.
    __module__ = "drivetrain.tensors"

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__(tensors)
        self._forget()

    @classmethod
    def pack(cls, tensors: Sequence[Tensor], *, shared: bool = False) -> PackedList:
        """Copy tensors into one buffer.

        Args:
            tensors: at least one; plain strided tensors of one dtype and on one device, of any shapes.
            shared: make the buffer in memory that other processes can map, so that a queue sends it without a copy.

        Raises:
            ArgumentError: there is none, or one of them cannot be packed with the others.
        """
        if why := obstacle(tensors):
            raise ArgumentError(f"these tensors cannot be packed: {why}")
        first, shapes = tensors[0], list(map(_shape, tensors))
        offsets, length = layout(shapes, first.dtype.itemsize)
        packed = cls._over(_empty(length, first.dtype, first.device, shared), shapes, offsets)
        torch._foreach_copy_(list(packed), list(tensors))
        return packed

    @classmethod
    def over(cls, buffer: Tensor, shapes: Shapes) -> PackedList:
        """The list whose tensors lie in `buffer`, in order, each aligned.

        Args:
            buffer: 1-d, as long as `pack` makes it for these shapes.
            shapes: of the tensors.
        """
        return cls._over(buffer, shapes, layout(shapes, buffer.dtype.itemsize)[0])

    @classmethod
    def _over(cls, buffer: Tensor, shapes: Shapes, offsets: Sequence[int]) -> PackedList:
        packed = cls(views(buffer, shapes, offsets))
        packed.buffer, packed.offsets = buffer, tuple(offsets)
        packed.shapes = tuple(map(_shape, packed))
        return packed

    def to(self, device: DeviceLike, non_blocking: bool = False) -> PackedList:
        """The list on `device`, by one copy of the buffer; itself where it is there already.

        Args:
            device: where to.
            non_blocking: let the copy from pinned memory run beside the host.
        """
        return self._copied(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: DeviceLike | None = None) -> PackedList:
        """The list in pinned memory, by one copy of the buffer; itself where it is pinned already.

        Args:
            device: the kind of accelerator; by default the current one.
        """
        return self._copied(lambda tensor: tensor.pin_memory() if device is None else tensor.pin_memory(device))

    def _copied(self, copy: Callable[[Tensor], Tensor]) -> PackedList:
        if packed_of(self) is None:
            return PackedList(map(copy, self))
        buffer = cast(Tensor, self.buffer)
        copied = copy(buffer)
        return self if copied is buffer else self._over(copied, self.shapes, self.offsets)

    def _forget(self) -> None:
        self.buffer: Tensor | None = None
        self.shapes: tuple[torch.Size, ...] = ()
        self.offsets: tuple[int, ...] = ()

    def __map_tensors__(self, fn: Callable[[Tensor], Any]) -> list[Any]:
        return list(map(fn, self))

    def __copy__(self) -> PackedList:
        same = PackedList(self)
        same.__dict__.update(self.__dict__)
        return same

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        if packed_of(self) is None:
            return PackedList, (list(self),)
        # Plain tuples pickle small.
        return opened, (self.buffer, tuple(map(tuple, self.shapes)))


def _forgetting(name: str) -> Any:
    change = getattr(list, name)

    def method(self: PackedList, *args: Any, **kwargs: Any) -> Any:
        self._forget()
        return change(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, change.__doc__
    return method


for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend", "insert", "pop",
              "remove", "reverse", "sort"):  # fmt: skip
    setattr(PackedList, _name, _forgetting(_name))


def pack_together(groups: Sequence[Sequence[Tensor]], *, shared: bool = False) -> tuple[Tensor, list[PackedList]]:
    """Pack tensors of several dtypes into one block of bytes, which is sent as a whole.

    Args:
        groups: tensors as `PackedList.pack` takes them, on one device; each group of a dtype of its own.
        shared: make the block in memory that other processes can map.

    Returns:
        The block, 1-d uint8, and a list for each group, whose buffers are parts of the block.
    """
    plans = [(group[0].dtype, list(map(_shape, group))) for group in groups]
    length = sum(layout(shapes, dtype.itemsize)[1] * dtype.itemsize for dtype, shapes in plans)
    block = _empty(length, torch.uint8, groups[0][0].device, shared)
    lists = unpack_together(block, plans)
    for packed, group in zip(lists, groups, strict=True):
        torch._foreach_copy_(list(packed), list(group))
    return block, lists


def unpack_together(block: Tensor, plans: Iterable[tuple[torch.dtype, Shapes]]) -> list[PackedList]:
    """The lists in a block that `pack_together` made.

    Args:
        block: 1-d uint8.
        plans: dtype and shapes of each group.
    """
    lists, start = [], 0
    for dtype, shapes in plans:
        offsets, length = layout(shapes, dtype.itemsize)
        end = start + length * dtype.itemsize
        lists.append(PackedList._over(block[start:end].view(dtype), shapes, offsets))
        start = end
    return lists


def opened(buffer: Tensor, shapes: Shapes) -> PackedList:
    """The list that was pickled as its buffer and shapes."""
    return PackedList.over(buffer, shapes)


def packed_of(items: Any) -> PackedList | None:
    """`items` if it is a `PackedList` each of whose tensors is still its view of the buffer; otherwise None.

    Nothing is read from a device.

    Args:
        items: anything.
    """
    if type(items) is not PackedList or items.buffer is None:
        return None
    buffer = items.buffer
    start, size = buffer.data_ptr(), buffer.dtype.itemsize
    if tuple(map(_shape, items)) != items.shapes or any(map(_requires_grad, items)):
        return None
    if not all(map(Tensor.is_contiguous, items)):
        return None
    # The address of a tensor without elements says nothing.
    placed = zip(map(Tensor.data_ptr, items), items.offsets, strict=True)
    return items if all(at in (0, start + offset * size) for at, offset in placed) else None


def packable(tensor: Any) -> bool:
    """Whether something is a tensor that a buffer can hold: plain, strided, without a gradient to come."""
    return not obstacle((tensor,))


def obstacle(tensors: Sequence[Tensor]) -> str:
    """Why tensors cannot be packed together, or an empty string."""
    if len(tensors) == 0:
        return "there are none, and so there is no dtype."
    for tensor in tensors:
        if type(tensor) is not Tensor:
            return f"one of them is a {type(tensor).__name__}, and only plain tensors can be views of a buffer."
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
            return f"one of them is not plain memory (layout {tensor.layout}, dtype {tensor.dtype})."
        if tensor.requires_grad:
            return "one of them requires a gradient, and a copy would lose it. Detach it first."
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    if len(kinds) > 1:
        return (
            f"they have {len(kinds)} kinds: {', '.join(sorted(f'{d} on {p}' for d, p in kinds))}. Pack each by itself."
        )
    return ""


def layout(shapes: Shapes, itemsize: int) -> tuple[list[int], int]:
    """Where tensors start in a buffer, and how long it is, in elements.

    Args:
        shapes: of the tensors.
        itemsize: bytes of an element.
    """
    step = max(ALIGNMENT // itemsize, 1)
    starts, end = [], 0
    for shape in shapes:
        starts.append(end)
        end += -(-prod(shape) // step) * step
    return starts, end


def views(buffer: Tensor, shapes: Shapes, offsets: Sequence[int]) -> list[Tensor]:
    """Tensors that share the memory of `buffer`, and nothing else: neither a graph nor a count of changes.

    Args:
        buffer: 1-d.
        shapes: of the tensors, which are contiguous.
        offsets: where each starts.
    """
    if len(shapes) > 1 and all(same == shapes[0] for same in shapes):
        stacked = (len(shapes), *shapes[0]), (offsets[1], *_strides(shapes[0]))
        made: Iterable[Tensor] = buffer.as_strided(*stacked).unbind()
    else:
        start = buffer.storage_offset()
        made = map(buffer.as_strided, shapes, map(_strides, shapes), (start + offset for offset in offsets))
    # Views by autograd's account refuse changes in place under some modes; what `data` gives does not.
    return [view.data for view in made]


@lru_cache(4096)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _empty(length: int, dtype: torch.dtype, device: torch.device, shared: bool) -> Tensor:
    """An uninitialised buffer; one to be shared is made where it is to be, or sending it would copy it there."""
    if not shared or not length or device.type != "cpu":
        return torch.empty(length, dtype=dtype, device=device)
    storage = torch.UntypedStorage._new_shared(length * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage, 0, (length,))  # type: ignore[call-overload]
