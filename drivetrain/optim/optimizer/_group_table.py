"""A table of an optimizer's parameter groups."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from drivetrain.errors import ArgumentTypeError
from drivetrain.logging import MMLogger, print_log

_HEADS = ("groups", "tensors", "numbers", "lr", "weight decay", "momentum", "parameters")
_WIDTH = 80


class _Row(NamedTuple):
    """Groups of the same settings: how many, the settings as text, the names of their parameters, their elements."""

    groups: int
    settings: tuple[str, str, str]
    names: list[str]
    numbers: int


def group_table(optimizer: Any, model: nn.Module | None = None) -> str:
    """The groups of an optimizer as text, one line for all groups of the same settings.

    Args:
        optimizer: an optimizer, an `OptimWrapper`, or an `OptimWrapperDict`, whose optimizers follow each other.
        model: to name the parameters; those that no optimizer has get a line of their own.

    Returns:
        Columns: groups, tensors, numbers (elements of the tensors), lr, weight decay, momentum (the first beta of an
        Adam), and the parameters: `head.*` stands for all below `head`, and a long list is cut.

    Raises:
        ArgumentTypeError: it is no optimizer.

    >>> import torch
    >>> layer = nn.Linear(3, 2)
    >>> print(group_table(torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9), layer))
    groups  tensors  numbers   lr  weight decay  momentum  parameters
         1        2        8  0.1             0       0.9  weight, bias
    """
    inner = getattr(model, "module", model)
    names = {} if inner is None else {id(parameter): name for name, parameter in inner.named_parameters()}
    blocks: list[str] = []
    held: set[str] = set()
    for title, part in _parts(optimizer):
        rows = _rows(part, names)
        held.update(name for row in rows for name in row.names)
        blocks.append(title + _text(rows, names.values()))
    lost = {} if inner is None else {name: p for name, p in inner.named_parameters() if name not in held}
    return "\n".join([*blocks, *_left_out(lost, names.values())])


def log_groups(optimizer: Any, model: nn.Module, by_rules: bool) -> None:
    """Log the table at debug level (it is made only if somebody reads that), and a line on what rules did."""
    if MMLogger.get_current_instance().isEnabledFor(logging.DEBUG):
        print_log(f"parameter groups:\n{group_table(optimizer, model)}", logger="current", level=logging.DEBUG)
    if by_rules:
        groups = optimizer.param_groups
        tensors, settings = sum(len(group["params"]) for group in groups), len({_settings(group) for group in groups})
        frozen = sum(not parameter.requires_grad for parameter in model.parameters())
        print_log(
            f"paramwise_cfg: {tensors} parameters in {len(groups)} groups with {settings} different settings, "
            f"{frozen} frozen (level DEBUG lists them).",
            logger="current",
        )


def _parts(optimizer: Any) -> list[tuple[str, Any]]:
    """A heading and an optimizer each."""
    wrappers = getattr(optimizer, "__dict__", {}).get("optim_wrappers")
    parts = {"": optimizer} if wrappers is None else {f"{name}:\n": wrapper for name, wrapper in wrappers.items()}
    found = [(title, getattr(part, "optimizer", part)) for title, part in parts.items()]
    for _, part in found:
        if not hasattr(part, "param_groups"):
            raise ArgumentTypeError(f"group_table takes an optimizer or its wrapper, got a {type(part).__name__}.")
    return found


def _rows(optimizer: Any, names: Mapping[int, str]) -> list[_Row]:
    rows: dict[tuple[str, str, str], _Row] = {}
    for group in optimizer.param_groups:
        settings = _settings(group)
        row = rows.get(settings, _Row(0, settings, [], 0))
        added = [names.get(id(parameter), "?") for parameter in group["params"]]
        numbers = sum(parameter.numel() for parameter in group["params"])
        rows[settings] = _Row(row.groups + 1, settings, row.names + added, row.numbers + numbers)
    return list(rows.values())


def _settings(group: Mapping[str, Any]) -> tuple[str, str, str]:
    betas = group.get("betas")
    momentum = group.get("momentum", betas[0] if betas else None)
    return _number(group.get("lr")), _number(group.get("weight_decay")), _number(momentum)


def _number(value: Any) -> str:
    return "-" if value is None else f"{float(value):.4g}"


def _text(rows: Iterable[_Row], known: Collection[str]) -> str:
    lines = [_HEADS, *(_cells(row, known) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = ["  ".join(cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)) for line in lines]
    return "\n".join(f"{cells}  {line[-1]}" for cells, line in zip(right, lines, strict=True))


def _cells(row: _Row, known: Collection[str]) -> tuple[str, ...]:
    return (str(row.groups), str(len(row.names)), str(row.numbers), *row.settings, abbreviate(row.names, known))


def _left_out(lost: Mapping[str, nn.Parameter], known: Collection[str]) -> list[str]:
    kinds = {
        "frozen": [name for name, parameter in lost.items() if not parameter.requires_grad],
        "in no group": [name for name, parameter in lost.items() if parameter.requires_grad],
    }
    return [
        f"{kind}: {len(names)} tensors, {sum(lost[name].numel() for name in names)} numbers: {abbreviate(names, known)}"
        for kind, names in kinds.items()
        if names
    ]


def abbreviate(names: Collection[str], known: Collection[str]) -> str:
    """Names in a line of limited length; `head.*` stands for several, all that `known` has below `head`."""
    chosen, foreign = set(names), set(known) - set(names)
    closed = {prefix for name in foreign for prefix in _prefixes(name)}
    shown: dict[str, None] = {}
    for name in names:
        whole = next((prefix for prefix in _prefixes(name) if prefix not in closed), None)
        several = whole is not None and sum(other.startswith(f"{whole}.") for other in chosen) > 1
        shown[f"{whole}.*" if several else name] = None
    items, text = list(shown), ""
    for position, item in enumerate(items):
        if position and len(text) + len(item) > _WIDTH:
            return f"{text}, ... ({len(items) - position} more)"
        text = f"{text}, {item}" if position else item
    return text


def _prefixes(name: str) -> list[str]:
    """Dotted beginnings, the shortest first, without the name itself."""
    components = name.split(".")
    return [".".join(components[:end]) for end in range(1, len(components))]
