"""What "best" means: which metrics are watched, and whether more or less of each is better."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError, NotFoundError, did_you_mean

AUTO = "auto"
"""Stands for the first metric of the first evaluation."""

GREATER_KEYS = ["acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc"]
LESS_KEYS = ["loss"]
RULES: dict[str, Callable[[Any, Any], bool]] = {"greater": operator.gt, "less": operator.lt}


def parse_names(argument: str, given: Any) -> list[str]:
    """The names in an argument that takes a string, several, or None.

    Raises:
        ArgumentTypeError: it is something else.
        ArgumentError: a name comes twice.
    """
    if given is None:
        return []
    names: list[Any] = [given] if type(given) is str else list(given) if type(given) in (list, tuple) else [given]
    if not all(type(name) is str for name in names):
        raise ArgumentTypeError(f"{argument} takes a string, a list of strings or None, got {given!r}.")
    if len(set(names)) != len(names):
        raise ArgumentError(f"{argument}={given!r} names something twice.")
    return names


def parse_indicators(save_best: str | Sequence[str] | None) -> list[str]:
    """The metrics of `save_best`; empty when there is nothing to watch.

    Raises:
        ArgumentTypeError, ArgumentError: see `parse_names`; or 'auto' stands beside other names.
    """
    names = parse_names("save_best", save_best)
    if AUTO in names and len(names) > 1:
        raise ArgumentError(f"save_best={save_best!r}: 'auto' stands for one metric and must be alone.")
    return names


def parse_rules(rule: Any, indicators: Sequence[str]) -> list[str | None]:
    """One rule per metric; None is to be inferred from the metric's name.

    Raises:
        NotFoundError: a rule is neither 'greater' nor 'less'.
        ArgumentError: there are neither one rule nor as many as metrics.
    """
    given: list[Any] = list(rule) if type(rule) in (list, tuple) else [rule]
    for each in given:
        if each is not None and each not in RULES:
            raise NotFoundError(
                f"rule must be 'greater', 'less' or None, got {each!r}.{did_you_mean(str(each), RULES)}"
            )
    if len(given) not in (1, len(indicators)):
        raise ArgumentError(
            f"rule has {len(given)} entries for {len(indicators)} of save_best: give one for all, or one for each."
        )
    return [each if each is None else str(each) for each in (given * len(indicators) if len(given) == 1 else given)]


def infer_rule(
    key: str,
    greater_keys: Sequence[str] = GREATER_KEYS,
    less_keys: Sequence[str] = LESS_KEYS,
    argument: str = "save_best",
) -> str:
    """Whether more or less of a metric is better, by its name: an exact match first, then a part of it, without case.

    `argument` is the one that named the metric, for the message.

    Raises:
        ArgumentError: the name says nothing.
    """
    name = key.lower()
    greater, less = ([entry.lower() for entry in keys] for keys in (greater_keys, less_keys))
    if name in greater:
        return "greater"
    if name in less:
        return "less"
    if any(entry in name for entry in greater):
        return "greater"
    if any(entry in name for entry in less):
        return "less"
    raise ArgumentError(
        f"{argument}={key!r}: the name does not say whether more or less is better. Set rule='greater' or rule='less'"
        f"{', or list it in greater_keys or less_keys' if argument == 'save_best' else ''}."
    )


def score_of(metrics: Mapping[str, Any], key: str, argument: str = "save_best") -> float | int:
    """The value of a metric as a number of Python's; `argument` is the one that named it, for the message.

    Raises:
        NotFoundError: there is no such metric.
        MetricError: it is no single number.
    """
    if key not in metrics:
        raise NotFoundError(
            f"{argument}={key!r}: the evaluation gave {', '.join(map(repr, metrics))}.{did_you_mean(key, metrics)}"
        )
    value: Any = metrics[key]
    if getattr(value, "ndim", 1) == 0 or getattr(value, "shape", None) == (1,):
        value = value.item()
    if not issubclass(type(value), numbers.Real):
        raise MetricError(f"{argument}={key!r} needs a single number, got {value!r} of type {type(value).__name__}.")
    return value if type(value) is int else float(value)


class Entry(NamedTuple):
    """A result that is among the best of its metric."""

    score: float
    path: str | None


class Entered(NamedTuple):
    """The best of a metric, the best one first, and the files that a new result drove out."""

    ranking: list[Entry]
    dropped: list[str]


def enter(ranking: list[Entry], new: Entry, most: int, better: Callable[[Any, Any], bool]) -> Entered | None:
    """Let a result in among the best `most`, behind its equals.

    Args:
        ranking: the best so far, the best one first.
        new: the result.
        most: how many stay.
        better: whether its first argument is better than its second.

    Returns:
        None for a result that is not among them; not a number never is.
    """
    same = [entry for entry in ranking if entry.path == new.path]
    rivals = [entry for entry in ranking if entry.path != new.path]
    place = next((at for at, entry in enumerate(rivals) if better(new.score, entry.score)), len(rivals))
    is_number = new.score == new.score
    if not is_number or place >= most or any(not better(new.score, entry.score) for entry in same):
        return None
    ordered = [*rivals[:place], new, *rivals[place:]]
    return Entered(ordered[:most], [entry.path for entry in ordered[most:] if entry.path])
