"""Which line of a file sets which value, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._dict import ConfigDict, Origin, Origins, is_node, set_origins

_CALLS_OF_DICT = {"dict", "ConfigDict", "OrderedDict"}
_DEEPEST = 50
"""Names followed from one to the next: a file may assign them in a circle."""


class Lines:
    """The lines of a Python config's top-level names and of what their values are written out of.

    What is written as a literal or a call of `dict` is known key by key; of what is computed only the line of the
    assignment. A name stands for what was assigned to it before.

    Args:
        tree: the parsed file.
        file: its path, for the origins.
    """

    def __init__(self, tree: ast.Module, file: str) -> None:
        self._file = file
        self._written: dict[str, ast.expr] = {}
        self._lines: dict[str, int] = {}
        for node in ast.walk(tree):
            for target in _targets_of(node):
                self._note(target, node)

    def annotate(self, values: ConfigDict) -> None:
        """Note in `values`, the file's variables, where each was set."""
        known = {name: line for name, line in self._lines.items() if name in values}
        set_origins(values, {name: (Origin(self._file, line),) for name, line in known.items()})
        for name, line in known.items():
            self._annotate(dict.__getitem__(values, name), self._written.get(name), line)

    def _note(self, target: ast.expr, node: Any) -> None:
        if type(target) is ast.Name and type(node) is ast.Assign:
            self._written[target.id], self._lines[target.id] = node.value, node.lineno
            return
        # `a, b = ...` sets names as well; `a.b = ...` and `a['b'] = ...` change a value, whose name keeps its line.
        for part in ast.walk(target):
            if type(part) is ast.Name and type(part.ctx) is ast.Store:
                self._lines[part.id] = node.lineno
                self._written.pop(part.id, None)

    def _annotate(self, value: Any, source: Any, line: int, depth: int = 0) -> None:
        if type(source) is ast.Name and source.id in self._written and depth < _DEEPEST:
            self._annotate(value, self._written[source.id], self._lines[source.id], depth + 1)
        elif is_node(value):
            entries = _entries_of(source)
            lines = {key: getattr(entries.get(key), "lineno", line) for key in dict.keys(value)}
            known = value._origins or {}
            set_origins(value, {key: (Origin(self._file, at),) for key, at in lines.items() if key not in known})
            for key, at in lines.items():
                self._annotate(dict.__getitem__(value, key), entries.get(key), at, depth)
        elif type(value) in (list, tuple):
            items = _items_of(source, len(value))
            for item, written in zip(value, items, strict=True):
                self._annotate(item, written, getattr(written, "lineno", line), depth)


def _targets_of(node: Any) -> Iterable[ast.expr]:
    if type(node) is ast.Assign:
        return node.targets
    return [node.target] if type(node) in (ast.AnnAssign, ast.AugAssign, ast.For, ast.NamedExpr) else []


def _entries_of(source: Any) -> Mapping[Any, ast.expr]:
    if type(source) is ast.Call and getattr(source.func, "id", None) in _CALLS_OF_DICT:
        return {keyword.arg: keyword.value for keyword in source.keywords}
    if type(source) is ast.Dict:
        pairs = zip(source.keys, source.values, strict=True)
        return {key.value: value for key, value in pairs if type(key) is ast.Constant}
    return {}


def _items_of(source: Any, size: int) -> list[ast.expr | None]:
    items: list[ast.expr | None] = source.elts if type(source) in (ast.List, ast.Tuple) else []
    return items if len(items) == size and not any(type(item) is ast.Starred for item in items) else [None] * size


def annotate_yaml(values: ConfigDict, node: Any, file: str) -> None:
    """Note in `values`, read from YAML or JSON, the lines of `node`, its tree as `yaml.compose` gives it."""
    origins: Origins = {}
    for key_node, value_node in getattr(node, "value", None) or []:
        key = next((key for key in dict.keys(values) if str(key) == str(key_node.value)), None)
        if key is not None:
            origins[key] = (Origin(file, key_node.start_mark.line + 1),)
            _below(dict.__getitem__(values, key), value_node, lambda item, at: annotate_yaml(item, at, file))
    set_origins(values, origins)


def _below(value: Any, node: Any, annotate: Callable[[ConfigDict, Any], None]) -> None:
    if is_node(value):
        annotate(value, node)
    elif type(value) is list and type(node.value) is list and len(node.value) == len(value):
        for item, item_node in zip(value, node.value, strict=True):
            _below(item, item_node, annotate)
