"""The one-cycle curve, written once; `param_name` says which setting follows it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.registry import PARAM_SCHEDULERS
from drivetrain.typing import StateDict

from ._base import INF, Curve, OptimizerType, _groups_of
from ._sharing import Move

if TYPE_CHECKING:
    from typing_extensions import Self

_STRATEGIES = ("cos", "linear")
_FOREIGN = ("anneal_func", "_schedule_phases")
"""What others write into the state of a one-cycle schedule, and this one works out from its arguments."""


@PARAM_SCHEDULERS.register_module()
class OneCycleParamScheduler(Curve):
    """Rises from `eta_max / div_factor` to `eta_max`, and falls far below where it began.

    The values are absolute: those of the optimizer, and what other schedules do meanwhile, are overridden. Smith and
    Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018, with a fall
    that starts where the rise ends unless `three_phase` is set. After `total_steps` the value stays.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        eta_max: the peak, one number or one a group; it must be given.
        total_steps: steps of the whole cycle; `end - begin` if it is None.
        pct_start: share of the steps in which the value rises.
        anneal_strategy: 'cos' or 'linear', the form of rise and fall.
        div_factor: the start is `eta_max / div_factor`.
        final_div_factor: the last value is the start divided by this.
        three_phase: fall to the start first, in as many steps as the rise took, and then to the last value.
        begin: first step in which it acts.
        end: first step in which it acts no more.
        last_step: step before the present one, -1 at the start.
        by_epoch: whether a step is an epoch.
        verbose: whether to log every value.
        by: 'epoch', 'iteration' or 'update'; see `_ParamScheduler`.

    Raises:
        ArgumentError: `eta_max` is missing, another argument is out of range, or see `_ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        eta_max: float = 0,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
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
        self._check_form(pct_start, anneal_strategy, div_factor, final_div_factor)
        self._peaks = self._check_peaks(eta_max, len(groups))
        self.eta_max = eta_max
        self.total_steps = self._check_total(total_steps, begin, end)
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase
        if last_step == -1:
            for group, peak in zip(groups, self._peaks, strict=True):
                if param_name in group:
                    start = group[f"initial_{param_name}"] = peak / div_factor
                    # Others look the two ends of the cycle up in the optimizer's state, torch and MMEngine among them.
                    group[f"max_{param_name}"], group[f"min_{param_name}"] = peak, start / final_div_factor
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, by=by)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: int = 0,
        end: int = INF,
        total_steps: int | None = None,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build a schedule by iteration from one in epochs; `total_steps` (epochs) is converted too."""
        cls._check_conversion(by_epoch, epoch_length)
        steps = None if total_steps is None else int(total_steps * epoch_length)  # type: ignore[operator]
        return super().build_iter_from_epoch(
            *args, begin=begin, end=end, total_steps=steps, by_epoch=by_epoch, epoch_length=epoch_length, **kwargs
        )

    @property
    def anneal_func(self) -> Callable[[float, float, float], float]:
        """The form of rise and fall: of its two ends and the share of the way, the value there."""
        return self._annealing_cos if self.anneal_strategy == "cos" else self._annealing_linear

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state; a function and phases that another engine saved with it are passed over."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in _FOREIGN})

    def _traits(self) -> list[list[Any]]:
        return [self.base_values, self._peaks]

    def _move(self) -> Move | None:
        if self.last_step >= self.total_steps:
            return None
        start, stop, share = self._place()
        anneal = self.anneal_func
        return lambda _, group: anneal(self._mark(start, group), self._mark(stop, group), share)

    def _place(self) -> tuple[str, str, float]:
        """The marks between which the present step lies, and the share of the way."""
        before, step = 0.0, self.last_step
        *earlier, last = self._phases()
        for phase in earlier:
            if step <= phase[0]:
                last = phase
                break
            before = phase[0]
        after, start, stop = last
        return start, stop, (step - before) / (after - before) if after != before else 1.0

    def _phases(self) -> list[tuple[float, str, str]]:
        """The last step of each phase, and the marks it leads from and to."""
        rise, last = self.pct_start * self.total_steps, self.total_steps - 1
        if self.three_phase:
            return [(rise - 1, "initial", "peak"), (2 * rise - 2, "peak", "initial"), (last, "initial", "last")]
        return [(rise - 1, "initial", "peak"), (last, "peak", "last")]

    def _mark(self, name: str, group: int) -> Any:
        if name == "peak":
            return self._peaks[group]
        initial = self.base_values[group]
        return initial if name == "initial" else initial / self.final_div_factor

    @staticmethod
    def _annealing_cos(start: float, end: float, pct: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * pct) + 1)

    @staticmethod
    def _annealing_linear(start: float, end: float, pct: float) -> float:
        return (end - start) * pct + start

    @classmethod
    def _check_form(cls, pct_start: Any, strategy: Any, div_factor: Any, final_div_factor: Any) -> None:
        cls._check_number("pct_start", pct_start)
        if not 0 <= pct_start <= 1:
            raise ArgumentError(
                f"{cls.__name__}: pct_start, the share of rising steps, must be from 0 to 1, got {pct_start}."
            )
        if strategy not in _STRATEGIES:
            raise ArgumentError(
                f"{cls.__name__}: anneal_strategy must be 'cos' or 'linear', got {strategy!r}."
                f"{did_you_mean(strategy, _STRATEGIES)}"
            )
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            cls._check_number(name, factor)
            if factor <= 0:
                raise ArgumentError(f"{cls.__name__}: {name} must be above 0, got {factor}.")

    @classmethod
    def _check_peaks(cls, eta_max: Any, groups: int) -> list[Any]:
        peaks = list(eta_max) if type(eta_max) in (list, tuple) else [eta_max] * groups
        if len(peaks) != groups:
            raise ArgumentError(
                f"{cls.__name__}: eta_max has {len(peaks)} values for {groups} parameter groups. Give one number, or "
                "one for each group (an optimizer wrapper with several groups has its base settings as the last)."
            )
        for peak in peaks:
            cls._check_number("eta_max", peak)
            if not peak > 0:
                raise ArgumentError(f"{cls.__name__}: eta_max, the peak, must be given and be above 0, got {peak}.")
        return peaks

    @classmethod
    def _check_total(cls, total_steps: Any, begin: int, end: int) -> int:
        if total_steps is None and end == INF:
            raise ArgumentError(f"{cls.__name__} needs total_steps, the length of the cycle, or end, where it stops.")
        total: int = end - begin if total_steps is None else total_steps
        if type(total) is not int or total <= 0:
            raise ArgumentError(f"{cls.__name__}: total_steps must be a positive int, got {total!r}.")
        if end != INF and end - begin > total:
            print_log(
                f"{cls.__name__} is over after total_steps={total} and acts for {end - begin} steps (begin={begin}, "
                f"end={end}): from then on the value stays at its lowest. Leave total_steps out to use them all.",
                "current",
                logging.WARNING,
            )
        return total
