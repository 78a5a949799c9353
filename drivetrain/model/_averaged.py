"""Averages of a model's weights over training."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, NotFoundError
from drivetrain.logging import print_log
from drivetrain.registry import MODELS
from drivetrain.utils import is_method_overridden

_Slot = tuple[dict[str, Any], str]
"""Where a tensor hangs: the dict of its module and the key, so that a replaced tensor is found too."""


class _Group:
    """Tensors of the average and of the model, pair by pair: of one dtype and device each, so one kernel takes many.

    Parameters are kept in lists from one update to the next, as an optimizer keeps them: looking up 2,000 costs as much
    as a tenth of averaging them. Should the first or last have been replaced, by `load_state_dict(assign=True)` for
    example, all are looked up anew. Buffers, which many modules replace at each step, always are.
    """

    def __init__(self, stays: bool) -> None:
        self.pairs: list[tuple[_Slot, _Slot]] = []
        self._stays = stays
        self._known: tuple[list[Tensor], list[Tensor]] = ([], [])

    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of the average, and those of the model."""
        if self._known[0] and self._holds(0) and self._holds(-1):
            return self._known
        averaged = [holder[key] for (holder, key), _ in self.pairs]
        source = [holder[key] for _, (holder, key) in self.pairs]
        if self._stays:
            self._known = (averaged, source)
        return averaged, source

    def _holds(self, index: int) -> bool:
        (home, key), (other, name) = self.pairs[index]
        averaged, source = self._known
        return home[key] is averaged[index] and other[name] is source[index]


