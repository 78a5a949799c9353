"""Counts of parameters."""

from __future__ import annotations

from collections import defaultdict

from torch import nn

from ._text import format_rounded, text_table


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """Elements of each parameter, and of all parameters below each module, by name; `''` is the model.

    A parameter with several names counts once, under the first.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for length in range(len(parts) + 1):
            counts[".".join(parts[:length])] += parameter.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """A table of the parameters of each module: for a module their number, for a parameter its shape.

    Args:
        model: any module.
        max_depth: how many levels below the model are shown.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    counts = parameter_count(model)
    rows = [["model", format_rounded(counts[""])]]

    def add_children(prefix: str, depth: int) -> None:
        for name, count in counts.items():
            if not name.startswith(prefix) or "." in name[len(prefix) :] or not name:
                continue
            indent = " " * depth
            rows.append([indent + name, indent + (str(shapes[name]) if name in shapes else format_rounded(count))])
            if depth < max_depth:
                add_children(f"{name}.", depth + 1)

    add_children("", 1)
    title = f"parameter count of {type(model).__name__}"
    return text_table(["name", "#elements or shape"], rows, title)
