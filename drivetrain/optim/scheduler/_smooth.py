"""The curves that glide, each written once; `param_name` says which setting follows it.

Each is in chained form: the next value comes from the group's present value, so that schedules multiply. The closed
forms stand in the docstrings, with t the step since `begin` and b the value at the start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError
from drivetrain.registry import PARAM_SCHEDULERS

from ._base import INF, OptimizerType, _ParamScheduler

if TYPE_CHECKING:
    from typing_extensions import Self


@PARAM_SCHEDULERS.register_module()
class LinearParamScheduler(_ParamScheduler):
    """Multiplies by a factor that moves evenly from `start_factor` to `end_factor`.

    b * (start + (end - start) * t / total_iters), where the last step, `end - 1`, has `end_factor`.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        start_factor: above 0, at most 1.
        end_factor: from 0 to 1.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.

    Attributes:
        total_iters: steps from the first to the last factor, `end - begin - 1`.

    Raises:
        ArgumentError: a factor is out of range, or see `_ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self._check_factor("start_factor", start_factor, zero=False)
        self._check_factor("end_factor", end_factor, zero=True)
        self._check_window(begin, end)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return [value * self.start_factor for value in self._present()]
        rise = self.end_factor - self.start_factor
        factor = 1.0 + rise / (self.total_iters * self.start_factor + (self.last_step - 1) * rise)
        return [value * factor for value in self._present()]


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingParamScheduler(_ParamScheduler):
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
    ) -> None:
        if eta_min is None and eta_min_ratio is None:
            eta_min = 0.0
        elif eta_min is not None and eta_min_ratio is not None:
            raise ArgumentError(
                f"give either eta_min or eta_min_ratio, got eta_min={eta_min}, eta_min_ratio={eta_min_ratio}."
            )
        self._check_window(begin, end)
        self.T_max = self._check_period(T_max, begin, end)
        self.eta_min = eta_min
        self.eta_min_ratio = eta_min_ratio
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

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

    def _get_value(self) -> list[Any]:
        values = self._present()
        if self.last_step == 0:
            return values
        minima = self._minima()
        if (self.last_step - 1 - self.T_max) % (2 * self.T_max) == 0:
            # At the minimum the quotient of the chained form is 0 / 0: start the rise from the base value.
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                value + (base - minimum) * rise / 2
                for value, base, minimum in zip(values, self.base_values, minima, strict=False)
            ]
        quotient = (1 + math.cos(math.pi * self.last_step / self.T_max)) / (
            1 + math.cos(math.pi * (self.last_step - 1) / self.T_max)
        )
        return [quotient * (value - minimum) + minimum for value, minimum in zip(values, minima, strict=False)]

    def _minima(self) -> list[Any]:
        if self.eta_min_ratio is None:
            return [self.eta_min] * len(self.base_values)
        return [base * self.eta_min_ratio for base in self.base_values]

    @classmethod
    def _check_period(cls, T_max: int | None, begin: int, end: int) -> int:
        if T_max is None and end == INF:
            raise ArgumentError(f"{cls.__name__} needs T_max, the steps to the minimum, or end, where it stops.")
        period = end - begin if T_max is None else T_max
        if not hasattr(period, "__float__") or period <= 0:
            raise ArgumentError(f"{cls.__name__}: T_max must be a positive number of steps, got {T_max!r}.")
        return period


@PARAM_SCHEDULERS.register_module()
class ExponentialParamScheduler(_ParamScheduler):
    """Multiplies by `gamma` at each step.

    b * gamma ** t. Converted from epochs to iterations it multiplies at each iteration: `gamma` stays as it is.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        gamma: the factor.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        gamma: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return self._present()
        return [value * self.gamma for value in self._present()]


@PARAM_SCHEDULERS.register_module()
class PolyParamScheduler(_ParamScheduler):
    """Falls to `eta_min` as a power of the steps left.

    eta_min + (b - eta_min) * (1 - t / total_iters) ** power.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        eta_min: the value of the last step, `end - 1`.
        power: the exponent.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.

    Attributes:
        total_iters: steps to the minimum, `end - begin - 1`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        eta_min: float = 0,
        power: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self._check_window(begin, end)
        self.eta_min = eta_min
        self.power = power
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return self._present()
        share = (1 - 1 / (self.total_iters - self.last_step + 1)) ** self.power
        return [(value - self.eta_min) * share + self.eta_min for value in self._present()]
