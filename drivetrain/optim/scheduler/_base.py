"""The mechanism of every schedule: which step it is, and who gets the value."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.optim.optimizer import BaseOptimWrapper
from drivetrain.typing import StateDict

from ._sharing import Move, Sharing

if TYPE_CHECKING:
    from typing_extensions import Self

OptimizerType = Optimizer | BaseOptimWrapper
"""What a schedule steers."""

INF = int(1e9)
"""The `end` of a schedule that has none."""

_NO_STATE = ("optimizer", "_sharing")

UNITS = ("epoch", "iteration", "update")
"""What a schedule can count."""


class _ParamScheduler:
    """Base of schedules: sets one setting of all parameter groups, step by step.

    A schedule acts in the steps `begin <= step < end`, counted from 0; outside it leaves the groups alone. A value is
    computed from the group's *present* value, so several schedules of one setting multiply. A subclass gives
    `_get_value`, the values of step `last_step`, counted from `begin`. `by_epoch` tells who calls `step` whether a step
    is an epoch or an iteration.

    Args:
        optimizer: an optimizer or an optimizer wrapper; base settings of a wrapper follow the schedule.
        param_name: the setting, a key of the parameter groups such as 'lr' or 'weight_decay'.
        begin: the first step in which the schedule acts.
        end: the first step in which it acts no more.
        last_step: the step before the present one, when a run goes on without a saved state; -1 at the start.
        by_epoch: whether a step is an epoch (else an iteration).
        verbose: whether to log every value.
        by: what a step is: 'epoch', 'iteration', or 'update' of the optimizer, which comes once in an accumulation
            window and not at all where mixed precision leaves one out. By default `by_epoch` tells.

    Attributes:
        base_values: the settings at the start, one a group.

    Raises:
        ArgumentTypeError: `optimizer` is neither, or a step is no number.
        ArgumentError: the window is empty or begins before 0, or `by` is unknown or contradicts `by_epoch`.
        NotFoundError: the groups have no such setting.
    """

    by: str = "epoch"
    _sharing: Sharing

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        *,
        by: str | None = None,
    ) -> None:
        groups = _groups_of(optimizer)
        self._check_window(begin, end)
        self.by = self._check_unit(by, by_epoch)
        self.optimizer = optimizer
        self.param_name = param_name
        self.begin = begin
        self.end = end
        self.by_epoch = self.by == "epoch"
        self.base_values = [_base_value(group, param_name, resuming=last_step != -1) for group in groups]
        self.last_step = last_step
        self._global_step = -1
        self.verbose = verbose
        self._last_value = [group[param_name] for group in groups]
        self._sharing = Sharing()
        self.step()

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule that steps by iteration from one given in epochs.

        Args:
            args: as for the class.
            begin: in epochs, fractions allowed.
            end: in epochs, fractions allowed.
            by_epoch: must be True: the arguments are in epochs.
            epoch_length: number of iterations of an epoch.
            kwargs: as for the class.

        Raises:
            ArgumentError: `by_epoch` is False, or `epoch_length` is not a positive int.
        """
        cls._check_conversion(by_epoch and kwargs.pop("by", None) in (None, "epoch"), epoch_length)
        length: Any = epoch_length
        end = end if end == INF else int(end * length)
        schedule: Any = cls  # a schedule with a fixed setting takes no param_name
        return schedule(*args, begin=int(begin * length), end=end, by_epoch=False, **kwargs)

    def step(self) -> None:
        """Go on by one step, and set the groups if the schedule acts in it."""
        self._global_step += 1
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._set_values(self._get_value())

    def get_last_value(self) -> list[Any]:
        """The values that this schedule has set last, one a group (those it found, before its first step)."""
        return self._last_value

    def print_value(self, is_verbose: bool, group: int, value: float) -> None:
        """Log a value.

        Args:
            is_verbose: do nothing unless it is True.
            group: index of the parameter group.
            value: what it was set to.
        """
        if is_verbose:
            print_log(f"{self.param_name} of group {group} is set to {value:.4e}.", "current", logging.INFO)

    def state_dict(self) -> StateDict:
        """Everything but the optimizer, in plain containers."""
        return {key: value for key, value in self.__dict__.items() if key not in _NO_STATE}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state.

        Raises:
            ArgumentError: it is the state of another kind of schedule.
        """
        strangers = [key for key in state_dict if key not in self.__dict__]
        if strangers:
            raise ArgumentError(
                f"this state is not one of a {type(self).__name__}: it has {', '.join(map(repr, strangers))}. Were the "
                "schedules given in another order, or of other types, when it was saved?"
            )
        self.__dict__.update(state_dict)
        if self.by_epoch != (self.by == "epoch"):  # a state that tells by_epoch alone
            self.by = "epoch" if self.by_epoch else "iteration"

    def _get_value(self) -> list[Any]:
        """The values for step `last_step`, one a group, from the groups' present values."""
        raise NotImplementedError(f"{type(self).__name__} must define _get_value.")

    def _set_values(self, values: list[Any]) -> None:
        self._assign(self.optimizer.param_groups, values)
        self._last_value = values
        if self.verbose:
            for index, value in enumerate(values):
                self.print_value(True, index, value)

    def _assign(self, groups: list[dict[str, Any]], values: list[Any]) -> None:
        name = self.param_name
        if self._sharing.plain:
            for group, value in zip(groups, values, strict=False):
                group[name] = value
            return
        for group, value in zip(groups, values, strict=False):
            # A tensor is filled in place: a captured graph or a capturable optimizer holds on to it.
            if type(group[name]) is Tensor:
                group[name].fill_(value)
            else:
                group[name] = value

    @classmethod
    def _check_window(cls, begin: Any, end: Any) -> None:
        for name, value in (("begin", begin), ("end", end)):
            if not hasattr(value, "__float__"):
                raise ArgumentTypeError(f"{cls.__name__}: {name} must be an int, got {value!r}.")
        if begin < 0:
            raise ArgumentError(f"{cls.__name__}: begin must not be negative, got {begin}.")
        if end <= begin:
            raise ArgumentError(
                f"{cls.__name__}: end must be larger than begin, got begin={begin}, end={end}. It acts from begin to "
                "end, end not included."
            )

    @classmethod
    def _check_unit(cls, by: Any, by_epoch: bool) -> str:
        if by is None:
            return "epoch" if by_epoch else "iteration"
        if by not in UNITS:
            raise ArgumentError(
                f"{cls.__name__}: by must be {', '.join(map(repr, UNITS[:-1]))} or {UNITS[-1]!r}, got {by!r}."
                f"{did_you_mean(by, UNITS)}"
            )
        if by == "epoch" and not by_epoch:
            raise ArgumentError(f"{cls.__name__}: by='epoch' and by_epoch=False contradict each other: give one.")
        unit: str = by
        return unit

    @classmethod
    def _check_conversion(cls, by_epoch: Any, epoch_length: Any) -> None:
        if not by_epoch:
            raise ArgumentError(
                f"{cls.__name__}: only a schedule given in epochs can be converted to iterations, and by_epoch is "
                "False, or by says otherwise."
            )
        if type(epoch_length) is not int or epoch_length < 1:
            raise ArgumentError(
                f"{cls.__name__}: converting epochs to iterations needs epoch_length, the number of iterations of an "
                f"epoch, as a positive int; got {epoch_length!r}."
            )

    @classmethod
    def _check_number(cls, name: str, value: Any, *, least: float | None = None) -> None:
        """Check a number that must not be below `least`."""
        if not hasattr(value, "__float__"):
            raise ArgumentTypeError(f"{cls.__name__}: {name} must be a number, got {value!r}.")
        if least is not None and not value >= least:
            raise ArgumentError(f"{cls.__name__}: {name} must not be below {least}, got {value}.")

    @classmethod
    def _check_factor(cls, name: str, factor: float, *, zero: bool) -> None:
        """Check a multiplicative factor: at most 1, and above 0 (from 0 on, where `zero` is allowed)."""
        cls._check_number(name, factor)
        if not (0 <= factor <= 1) or (factor == 0 and not zero):
            span = "from 0 to 1" if zero else "above 0 and at most 1 (a value of 0 could not be multiplied back)"
            raise ArgumentError(f"{cls.__name__}: {name} must be {span}, got {factor}.")


