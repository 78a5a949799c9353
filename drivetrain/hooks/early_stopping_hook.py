"""Stop training when a metric no longer improves."""

from __future__ import annotations

import math
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from . import _best
from .hook import Hook


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Ends training when the validation's `monitor` has not improved `patience` times in a row.

    A result is an improvement if it is better than the best so far by at least `min_delta`. The best score and the
    count are part of a checkpoint; one that is saved while a validation ends, such as the best, already counts its
    result. A resumed run whose state says stop, stops before its first step: raise `patience` to go on.

    Args:
        monitor: the metric, by its name in the evaluation's results.
        rule: 'greater' or 'less', whether more or less is better; None infers it from the metric's name.
        min_delta: by how much a result must be better than the best. With 0, an equal result counts as an improvement;
            with a negative one, also a result that is a little worse, which becomes the best.
        strict: a validation without the metric is an error; otherwise it is a warning and does not count.
        check_finite: stop at once when the metric is infinite or no number.
        patience: results in a row that may fail to improve; the last of them stops.
        stopping_threshold: stop at once when the metric is better than this.

    Attributes:
        best_score: the best result so far; infinitely bad before the first.
        wait_count: results since the best.
        min_delta: as given for rule 'greater', with its sign turned for 'less'.

    Raises:
        ArgumentError: the name of the metric says nothing about the rule, or `patience` is negative.
        ArgumentTypeError: an argument has a wrong type.
        NotFoundError: the rule is something else.
    """

    priority = "LOWEST"
    rule_map = _best.RULES
    best_score: float

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        _check_types(monitor, min_delta, patience, stopping_threshold)
        self.monitor = monitor
        self.rule = rule
        self.min_delta = min_delta
        self.strict = strict
        self.check_finite = check_finite
        self.patience = patience
        self.stopping_threshold = stopping_threshold
        self.wait_count = 0
        self._init_rule(rule, monitor)
        self._ahead: dict[str, Any] | None = None
        self._done: dict[str, Any] | None = None
        self._reason = ""

    def before_train(self, runner: RunnerLike) -> None:
        """Say so if there is nothing to watch; stop a resumed run that had come to its stop.

        Raises:
            NotFoundError: `strict`, and the run does not validate.
        """
        if getattr(runner, "val_loop", True) is None:
            self._tell_of_no_validation(runner)
        reason = self._why_stopped()
        if reason:
            runner.train_loop.stop_training = True
            runner.logger.warning(
                f"The run that is resumed was stopped early: {reason} To go on, raise patience (now {self.patience}) "
                "or change stopping_threshold."
            )

    def count_result(self, runner: RunnerLike, metrics: dict[str, Any]) -> None:
        """Count the result of the validation that is ending, unless that is done.

        Who saves in the middle of its hooks calls this before, so that the file knows of the result.

        Raises:
            NotFoundError: `strict`, and the metric is not among the results.
            MetricError: the metric is no single number.
        """
        if metrics is not self._ahead and metrics is not self._done:
            self._ahead = metrics
            self._count(runner, metrics)

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, Any] | None) -> None:  # type: ignore[override]
        """Count the result, and stop training if it is time.

        Raises:
            NotFoundError, MetricError: see `count_result`.
        """
        if metrics is None or metrics is not self._ahead:
            self._count(runner, metrics or {})
        self._ahead, self._done = None, metrics
        if self._reason and runner.train_loop is not None:
            runner.train_loop.stop_training = True
            runner.logger.info(f"Training stops early: {self._reason}")

    def state_dict(self) -> dict[str, Any]:
        """The best score and the count."""
        return {"best_score": self.best_score, "wait_count": self.wait_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.best_score, self.wait_count = state["best_score"], state["wait_count"]

    def _tell_of_no_validation(self, runner: RunnerLike) -> None:
        text = f"EarlyStoppingHook(monitor={self.monitor!r}) has no effect: the run has no validation loop."
        if self.strict:
            raise NotFoundError(text)
        runner.logger.warning(text)

    def _init_rule(self, rule: str | None, monitor: str) -> None:
        """Set what better means, and the score that everything is better than."""
        self.rule = _best.parse_rules(rule, [monitor])[0] or _best.infer_rule(monitor, argument="monitor")
        self.best_score = -math.inf if self.rule == "greater" else math.inf
        if self.rule == "less":
            self.min_delta = -self.min_delta

    def _count(self, runner: RunnerLike, metrics: dict[str, Any]) -> None:
        """Count a validation's result, and note whether and why to stop."""
        self._reason = ""
        if self.monitor in metrics or self.strict:
            _, self._reason = self._check_stop_condition(_best.score_of(metrics, self.monitor, "monitor"))
        else:
            names = ", ".join(map(repr, metrics)) or "nothing"
            runner.logger.warning(
                f"EarlyStoppingHook: monitor={self.monitor!r} is not among the results of this validation, which gave "
                f"{names}. It does not count."
            )

    def _check_stop_condition(self, current_score: float) -> tuple[bool, str]:
        """Count a score; returns whether to stop, and why; the reason is empty when not."""
        better = self.rule_map[str(self.rule)]
        if self.check_finite and not math.isfinite(current_score):
            return True, f"{self.monitor} is {current_score}, which is not finite."
        if self.stopping_threshold is not None and better(current_score, self.stopping_threshold):
            self.best_score = current_score
        elif math.isnan(current_score) or better(self.best_score + self.min_delta, current_score):
            self.wait_count += 1
        else:
            self.best_score, self.wait_count = current_score, 0
        reason = self._why_stopped()
        return bool(reason), reason

    def _why_stopped(self) -> str:
        """Why training ends in the present state; empty while it goes on."""
        if self.stopping_threshold is not None and self.rule_map[str(self.rule)](
            self.best_score, self.stopping_threshold
        ):
            return f"{self.monitor} is {self.best_score:.6g}, past stopping_threshold={self.stopping_threshold}."
        if self.wait_count and self.wait_count >= self.patience:
            return f"{self.monitor} has not improved on {self.best_score:.6g} {self.wait_count} times in a row."
        return ""


def _check_types(monitor: Any, min_delta: Any, patience: Any, threshold: Any) -> None:
    if type(monitor) is not str:
        raise ArgumentTypeError(f"monitor takes the name of one metric, got {monitor!r}.")
    if type(patience) is not int:
        raise ArgumentTypeError(f"patience takes a whole number of validations, got {patience!r}.")
    if patience < 0:
        raise ArgumentError(f"patience, the validations that may fail to improve, must be at least 0, got {patience}.")
    for name, value in (("min_delta", min_delta), ("stopping_threshold", threshold)):
        if not hasattr(value, "__float__") and value is not None:
            raise ArgumentTypeError(f"{name} takes a number, got {value!r}.")
