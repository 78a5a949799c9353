"""Find parts of a model by their names."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from drivetrain.errors import ArgumentTypeError, MissingAttributeError, did_you_mean


def find_parts(model: nn.Module, names: Any, option: str) -> dict[str, nn.Module]:
    """The modules with these names, by name.

    Args:
        model: the model.
        names: a dotted name such as 'backbone.layer1', or a list of such. `*` stands for one part of a name, `**` for
            several, `?` for a character.
        option: the setting that names them, for errors.

    Raises:
        ArgumentTypeError: neither a name nor a list of names.
        MissingAttributeError: no module of the model has such a name.
    """
    wanted = [names] if type(names) is str else names
    if type(wanted) not in (list, tuple) or not all(type(name) is str for name in wanted):
        raise ArgumentTypeError(f"{option} must be the name of a module, or a list of names, got {names!r}.")
    modules = {name: module for name, module in model.named_modules() if name}
    found: dict[str, nn.Module] = {}
    for name in wanted:
        hits = {given: module for given, module in modules.items() if _matches(name, given)}
        if not hits:
            raise MissingAttributeError(
                f"{option}: {type(model).__name__} has no module {name!r}.{did_you_mean(name, modules)} Its parts are "
                f"{', '.join(dict(model.named_children())) or 'none'}; names go on inside with dots."
            )
        found.update(hits)
    return found


def _matches(pattern: str, name: str) -> bool:
    if not any(sign in pattern for sign in "*?"):
        return pattern == name
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(wild.get(part) or re.escape(part) for part in parts), name) is not None