class Curve(_ParamScheduler):
    """A schedule whose values are computed by `_move`, once for all groups that have one value and one curve.

    A subclass gives `_move` for step `last_step`, and in `_traits` what it looks up by the group's index.
    """

    def _move(self) -> Move | None:
        """How the value of a group moves in step `last_step`; None where it stays."""
        raise NotImplementedError(f"{type(self).__name__} must define _move or _get_value.")

    def _traits(self) -> list[list[Any]]:
        """Lists of what `_move` looks up, one entry a group."""
        return []

    def _get_value(self) -> list[Any]:
        name = self.param_name
        present = [group[name] for group in self.optimizer.param_groups]
        move = self._move()
        return present if move is None else self._sharing.apply(move, present, self._traits())


def _groups_of(optimizer: Any) -> list[dict[str, Any]]:
    if not isinstance(optimizer, Optimizer | BaseOptimWrapper):
        raise ArgumentTypeError(
            f"a schedule steers a torch.optim.Optimizer or an OptimWrapper, got a {type(optimizer).__name__}: "
            f"{optimizer!r}."
        )
    groups: Any = optimizer.param_groups
    if hasattr(groups, "items"):
        names = list(groups)
        raise ArgumentTypeError(
            f"a schedule steers one optimizer, and this OptimWrapperDict holds {names}: build one schedule for each, "
            "with optim_wrapper['name']."
        )
    return groups


def _base_value(group: dict[str, Any], name: str, *, resuming: bool) -> Any:
    initial = f"initial_{name}"
    if name not in group:
        raise _unknown_setting(group, name)
    if resuming and initial not in group:
        raise NotFoundError(
            f"last_step was given, so {initial!r} is needed in every parameter group: load the optimizer's state "
            "first, or use load_state_dict of the schedule instead."
        )
    value = group[name]
    return group.setdefault(initial, value.clone() if type(value) is Tensor else value)


def _unknown_setting(group: Mapping[str, Any], name: str) -> NotFoundError:
    settings = [key for key in group if key != "params"]
    return NotFoundError(
        f"the parameter groups have no {name!r}; they have {', '.join(settings)}.{did_you_mean(name, settings)}"
        + (" Steer the first beta with a schedule for momentum." if name == "momentum" and "betas" in group else "")
    )


def signature_for_setting(cls: Any, mixin: Any) -> inspect.Signature:
    """The arguments of a schedule class whose setting `mixin` fixes: those of its curve without `param_name`."""
    init = cls.__init__
    if init is mixin.__init__:
        init = super(mixin, cls).__init__
    _, *parameters = inspect.signature(init).parameters.values()
    return inspect.Signature([parameter for parameter in parameters if parameter.name != "param_name"])