class BaseAveragedModel(nn.Module):
    """A copy of a model whose weights are an average of the model's.

    The first update copies the model; every `interval`-th after it calls `avg_func` for each pair of floating tensors.
    The state dict has `steps` and the model's own keys after `module.`.

    Args:
        model: the model to average.
        interval: updates between two averagings.
        device: where the copy lives; the model's device by default.
        update_buffers: average floating buffers too; otherwise they are copied at every update.

    Raises:
        ArgumentError: `interval` is not positive.
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        interval: int = 1,
        device: torch.device | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__()
        if interval <= 0:
            raise ArgumentError(f"interval, the updates between two averagings, must be positive, got {interval!r}.")
        self.module = copy.deepcopy(model).requires_grad_(False)
        if device is not None:
            self.module = self.module.to(device)
        self.interval = interval
        self.update_buffers = update_buffers
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long, device="cpu"))
        self._known: tuple[int, Tensor | None, int] = (0, self.steps, self.steps._version)
        self._source: nn.Module | None = None
        self._pairs: list[_Group] = []
        self._copied: list[_Group] = []

    @property
    def avg_parameters(self) -> dict[str, Tensor]:
        """The averaged tensors by the model's own names: parameters, and with `update_buffers` also buffers."""
        if self.update_buffers:
            return dict(self.module.state_dict(keep_vars=True))
        return dict(self.module.named_parameters())

    @abstractmethod
    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Bring one averaged tensor up to date, in place.

        Args:
            averaged_param: the average so far.
            source_param: the model's tensor, on the same device.
            steps: updates before this one.
        """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged model."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the present weights of `model` into the average.

        Args:
            model: the model being trained. Between updates its modules and parameters must stay the same objects, as
                for an optimizer; buffers may be replaced.

        Raises:
            NotFoundError: the model lacks a tensor that the average has.
        """
        if self._source is not model:
            self._pair_up(model)
        steps = self._updates_made()
        if steps == 0 or steps % self.interval == 0:
            for group in self._pairs:
                self._average(*group.tensors(), steps)
        for group in self._copied:
            torch._foreach_copy_(*group.tensors())
        counter = self.steps.add_(1)
        self._known = (steps + 1, counter, counter._version)

    def _updates_made(self) -> int:
        """`steps` as an int; the tensor, which stays on the CPU, is read only where somebody else has written it."""
        count, tensor, version = self._known
        return count if tensor is self.steps and version == self.steps._version else int(self.steps)

    def _average(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """Average tensors of one dtype and device pair."""
        if steps == 0:
            torch._foreach_copy_(averaged, source)
        elif averaged[0].is_floating_point():
            home = averaged[0].device
            self._average_all(averaged, source if source[0].device == home else [x.to(home) for x in source], steps)

    def _average_all(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        for averaged_param, source_param in zip(averaged, source, strict=True):
            self.avg_func(averaged_param, source_param, steps)

    def _pair_up(self, model: nn.Module) -> None:
        """Find for every averaged tensor the slot of its source, grouped so that one kernel takes many."""
        own, theirs = (_slots(root, self.update_buffers) for root in (self.module, model))
        missing = [name for name in own if name not in theirs]
        if missing:
            raise NotFoundError(
                f"{type(self).__name__} averages {missing[:3]}, which {type(model).__name__} does not have. Update it "
                "with the model it was made from, unwrapped."
            )
        self._pairs = _grouped((slot, theirs[name]) for name, slot in own.items())
        buffers = [] if self.update_buffers else zip(_buffer_slots(self.module), _buffer_slots(model), strict=True)
        self._copied = _grouped(buffers)
        # Not through nn.Module.__setattr__, which would make the model a child and save it.
        object.__setattr__(self, "_source", model)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BaseAveragedModel:
        steps = self.steps
        super()._apply(fn, recurse)
        self.steps = steps
        self._forget_source()
        return self

    def _forget_source(self) -> None:
        object.__setattr__(self, "_source", None)
        self._pairs, self._copied = [], []

    def __getstate__(self) -> dict[str, Any]:
        """The state without the link to the model in training, which a copy must not share."""
        return {**self.__dict__, "_source": None, "_pairs": [], "_copied": [], "_known": (0, None, 0)}


class _WeightedAverage(BaseAveragedModel):
    """An average that moves a fraction of the way to the model at each update, many tensors in one kernel."""

    _one_by_one: bool

    @abstractmethod
    def _weight(self, steps: int) -> float:
        """The fraction, given the number of updates so far."""

    def _move(self, averaged: list[Tensor], source: list[Tensor], weight: float) -> None:
        torch._foreach_lerp_(averaged, source, weight)

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move `averaged_param` towards `source_param`, in place.

        Args:
            averaged_param: the average so far.
            source_param: the model's tensor, on the same device.
            steps: updates before this one.
        """
        self._move([averaged_param], [source_param], self._weight(steps))

    def _average_all(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        if self._one_by_one:
            super()._average_all(averaged, source, steps)
        else:
            self._move(averaged, source, self._weight(steps))

    def _pair_up(self, model: nn.Module) -> None:
        super()._pair_up(model)
        self._one_by_one = is_method_overridden("avg_func", _WeightedAverage, self)


@MODELS.register_module()
class StochasticWeightAverage(_WeightedAverage):
    """The plain mean of all weights seen (Izmailov et al., UAI 2018).

    Args: see `BaseAveragedModel`.
    """

    def _weight(self, steps: int) -> float:
        return 1 / (steps // self.interval + 1)

    def _move(self, averaged: list[Tensor], source: list[Tensor], weight: float) -> None:
        # Not lerp, which rounds otherwise from a weight of one half on: the numbers of the contract are these.
        torch._foreach_add_(averaged, torch._foreach_sub(source, averaged), alpha=weight)


@MODELS.register_module()
class ExponentialMovingAverage(_WeightedAverage):
    """Exponential moving average: `average = (1 - momentum) * average + momentum * model`.

    Args:
        model: the model to average.
        momentum: weight of the model at each update, inside (0, 1). Beware: this is one minus what others call decay.
        interval: updates between two averagings.
        device: where the copy lives; the model's device by default.
        update_buffers: average floating buffers too; otherwise they are copied at every update.

    Raises:
        ArgumentError: the momentum is not inside (0, 1).
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        interval: int = 1,
        device: torch.device | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        if not 0.0 < momentum < 1.0:
            raise ArgumentError(f"momentum must lie strictly between 0 and 1, got {momentum!r}.")
        if momentum > 0.5:
            print_log(
                f"momentum={momentum} gives the newest weights more say than all before them. It is the weight of the "
                f"model, one minus what is called decay elsewhere: did you mean {1 - momentum:.6g}?",
                logger="current",
                level=30,
            )
        self.momentum = momentum

    def _weight(self, steps: int) -> float:
        return self.momentum


@MODELS.register_module()
class MomentumAnnealingEMA(ExponentialMovingAverage):
    """Moving average whose momentum falls from 1 as `gamma / (gamma + steps)`, down to `momentum`.

    Args:
        model: the model to average.
        momentum: the smallest weight of the model, inside (0, 1).
        gamma: updates after which the momentum is one half.
        interval: updates between two averagings.
        device: where the copy lives; the model's device by default.
        update_buffers: average floating buffers too; otherwise they are copied at every update.

    Raises:
        ArgumentError: `gamma` is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        gamma: int = 100,
        interval: int = 1,
        device: torch.device | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum, interval, device, update_buffers)
        if gamma <= 0:
            raise ArgumentError(f"gamma must be positive, got {gamma!r}.")
        self.gamma = gamma

    def _weight(self, steps: int) -> float:
        return max(self.momentum, self.gamma / (self.gamma + steps))


def _grouped(pairs: Iterable[tuple[_Slot, _Slot]]) -> list[_Group]:
    """Pairs of slots, gathered by dtype and device of both sides, parameters apart from buffers."""
    groups: dict[Any, _Group] = {}
    for pair in pairs:
        here, there = (holder[key] for holder, key in pair)
        stays = isinstance(here, nn.Parameter)
        kind = (stays, here.dtype, here.device, there.dtype, there.device)
        groups.setdefault(kind, _Group(stays)).pairs.append(pair)
    return list(groups.values())


def _slots(root: nn.Module, buffers: bool) -> dict[str, _Slot]:
    """Slots of all parameters, and of the persistent buffers if asked; a tensor shared by modules counts once."""
    found: dict[str, _Slot] = {}
    seen: set[int] = set()
    for prefix, module in root.named_modules():
        for holder, key in _own_slots(module, buffers):
            if id(holder[key]) not in seen:
                seen.add(id(holder[key]))
                found[f"{prefix}.{key}" if prefix else key] = (holder, key)
    return found


def _own_slots(module: nn.Module, buffers: bool) -> Iterator[_Slot]:
    for key, param in module._parameters.items():
        if param is not None:
            yield module._parameters, key
    for key, buffer in module._buffers.items() if buffers else ():
        if buffer is not None and key not in module._non_persistent_buffers_set:
            yield module._buffers, key


def _buffer_slots(root: nn.Module) -> list[_Slot]:
    holders = (module._buffers for module in root.modules())
    return [(holder, key) for holder in holders for key, buffer in holder.items() if buffer is not None]
