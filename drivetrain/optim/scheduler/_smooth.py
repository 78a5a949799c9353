"""The curves that glide, each written once; `param_name` says which setting follows it.

Each is in chained form: the next value comes from the group's present value, so that schedules multiply. The closed
forms stand in the docstrings, with t the step since `begin` and b the value at the start.
"""

from __future__ import annotations

from drivetrain.registry import PARAM_SCHEDULERS

from ._base import INF, Curve, OptimizerType
from ._sharing import Move


@PARAM_SCHEDULERS.register_module()
class LinearParamScheduler(Curve):
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
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

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
        *,
        by: str | None = None,
    ) -> None:
        self._check_factor("start_factor", start_factor, zero=False)
        self._check_factor("end_factor", end_factor, zero=True)
        self._check_window(begin, end)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    def _move(self) -> Move | None:
        factor = self.start_factor
        if self.last_step > 0:
            rise = self.end_factor - self.start_factor
            factor = 1.0 + rise / (self.total_iters * self.start_factor + (self.last_step - 1) * rise)
        return lambda value, _: value * factor


@PARAM_SCHEDULERS.register_module()
class ExponentialParamScheduler(Curve):
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
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.
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
        *,
        by: str | None = None,
    ) -> None:
        self._check_number("gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    def _move(self) -> Move | None:
        return None if self.last_step == 0 else lambda value, _: value * self.gamma


@PARAM_SCHEDULERS.register_module()
class PolyParamScheduler(Curve):
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
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

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
        *,
        by: str | None = None,
    ) -> None:
        self._check_window(begin, end)
        self._check_number("eta_min", eta_min)
        self._check_number("power", power, least=0)
        self.eta_min = eta_min
        self.power = power
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    def _move(self) -> Move | None:
        if self.last_step == 0:
            return None
        low, share = self.eta_min, (1 - 1 / (self.total_iters - self.last_step + 1)) ** self.power
        return lambda value, _: (value - low) * share + low
