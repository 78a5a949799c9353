"""Find, check and name the values that metrics return."""

from __future__ import annotations

import re
from typing import Any

from drivetrain.errors import ArgumentError, MetricError, did_you_mean


def get_metric_value(indicator: str, metrics: dict[str, Any]) -> Any:
    """The value that `indicator` names.

    Args:
        indicator: a full name such as 'coco/bbox_mAP', or its last part ('bbox_mAP') where only one metric ends so.
        metrics: what `Evaluator.evaluate` returned.

    Raises:
        ArgumentError: no metric has that name, or several do.
    """
    if "/" in indicator:
        matches = [name for name in metrics if name == indicator]
    else:
        matches = [name for name in metrics if name.split("/")[-1] == indicator]
    if not matches:
        near = did_you_mean(indicator, [*metrics, *(name.split("/")[-1] for name in metrics)])
        raise ArgumentError(f"no metric is called {indicator!r}; there are {', '.join(metrics) or 'none'}.{near}")
    if len(matches) > 1:
        raise ArgumentError(f"{indicator!r} names several metrics, {', '.join(matches)}: give the full name of one.")
    return metrics[matches[0]]


def with_prefix(metrics: dict[str, Any], prefix: str | None) -> dict[str, Any]:
    """The same values, each name with `prefix/` before it where there is a prefix."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()} if prefix else metrics


def checked_metrics(metrics: Any, metric: object, method: str) -> dict[str, Any]:
    """`metrics` itself, if it is a dict.

    Raises:
        MetricError: it is something else.
    """
    if issubclass(type(metrics), dict):
        return metrics
    raise MetricError(
        f"{type(metric).__name__}.{method} returned {type(metrics).__name__} ({metrics!r}); it must return a dict "
        f"of values by name, such as dict(accuracy=0.9)."
    )


def snake_case_name(cls: type) -> str:
    """Name of a class as a metric is called in a log: `MulticlassF1Score` is 'f1_score'."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    return re.sub(r"^(binary|multiclass|multilabel)_(?=.)", "", words)
