"""The schedule that waits for a validation to get worse, written once; `param_name` says which setting it lowers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError, NotFoundError, did_you_mean
from drivetrain.registry import PARAM_SCHEDULERS

from ._base import INF, Curve, OptimizerType, _groups_of
from ._sharing import Move


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauParamScheduler(Curve):
    """Multiplies by `factor` when a metric has not improved for more than `patience` validations.

    It is stepped after each validation, with its metrics: `begin` and `end` count validations.

    Args:
        optimizer: an optimizer or an optimizer wrapper.
        param_name: the setting that is steered.
        monitor: name of the metric that is watched, as the validation gives it.
        rule: 'less' where a smaller metric is a better one, 'greater' otherwise.
        factor: below 1.
        patience: validations without improvement that are put up with.
        threshold: what counts as an improvement: a change by this share of the best value so far, or by this much.
        threshold_rule: 'rel' for a share, 'abs' for an amount.
        cooldown: validations after a reduction in which nothing is counted.
        min_value: lower bound, one number or one a group.
        eps: a reduction by less than this is left out.
        begin: first validation in which it acts.
        end: first validation in which it acts no more.
        last_step: validation before the present one, -1 at the start.
        by_epoch: has no effect.
        verbose: whether to log each reduction.

    Attributes:
        best: the best value of the metric so far.
        num_bad_epochs: validations since, not counting those of a cooldown.
        cooldown_counter: validations left of a cooldown.
        min_values: the lower bounds, one a group.
        rule_worse: a value worse than any.

    Raises:
        ArgumentError: an argument is out of range, or see `_ParamScheduler`.
    """

    need_val_args = True

    def __init__(
        self,
        optimizer: OptimizerType,
        param_name: str,
        monitor: str = "loss",
        rule: str = "less",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_rule: str = "rel",
        cooldown: int = 0,
        min_value: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self._check_choice("rule", rule, ("less", "greater"))
        self._check_choice("threshold_rule", threshold_rule, ("rel", "abs"))
        counts = {"patience": patience, "threshold": threshold, "cooldown": cooldown, "eps": eps, "factor": factor}
        for name, value in counts.items():
            self._check_number(name, value, least=0)
        if factor >= 1:
            raise ArgumentError(f"{type(self).__name__}: factor must be below 1, to reduce, got {factor}.")
        self.min_values = self._check_bounds(min_value, len(_groups_of(optimizer)))
        self.monitor, self.rule = monitor, rule
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.threshold, self.threshold_rule = threshold, threshold_rule
        self.rule_worse = math.inf if rule == "less" else -math.inf
        self.best = self.rule_worse
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG003
        """Nothing to convert: what it counts are validations.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(f"{cls.__name__} counts validations, not epochs: leave convert_to_iter_based out.")

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Look at the metrics of a validation, and reduce the value if they have been bad for too long.

        Args:
            metrics: name to value, numbers or one-element tensors; without any nothing happens.

        Raises:
            ArgumentTypeError: it is not a dict.
            NotFoundError: the watched metric is not among them.
            MetricError: the watched metric is not a number.
        """
        if metrics is None:
            self._global_step = max(self._global_step, 0)
            return
        value = self._watched(metrics)
        validation = self._global_step
        self._global_step += 1
        if self.begin <= validation < self.end:
            self.last_step += 1
            if self._is_due(value):
                self._set_values(self._get_value())

    def _is_due(self, value: float) -> bool:
        """Count a validation; whether its result is one bad one too many."""
        if self._is_better(value, self.best):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs <= self.patience:
            return False
        self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        return True

    def _is_better(self, value: float, best: float) -> bool:
        sign = 1 if self.rule == "greater" else -1
        if self.threshold_rule == "abs":
            return sign * value > sign * (best + sign * self.threshold)
        return sign * value > sign * best * (1 + sign * self.threshold)

    def _traits(self) -> list[list[Any]]:
        return [self.min_values]

    def _move(self) -> Move | None:
        def reduce(value: Any, group: int) -> Any:
            reduced = max(value * self.factor, self.min_values[group])
            return reduced if value - reduced > self.eps else value

        return reduce

    def _watched(self, metrics: Any) -> float:
        name = type(self).__name__
        if not hasattr(metrics, "keys"):
            raise ArgumentTypeError(f"{name} needs the metrics of a validation as a dict, got {metrics!r}.")
        if self.monitor not in metrics:
            raise NotFoundError(
                f"{name} watches the metric {self.monitor!r}, and the validation gave "
                f"{', '.join(map(repr, metrics)) or 'none'}.{did_you_mean(self.monitor, metrics)} Set monitor= to one "
                "of them."
            )
        value = metrics[self.monitor]
        if not hasattr(value, "__float__"):
            raise MetricError(f"{name} needs a number for {self.monitor!r}, the validation gave {value!r}.")
        return float(value)

    @classmethod
    def _check_choice(cls, name: str, value: str, options: tuple[str, str]) -> None:
        if value not in options:
            raise ArgumentError(
                f"{cls.__name__}: {name} must be {options[0]!r} or {options[1]!r}, got {value!r}."
                f"{did_you_mean(value, options)}"
            )

    @classmethod
    def _check_bounds(cls, min_value: Any, groups: int) -> list[Any]:
        bounds = list(min_value) if type(min_value) in (list, tuple) else [min_value] * groups
        if len(bounds) != groups:
            raise ArgumentError(
                f"{cls.__name__}: min_value has {len(bounds)} values for {groups} parameter groups. Give one number, "
                "or one for each group (an optimizer wrapper with several groups has its base settings as the last)."
            )
        for bound in bounds:
            cls._check_number("min_value", bound)
        return bounds
