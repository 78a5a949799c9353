"""What the runner's argument `compile` asks for, parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean

_TORCH_KEYS = ("mode", "dynamic", "fullgraph", "backend", "options")
_KEYS = (*_TORCH_KEYS, "modules", "fallback")
_GRAPH_MODES = ("reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class CompilePlan:
    """What to compile, and how.

    Without `modules` the model's whole call in training is compiled, with the sum of its losses, and a preprocessor
    whose class promises to be `pure`; validation runs as it is written. With `modules` each matching module is compiled
    by itself, in training and validation, and modules that are built alike share one compilation.

    A batch of another shape, such as the last of an epoch, is compiled once more, with the sizes that changed as
    variables; `dynamic=True` makes them variables from the start, `drop_last=True` of the loader avoids it.

    Args:
        arguments: for `torch.compile`: `mode`, `dynamic`, `fullgraph`, `backend`, `options`.
        modules: patterns of dotted names of modules. In a text `*` stands for one part of a name, `**` for several,
            and `?` for a character; a text after `re:`, or a compiled pattern, is a regular expression.
        fallback: what cannot be compiled runs as it is written, with a warning, instead of an error.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    modules: tuple[re.Pattern[str], ...] = ()
    fallback: bool = False

    @classmethod
    def parse(cls, given: Any) -> CompilePlan | None:
        """The plan for the argument `compile`; None for False.

        Raises:
            ArgumentTypeError: neither a bool nor a dict, or a value in it is of a wrong type.
            ArgumentError: an unknown key, or a value that torch does not take.
        """
        if type(given) is bool:
            return cls() if given else None
        if not hasattr(given, "items"):
            raise ArgumentTypeError(f"compile must be True, False or a dict of {', '.join(_KEYS)}, got {given!r}.")
        for key in given:
            if key not in _KEYS:
                raise ArgumentError(
                    f"compile has the unknown key {key!r}.{did_you_mean(key, _KEYS)} It takes {', '.join(_KEYS)}."
                )
        arguments = {key: given[key] for key in _TORCH_KEYS if key in given}
        fallback = given.get("fallback", False)
        if type(fallback) is not bool:
            raise ArgumentTypeError(f"compile: fallback must be True or False, got {fallback!r}.")
        _check_arguments(arguments)
        return cls(arguments, _patterns(given.get("modules", ())), fallback)

    @property
    def captures_graphs(self) -> bool:
        """Whether the compiler makes CUDA graphs of its own."""
        options = self.arguments.get("options") or {}
        return self.arguments.get("mode") in _GRAPH_MODES or bool(options.get("triton.cudagraphs"))

    def find_modules(self, model: nn.Module) -> dict[str, nn.Module]:
        """The modules that the patterns match, by name; of one inside another, the outer.

        Raises:
            ArgumentError: a pattern matches nothing.
        """
        found: dict[str, nn.Module] = {}
        for pattern in self.modules:
            hits = {name: module for name, module in _inner_modules(model) if pattern.fullmatch(name)}
            if not hits:
                raise _no_match(pattern, model)
            found.update(hits)
        return {name: module for name, module in found.items() if not any(_is_inside(name, other) for other in found)}


def _inner_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name]


def _is_inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what torch would refuse, before anything is built.

    Raises:
        ArgumentTypeError: a switch is no bool.
        ArgumentError: torch does not take a value.
    """
    for name, allowed in (("dynamic", (True, False, None)), ("fullgraph", (True, False))):
        if name in arguments and not any(arguments[name] is value for value in allowed):
            raise ArgumentTypeError(f"compile: {name} must be one of {allowed}, got {arguments[name]!r}.")
    try:
        torch.compile(_nothing, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        known = torch._dynamo.list_backends()
        hint = did_you_mean(str(arguments.get("backend", "")), known)
        raise ArgumentError(f"torch.compile does not take {dict(arguments)!r}: {str(error)[:300]}{hint}") from error


def _nothing() -> None:
    """Something to compile."""


def _patterns(given: Any) -> tuple[re.Pattern[str], ...]:
    items = tuple(given) if type(given) in (list, tuple) else (given,)
    return tuple(_pattern(item) for item in items)


def _pattern(item: Any) -> re.Pattern[str]:
    if hasattr(item, "fullmatch"):
        compiled: re.Pattern[str] = item
        return compiled
    if type(item) is not str:
        raise ArgumentTypeError(
            f"compile: modules must be a pattern of names such as 'layers.*', or a list of these, got {item!r}."
        )
    if item.startswith("re:"):
        try:
            return re.compile(item[3:])
        except re.error as error:
            raise ArgumentError(f"compile: modules has {item!r}, which is no regular expression: {error}.") from error
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", item)))


def _no_match(pattern: re.Pattern[str], model: nn.Module) -> ArgumentError:
    names = [name for name, _ in _inner_modules(model)]
    wanted = pattern.pattern.replace("[^.]*", "*").replace("\\", "")
    near = did_you_mean(wanted, names) or did_you_mean(
        wanted.split(".")[0].rstrip("*"), [n.split(".")[0] for n in names]
    )
    some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return ArgumentError(
        f"compile: no module of {type(model).__name__} has a name that matches {wanted!r}.{near} Its modules: "
        f"{some or 'none'}."
    )
