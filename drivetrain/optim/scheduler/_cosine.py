"""The curves along a cosine, each written once; `param_name` says which setting follows it.

Each is in chained form: the next value comes from the group's present value, so that schedules multiply. The closed
forms stand in the docstrings, with t the step since `begin` and b the value at the start.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.registry import PARAM_SCHEDULERS

from ._base import INF, Curve, OptimizerType
from ._sharing import Move

if TYPE_CHECKING:
    from typing_extensions import Self


class _ToMinimum(Curve):
    """Falls along a cosine to a minimum that is one number, or a share of each group's value at the start."""

    eta_min: float | None
    eta_min_ratio: float | None

    def _set_minimum(self, eta_min: float | None, eta_min_ratio: float | None) -> None:
        if eta_min is not None and eta_min_ratio is not None:
            raise ArgumentError(
                f"give either eta_min or eta_min_ratio, got eta_min={eta_min}, eta_min_ratio={eta_min_ratio}."
            )
        if eta_min_ratio is None:
            eta_min = 0.0 if eta_min is None else eta_min
            self._check_number("eta_min", eta_min)
        else:
            self._check_number("eta_min_ratio", eta_min_ratio)
        self.eta_min = eta_min
        self.eta_min_ratio = eta_min_ratio

    def _traits(self) -> list[list[Any]]:
        return [self.base_values]

    def _minimum(self, group: int) -> Any:
        return self.eta_min if self.eta_min_ratio is None else self.base_values[group] * self.eta_min_ratio

    def _fall(self, step: int, period: int) -> Move:
        """How a value moves from `step - 1` to `step` of half a cosine of `period` steps."""
        quotient = (1 + math.cos(math.pi * step / period)) / (1 + math.cos(math.pi * (step - 1) / period))

        def move(value: Any, group: int) -> Any:
            minimum = self._minimum(group)
            return quotient * (value - minimum) + minimum

        return move


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingParamScheduler(_ToMinimum):
    """Falls to `eta_min` along half a cosine of `T_max` steps, and rises again after it.

    eta_min + (b - eta_min) * (1 + cos(pi * t / T_max)) / 2. Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent
    with Warm Restarts", 2017, equation 5, without restarts.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        T_max: steps to the minimum; `end - begin` if it is None.
        eta_min: the minimum, 0 if neither it nor the ratio is given.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        eta_min_ratio: the minimum as a share of each group's value at the start, instead of `eta_min`.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Raises:
        ArgumentError: `T_max` is not positive, or neither it nor `end` is given, or both minima are given, or see
            `_ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        T_max: int | None = None,
        eta_min: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        eta_min_ratio: float | None = None,
        *,
        by: str | None = None,
    ) -> None:
        self._check_window(begin, end)
        self.T_max = self._check_period(T_max, begin, end)
        self._set_minimum(eta_min, eta_min_ratio)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        T_max: int | None = None,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule by iteration from one in epochs; `T_max` (epochs) is converted too."""
        cls._check_conversion(by_epoch, epoch_length)
        T_max = None if T_max is None else T_max * epoch_length  # type: ignore[operator]
        return super().build_iter_from_epoch(
            *args, T_max=T_max, begin=begin, end=end, by_epoch=by_epoch, epoch_length=epoch_length, **kwargs
        )

    def _move(self) -> Move | None:
        step, period = self.last_step, self.T_max
        if step == 0:
            return None
        if (step - 1 - period) % (2 * period) == 0:
            # At the minimum the quotient of the chained form is 0 / 0: start the rise from the base value.
            rise = 1 - math.cos(math.pi / period)
            return lambda value, group: value + (self.base_values[group] - self._minimum(group)) * rise / 2
        return self._fall(step, period)

    @classmethod
    def _check_period(cls, T_max: int | None, begin: int, end: int) -> int:
        if T_max is None and end == INF:
            raise ArgumentError(f"{cls.__name__} needs T_max, the steps to the minimum, or end, where it stops.")
        period = end - begin if T_max is None else T_max
        if not hasattr(period, "__float__") or period <= 0:
            raise ArgumentError(f"{cls.__name__}: T_max must be a positive number of steps, got {T_max!r}.")
        return period


@PARAM_SCHEDULERS.register_module()
class CosineRestartParamScheduler(_ToMinimum):
    """Falls towards the minimum along half a cosine, and starts again with the next period.

    eta_min + (w * b - eta_min) * (1 + cos(pi * t / period)) / 2, with t the step since the period's start and w the
    period's weight. After the last period the value stays. Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent
    with Warm Restarts", 2017, equation 5.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        periods: the length of each period, in steps.
        restart_weights: what the value at the start is multiplied by when a period begins, one a period.
        eta_min: the minimum, 0 if neither it nor the ratio is given.
        eta_min_ratio: the minimum as a share of each group's value at the start, instead of `eta_min`.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Attributes:
        cumulative_periods: the step, since `begin`, after each period.

    Raises:
        ArgumentError: a period is not positive, the weights are not as many as the periods, both minima are given, or
            see `_ParamScheduler`.
        ArgumentTypeError: `periods` is not a list of numbers.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        periods: list[int],
        restart_weights: Sequence[float] = (1,),
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        *,
        by: str | None = None,
    ) -> None:
        self._check_periods(periods)
        if len(restart_weights) != len(periods):
            raise ArgumentError(
                f"{type(self).__name__}: give one weight for each period in restart_weights; there are {len(periods)} "
                f"periods, {list(periods)}, and {len(restart_weights)} weights, {list(restart_weights)}."
            )
        self.periods = list(periods)
        self.restart_weights = list(restart_weights)
        self.cumulative_periods = list(accumulate(periods))
        self._set_minimum(eta_min, eta_min_ratio)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    @classmethod
    def build_iter_from_epoch(  # type: ignore[override]
        cls,
        *args: Any,
        periods: list[int],
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule by iteration from one in epochs; `periods` (epochs) are converted too."""
        cls._check_conversion(by_epoch, epoch_length)
        cls._check_periods(periods)
        steps = [int(period * epoch_length) for period in periods]  # type: ignore[operator]
        return super().build_iter_from_epoch(
            *args, periods=steps, begin=begin, end=end, by_epoch=by_epoch, epoch_length=epoch_length, **kwargs
        )

    @staticmethod
    def get_position_from_periods(iteration: int, cumulative_periods: list[int]) -> int | None:
        """Index of the period that holds a step; None after the last.

        Args:
            iteration: the step, from 0.
            cumulative_periods: the step after each period, rising.
        """
        position = bisect_right(cumulative_periods, iteration)
        return position if position < len(cumulative_periods) else None

    def _move(self) -> Move | None:
        position = self.get_position_from_periods(self.last_step, self.cumulative_periods)
        if position is None:
            return None
        period, weight = self.periods[position], self.restart_weights[position]
        step = self.last_step - (self.cumulative_periods[position] - period)
        if step == 0:
            return lambda _, group: self.base_values[group] * weight
        return self._fall(step, period)

    @classmethod
    def _check_periods(cls, periods: Any) -> None:
        if type(periods) not in (list, tuple) or not all(hasattr(period, "__float__") for period in periods):
            raise ArgumentTypeError(
                f"{cls.__name__}: periods must be a list of steps such as [10, 20], got {periods!r}."
            )
        if not periods or any(period <= 0 for period in periods):
            raise ArgumentError(f"{cls.__name__}: periods must be positive numbers of steps, got {periods!r}.")
