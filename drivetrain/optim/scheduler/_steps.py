"""The curves that jump, each written once; `param_name` says which setting follows it.

Each is in chained form: the next value comes from the group's present value, so that schedules multiply. The closed
forms stand in the docstrings, with t the step since `begin` and b the value at the start.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.registry import PARAM_SCHEDULERS
from drivetrain.typing import StateDict

from ._base import INF, Curve, OptimizerType
from ._sharing import Move

if TYPE_CHECKING:
    from typing_extensions import Self


@PARAM_SCHEDULERS.register_module()
class ConstantParamScheduler(Curve):
    """Multiplies by `factor` from `begin` to `end`, where the value comes back in the last step.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        factor: above 0, at most 1.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Attributes:
        total_iters: steps between the first and the last, `end - begin - 1`.

    Raises:
        ArgumentError: `factor` is out of range, or see `_ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        factor: float = 1.0 / 3,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        *,
        by: str | None = None,
    ) -> None:
        self._check_factor("factor", factor, zero=False)
        self._check_window(begin, end)
        self.factor = factor
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    def _move(self) -> Move | None:
        if self.last_step == 0:
            factor = self.factor
        elif self.last_step == self.total_iters:
            factor = 1.0 / self.factor
        else:
            return None
        return lambda value, _: value * factor


@PARAM_SCHEDULERS.register_module()
class MultiStepParamScheduler(Curve):
    """Multiplies by `gamma` at each milestone.

    b * gamma ** (number of milestones <= t).

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        milestones: steps since `begin`, in any order; one that occurs twice counts twice.
        gamma: the factor.
        last_step: step before the present one, -1 at the start.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Attributes:
        milestones: how often each milestone occurs.

    Raises:
        ArgumentError: a milestone is negative, or see `_ParamScheduler`.
        ArgumentTypeError: `milestones` is not a list of numbers.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        milestones: list[int],
        gamma: float = 0.1,
        last_step: int = -1,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        verbose: bool = False,
        *,
        by: str | None = None,
    ) -> None:
        _check_milestones(milestones)
        self._check_number("gamma", gamma)
        self.milestones: dict[int, int] = dict(Counter(milestones))
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    @classmethod
    def build_iter_from_epoch(  # type: ignore[override]
        cls,
        *args: Any,
        milestones: list[int],
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule by iteration from one in epochs; `milestones` (epochs) are converted too."""
        cls._check_conversion(by_epoch, epoch_length)
        _check_milestones(milestones)
        steps = [int(milestone * epoch_length) for milestone in milestones]  # type: ignore[operator]
        return super().build_iter_from_epoch(
            *args, milestones=steps, begin=begin, end=end, by_epoch=by_epoch, epoch_length=epoch_length, **kwargs
        )

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state; milestones that were saved as a `Counter` become a plain dict."""
        super().load_state_dict(state_dict)
        self.milestones = dict(self.milestones)

    def _move(self) -> Move | None:
        count = self.milestones.get(self.last_step, 0)
        factor = self.gamma**count
        return (lambda value, _: value * factor) if count else None


@PARAM_SCHEDULERS.register_module()
class StepParamScheduler(Curve):
    """Multiplies by `gamma` every `step_size` steps.

    b * gamma ** floor(t / step_size).

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        step_size: steps between two changes, at least 1.
        gamma: the factor.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Raises:
        ArgumentError: `step_size` is not positive, or see `_ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        step_size: int,
        gamma: float = 0.1,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        *,
        by: str | None = None,
    ) -> None:
        if not hasattr(step_size, "__float__") or step_size <= 0:
            name = type(self).__name__
            raise ArgumentError(f"{name}: step_size must be a positive number of steps, got {step_size!r}.")
        self._check_number("gamma", gamma)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    @classmethod
    def build_iter_from_epoch(  # type: ignore[override]
        cls,
        *args: Any,
        step_size: int,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule by iteration from one in epochs; `step_size` (epochs) is converted too."""
        cls._check_conversion(by_epoch, epoch_length)
        steps = step_size * epoch_length  # type: ignore[operator]
        return super().build_iter_from_epoch(
            *args, step_size=steps, begin=begin, end=end, by_epoch=by_epoch, epoch_length=epoch_length, **kwargs
        )

    def _move(self) -> Move | None:
        if self.last_step == 0 or self.last_step % self.step_size != 0:
            return None
        return lambda value, _: value * self.gamma


def _check_milestones(milestones: Any) -> None:
    if not hasattr(milestones, "__iter__") or not all(hasattr(m, "__float__") for m in milestones):
        raise ArgumentTypeError(f"milestones must be a list of steps such as [8, 11], got {milestones!r}.")
    if any(milestone < 0 for milestone in milestones):
        raise ArgumentError(f"milestones must not be negative, got {milestones!r}.")
