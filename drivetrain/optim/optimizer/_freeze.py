"""Parameters that are not trained, by patterns of their names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.logging import print_log


def freeze_parameters(model: nn.Module, patterns: str | Iterable[str], *, strict: bool = False) -> list[str]:
    """Set `requires_grad=False` on the parameters that a pattern names.

    Only parameters are frozen: batch norm goes on updating its running statistics in training mode.

    Args:
        model: the model; not yet in a distributed wrapper, which plans the exchange of gradients when it is made.
        patterns: each is the beginning of a dotted name, whole components only ('backbone.layer1' is not
            'backbone.layer10'), or a glob over the whole name where it has a `*`, `?` or `[` ('backbone.*.norm?.*').
        strict: raise when a pattern matches nothing, instead of a warning.

    Returns:
        The names of the frozen parameters, in the model's order.

    Raises:
        ArgumentError: a pattern matches nothing and `strict` is set, or the model exchanges gradients already.
        ArgumentTypeError: `patterns` is neither a str nor a list of them.
    """
    wanted = check_patterns(patterns)
    inner: nn.Module = getattr(model, "module", model)
    parameters = dict(inner.named_parameters(remove_duplicate=False))
    for pattern in wanted:
        if not any(matches(pattern, name) for name in parameters):
            near = did_you_mean(pattern, name_parts(parameters))
            complain(f"freeze: the pattern {pattern!r} matches no parameter.{near}", strict)
    frozen = [name for name in parameters if any(matches(pattern, name) for pattern in wanted)]
    _refuse_late(model, [name for name in frozen if parameters[name].requires_grad])
    for name in frozen:
        parameters[name].requires_grad_(False)
    return frozen


def check_patterns(patterns: Any) -> list[str]:
    """The patterns as a list.

    Raises:
        ArgumentTypeError: they are neither a str nor a list of them.
    """
    found = [patterns] if type(patterns) is str else patterns
    if type(found) not in (list, tuple) or not all(type(pattern) is str for pattern in found):
        raise ArgumentTypeError(
            f"freeze must be a pattern of names or a list of them, such as ['backbone.stem', '*.norm.*'], got "
            f"{patterns!r}."
        )
    return list(found)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern (a dotted beginning, or a glob) names a parameter."""
    if any(character in pattern for character in "*?["):
        return fnmatchcase(name, pattern)
    return f"{name}.".startswith(f"{pattern.rstrip('.')}.")


def complain(sentence: str, strict: bool) -> None:
    """Raise `sentence`, or log it as a warning."""
    if strict:
        raise ArgumentError(sentence)
    print_log(sentence, logger="current", level=logging.WARNING)


def name_parts(names: Iterable[str]) -> list[str]:
    """Every beginning and every component of the dotted names, once."""
    parts: dict[str, None] = {}
    for name in names:
        components = name.strip(".").split(".")
        parts.update(dict.fromkeys(components))
        parts.update(dict.fromkeys(".".join(components[:end]) for end in range(2, len(components) + 1)))
    return list(parts)


def _refuse_late(model: nn.Module, newly: list[str]) -> None:
    # DistributedDataParallel waits for the gradient of each parameter that needed one when it was made.
    if newly and hasattr(model, "reducer"):
        raise ArgumentError(
            f"{type(model).__name__} holds the model already and waits for gradients of {newly[0]!r}, which freeze "
            "would take away. Call freeze_parameters(model, patterns) before the model is wrapped."
        )
