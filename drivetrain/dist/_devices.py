"""Which device a message travels on, and moving nests of tensors there and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as torch_dist

from drivetrain.device import get_device
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean

from ._info import is_distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_HOST_BACKENDS = {"gloo", "mpi", "ucc"}


def get_comm_device(group: ProcessGroup | None = None) -> torch.device:
    """Device of the tensors that `group` can send: the CPU if its backend can, else this process's accelerator."""
    if not is_distributed() or "cpu" in backends_by_device(group):
        return torch.device("cpu")
    return torch.device(get_device(), torch.accelerator.current_device_index())


def backends_by_device(group: ProcessGroup | None = None) -> dict[str, str]:
    """Backend by type of device, such as `{'cpu': 'gloo', 'cuda': 'nccl'}`."""
    config = str(torch_dist.get_backend_config(group))
    if ":" not in config:
        return {"cpu" if config in _HOST_BACKENDS else get_device(): config}
    return dict(part.split(":", 1) for part in config.split(","))


def message_device(data: Tensor, group: ProcessGroup | None = None) -> torch.device:
    """Device on which `group` sends `data`: where it is if that device has its own backend, else `get_comm_device`."""
    backend = backends_by_device(group).get(data.device.type)
    native = backend is not None and (data.device.type == "cpu" or backend not in _HOST_BACKENDS)
    return data.device if native else get_comm_device(group)


def get_data_device(data: Tensor | Mapping[Any, Any] | Iterable[Any]) -> torch.device:
    """The one device of all tensors in `data`.

    Args:
        data: a tensor, or mappings and sequences of tensors, nested at will.

    Raises:
        ArgumentError: `data` is empty, or its tensors are on different devices.
        ArgumentTypeError: something in it is neither a tensor nor a container.
    """
    found = dict.fromkeys(tensor.device for tensor in _tensors_of(data))
    if not found:
        raise ArgumentError("data has no tensor: an empty container has no device.")
    if len(found) > 1:
        names = " and ".join(map(str, found))
        raise ArgumentError(f"all tensors of data must be on one device, got tensors on {names}. Move them first.")
    return next(iter(found))


def cast_data_device(
    data: Tensor | Mapping[Any, Any] | Iterable[Any],
    device: torch.device,
    out: Tensor | Mapping[Any, Any] | Iterable[Any] | None = None,
) -> Any:
    """The same nest of tensors on `device`; with `out`, also written into the tensors of that nest.

    Args:
        data: a tensor, or mappings and sequences of tensors, nested at will.
        device: where to.
        out: a nest of the same form whose tensors take over the values.

    Returns:
        The moved nest; `out` where it is given.

    Raises:
        ArgumentTypeError: something in `data` is no tensor and no container, or `out` has another form.
        NotFoundError: a key of `data` is not in `out`.
    """
    kind = type(data)
    if out is not None and type(out) is not kind:
        raise ArgumentTypeError(f"out must have the type of data, {kind.__name__}, got {type(out).__name__}.")
    if issubclass(kind, Tensor):
        return _cast_tensor(data, device, out)
    if issubclass(kind, Mapping):
        return _cast_mapping(data, device, out)
    if issubclass(kind, str) or not issubclass(kind, Iterable):
        raise _not_tensors(data)
    return _cast_sequence(data, device, out)


def _cast_tensor(data: Any, device: torch.device, out: Any) -> Tensor:
    return data.to(device) if out is None else out.copy_(data)


def _cast_mapping(data: Any, device: torch.device, out: Any) -> Any:
    if out is None:
        return type(data)({key: cast_data_device(value, device) for key, value in data.items()})
    for key, value in data.items():
        if key not in out:
            raise NotFoundError(f"out has no key {key!r}, which data has.{did_you_mean(key, out)}")
        cast_data_device(value, device, out[key])
    return out


def _cast_sequence(data: Any, device: torch.device, out: Any) -> Any:
    kind = type(data)
    items = list(data)
    targets = [None] * len(items) if out is None else list(out)
    if len(targets) != len(items):
        raise ArgumentTypeError(f"out must have as many items as data, {len(items)}, got {len(targets)}.")
    moved = [cast_data_device(item, device, target) for item, target in zip(items, targets, strict=True)]
    if hasattr(kind, "_fields"):
        return kind(*moved)
    return kind(moved) if issubclass(kind, (list, tuple, set, frozenset)) else moved


def _tensors_of(data: Any) -> Iterator[Tensor]:
    kind = type(data)
    if issubclass(kind, Tensor):
        yield data
    elif issubclass(kind, str) or not issubclass(kind, Iterable):
        raise _not_tensors(data)
    else:
        for item in data.values() if issubclass(kind, Mapping) else data:
            yield from _tensors_of(item)


def _not_tensors(data: Any) -> ArgumentTypeError:
    return ArgumentTypeError(f"data must be a tensor, or a mapping or sequence of tensors, got {data!r}.")
