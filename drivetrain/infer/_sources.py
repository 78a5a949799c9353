"""Where an inferencer's config and weights come from."""

from __future__ import annotations

import ast
import copy
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from drivetrain.checkpoint import CheckpointLoader
from drivetrain.config import Config, ConfigDict, ShippedModel, is_config, shipped_models
from drivetrain.errors import ArgumentError, ArgumentTypeError, CheckpointError, NotFoundError, did_you_mean
from drivetrain.registry import DefaultScope
from drivetrain.utils import import_modules_from_strings

# What the source of a dumped config calls.
_CALLED = {"dict", "list", "tuple", "set", "frozenset", "float", "complex", "slice", "range"} | {
    f"__import__('pathlib').{name}" for name in ("Path", "PurePosixPath", "PureWindowsPath")
}
_CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")


class Source(NamedTuple):
    """What an inferencer is made of.

    Attributes:
        cfg: the config.
        weights: path or address of the weights, or None.
        checkpoint: what the file of the weights holds, where it was read already.
    """

    cfg: Any
    weights: str | None
    checkpoint: Any = None


def is_path(value: Any) -> bool:
    """Whether a value is a path rather than a config or a model."""
    return type(value) is str or hasattr(value, "__fspath__")


def config_at(path: str) -> Config | None:
    """The config at a path; None where `path` is the name of a model instead.

    Raises:
        MissingFileError: it is a path, and there is no such file.
    """
    if os.path.isfile(path) or path.endswith(_CONFIG_SUFFIXES):
        return Config.fromfile(path)
    return None


def copied_config(model: Any) -> Any:
    """A copy of a config that was given as an object; a dict becomes a `ConfigDict`.

    Raises:
        ArgumentTypeError: it is no config.
    """
    if type(model) is Config:
        return copy.deepcopy(model)
    if is_config(model):
        return copy.deepcopy(model) if type(model) is ConfigDict else ConfigDict(copy.deepcopy(dict(model)))
    raise ArgumentTypeError(
        "model must be the path of a config, a config, or the name of a model that a package ships, "
        f"got {type(model).__name__}. A model that is built already needs no inferencer to load it: "
        "call model.test_step."
    )


def config_in(weights: str | None) -> Source:
    """The config that a checkpoint holds.

    Raises:
        ArgumentError: no weights are given.
        CheckpointError: the checkpoint holds no config, or one that would run code.
    """
    if weights is None:
        raise ArgumentError("give `model`, or the `weights` of a run: their file holds the config. Got neither.")
    checkpoint = CheckpointLoader.load_checkpoint(weights, "cpu")
    text = _config_text(checkpoint)
    if text is None:
        raise CheckpointError(
            f"{os.fspath(weights)!r} holds no config (neither message_hub.runtime_info.cfg nor meta.cfg): "
            "it was published without, or not saved by a runner. Give the config as `model`."
        )
    return Source(plain_config(text, os.fspath(weights)), weights, checkpoint)


def _config_text(checkpoint: Mapping[str, Any]) -> str | None:
    runtime_info = checkpoint.get("message_hub", {}).get("runtime_info", {})
    text: str | None = runtime_info.get("cfg") or checkpoint.get("meta", {}).get("cfg")
    return text


def plain_config(text: str, place: str) -> Config:
    """The config of a source that only assigns data, which is read rather than run; its `custom_imports` are imported.

    A checkpoint may come from anyone, and its config is Python source: a file of the text dialect is run, after
    variables in it were replaced. This is neither.

    Raises:
        CheckpointError: the source does more, as no config does that a runner saved.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise CheckpointError(f"the config in {place!r} is no Python source: {error}.") from error
    values: dict[str, Any] = {}
    for statement in statements:
        if not _is_assignment_of_data(statement):
            raise CheckpointError(
                f"the config in {place!r} does more than assign values, in its line {statement.lineno}: "
                f"{ast.unparse(statement)[:80]!r}. It is not read, since that would run it. If you trust the file, "
                "save its config and give that as `model`."
            )
        values.update(_assigned(cast("ast.Assign", statement)))
    cfg = Config(values, cfg_text=text)
    if "custom_imports" in cfg:
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


def _assigned(statement: ast.Assign) -> dict[str, Any]:
    value = eval(compile(ast.Expression(statement.value), "<config of a checkpoint>", "eval"), {})
    return {target.id: value for target in statement.targets if type(target) is ast.Name}


def _is_assignment_of_data(statement: ast.stmt) -> bool:
    return (
        type(statement) is ast.Assign
        and all(type(target) is ast.Name for target in statement.targets)
        and _is_data(statement.value)
    )


def _is_data(node: ast.expr | None) -> bool:
    """Whether an expression is made of literals and calls of built-in containers, as a dumped config is."""
    if type(node) is ast.Call:
        known = ast.unparse(node.func) in _CALLED
        return known and all(map(_is_data, [*node.args, *(keyword.value for keyword in node.keywords)]))
    if type(node) is ast.Dict:
        return all(map(_is_data, [*node.keys, *node.values]))
    if type(node) in (ast.List, ast.Tuple, ast.Set):
        return all(map(_is_data, getattr(node, "elts", ())))
    return type(getattr(node, "operand", node)) is ast.Constant


def named_model(name: str, scope: str | None) -> ShippedModel:
    """The model called `name`, or by an alias so, in any case, that the package of a scope ships.

    Raises:
        ArgumentError: no scope is set.
        NotFoundError: the package ships no such model.
        MissingPackageError: the package is not installed.
    """
    models = shipped_models(_needed(scope, f"to look up the model {name!r}"))
    by_name = {known.lower(): model for model in models for known in model.names}
    found = by_name.get(name.lower())
    if found is None:
        raise NotFoundError(
            f"the package {scope!r} ships no model {name!r}, and there is no config file of that path."
            f"{did_you_mean(name, by_name)} list_models({scope!r}) lists all."
        )
    return found


def list_models(scope: str | None = None, patterns: str = r".*") -> list[str]:
    """Names of the models that a package ships, aliases included.

    Args:
        scope: the package, such as 'mmdet'; by default the current scope.
        patterns: a regular expression that names begin with.

    Raises:
        ArgumentError: no scope is given and none is set.
        MissingPackageError: the package is not installed.

    >>> list_models("mmdet", "rtmdet")  # doctest: +SKIP
    ['rtmdet_tiny_8xb32-300e_coco', 'rtmdet-t', ...]
    """
    models = shipped_models(_needed(scope or current_scope(), "to list models"))
    return [name for model in models for name in model.names if re.match(patterns, name)]


def current_scope() -> str | None:
    """The default scope, or None."""
    scope = DefaultScope.get_current_instance()
    return None if scope is None else scope.scope_name


def _needed(scope: str | None, purpose: str) -> str:
    if not scope:
        raise ArgumentError(f"a scope is needed {purpose}: the package that ships it, such as scope='mmdet'.")
    return scope
