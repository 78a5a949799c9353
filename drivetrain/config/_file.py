"""One config file as a dict, bases included: the text dialect (`_base_ = ...`), in Python, YAML and JSON."""

from __future__ import annotations

import ast
import json
import traceback
import types
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from drivetrain.errors import (
    ArgumentTypeError,
    ConfigParsingError,
    DrivetrainError,
    DuplicateError,
    MissingFileError,
    did_you_mean,
)

from ._dict import ConfigDict, is_node, origins_of, reading, set_origins
from ._merge import merged, without_marks
from ._origins import Lines, annotate_yaml
from ._packages import config_folder
from ._substitute import BaseReferences, environment, predefined

BASE_KEY = "_base_"
SUFFIXES = (".py", ".json", ".yaml", ".yml")
_DROPPED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


class Loaded(NamedTuple):
    """What a file and its bases give.

    Attributes:
        values: the variables, merged.
        text: each file's path and content, bases first.
        variables: environment variables that were used.
        imported: what a file in the Python dialect imported, by name.
    """

    values: ConfigDict
    text: str
    variables: dict[str, str]
    imported: Mapping[str, Any] = MappingProxyType({})


class Reader:
    """Reads files of the text dialect.

    Args:
        predefined: whether `{{ fileDirname }}` and the like are replaced.
        environment: whether `{{$NAME}}` is replaced.
    """

    def __init__(self, predefined: bool = True, environment: bool = True) -> None:
        self._predefined, self._environment = predefined, environment

    def load(self, path: Path, chain: tuple[Path, ...] = ()) -> Loaded:
        """The file `path` over its bases.

        Raises:
            MissingFileError: there is no such file.
            ConfigParsingError: it cannot be read, or is its own base.
            DuplicateError: two bases have the same key.
            NotFoundError: a variable or a base's value is not there.
        """
        path = checked_path(path)
        if path in chain:
            raise ConfigParsingError(f"{path} is its own base: {' -> '.join(map(str, [*chain, path]))}.")
        original = path.read_text(encoding="utf-8")
        text, used = self._substituted(original, path)
        references = BaseReferences(text, quoted=path.suffix == ".json")
        file = _PythonFile(references.text, path) if path.suffix == ".py" else _YamlFile(references.text, path)
        bases = [self._load_base(name, path, chain) for name in file.bases]
        base = _joined([loaded.values for loaded in bases], path)
        values = file.run(base, references.resolve(base, path))
        result = merged(base, references.fill(values)) if bases else without_marks(references.fill(values))
        for loaded in bases:
            used = {**loaded.variables, **used}
        return Loaded(result, "".join([*(loaded.text for loaded in bases), f"{path}\n{original}\n"]), used)

    def _substituted(self, text: str, path: Path) -> tuple[str, dict[str, str]]:
        if self._predefined:
            text = predefined(text, path)
        return environment(text, path) if self._environment else (text, {})

    def _load_base(self, name: str, path: Path, chain: tuple[Path, ...]) -> Loaded:
        place, scope = _place_of(name, path)
        try:
            loaded = self.load(place, (*chain, path))
        except MissingFileError as error:
            raise MissingFileError(f"{path} names {name!r} as its base: {error}") from None
        if scope is not None:
            _put_scope(loaded.values, scope)
        return loaded


class _PythonFile:
    """A Python file of the text dialect."""

    def __init__(self, text: str, path: Path) -> None:
        self._path = path
        self._tree = parse(text, path)
        for node in self._tree.body:
            if is_read_base(node):
                raise mixed_dialects(path, node.lineno, "`with read_base():`", "`_base_ = ...`")
        self._lines = Lines(self._tree, str(path))
        self.bases = self._take_bases()

    def run(self, base: ConfigDict, names: dict[str, Any]) -> ConfigDict:
        """The variables that the file leaves."""
        # What the file changes in `_base_` is changed: files of the packages do so.
        scope: dict[str, Any] = {**names, BASE_KEY: base, "__file__": str(self._path), "__name__": "config"}
        given = set(scope)
        execute(self._tree, self._path, scope)
        values = ConfigDict(variables_of(scope, given))
        self._lines.annotate(values)
        return values

    def _take_bases(self) -> list[str]:
        """The paths that `_base_ = ...` names; the assignment is taken out, for `_base_` to be the bases' values."""
        for statement in self._tree.body:
            targets = statement.targets if type(statement) is ast.Assign else []
            if any(getattr(target, "id", None) == BASE_KEY for target in targets):
                self._tree.body.remove(statement)
                expression = ast.Expression(statement.value)  # type: ignore[attr-defined]
                return _base_names(eval(compile(expression, str(self._path), "eval"), {}), self._path)
        return []


class _YamlFile:
    """A YAML or JSON file."""

    def __init__(self, text: str, path: Path) -> None:
        import yaml

        self._path = path
        try:
            values = (json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)) or {}
        except (yaml.YAMLError, json.JSONDecodeError) as error:
            raise ConfigParsingError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        if not hasattr(values, "items"):
            raise ConfigParsingError(
                f"{path} must hold a mapping of names to values, and holds a {type(values).__name__}."
            )
        self.bases = _base_names(values.pop(BASE_KEY, []), path)
        self._values = values
        self._node = None
        with suppress(yaml.YAMLError):  # YAML reads JSON as well, but for the rarest of texts: these have no lines
            self._node = yaml.compose(text, Loader=yaml.SafeLoader)

    def run(self, base: ConfigDict, names: dict[str, Any]) -> ConfigDict:
        """The values of the file."""
        values = ConfigDict(self._values)
        annotate_yaml(values, self._node, str(self._path))
        return values


def is_read_base(node: Any) -> bool:
    """Whether a statement is a `with read_base():`."""
    call: Any = node.items[0].context_expr if type(node) is ast.With else None
    return type(call) is ast.Call and getattr(call.func, "id", getattr(call.func, "attr", None)) == "read_base"


def mixed_dialects(path: Path, line: int, found: str, expected: str) -> ConfigParsingError:
    """The error for a file of one dialect that is read as one of the other."""
    return ConfigParsingError(
        f"{path}:{line} uses {found}, and is read by a config that uses {expected}. The two ways to write configs do "
        "not inherit from each other: write both files in one of them."
    )


def parse(text: str, path: Path) -> ast.Module:
    """The syntax tree of a Python config.

    Raises:
        ConfigParsingError: it is no Python.
    """
    try:
        return ast.parse(text, str(path))
    except SyntaxError as error:
        shown = (error.text or "").strip()
        raise ConfigParsingError(f"{path}:{error.lineno} is no Python: {error.msg}: {shown!r}.") from error


def execute(tree: ast.Module, path: Path, scope: dict[str, Any]) -> None:
    """Run the statements of a config; its variables are left in `scope`.

    Raises:
        ConfigParsingError: a statement fails.
    """
    reading.append(str(path))
    try:
        exec(compile(tree, str(path), "exec"), scope)
    except DrivetrainError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        near = did_you_mean(error.name, scope) if type(error) is NameError and error.name else ""
        raise ConfigParsingError(f"{where} fails when it is read: {type(error).__name__}: {error}.{near}") from error
    finally:
        reading.pop()


def checked_path(path: Path) -> Path:
    """`path`, absolute.

    Raises:
        MissingFileError: there is no such file.
        ConfigParsingError: its ending is none of a config's.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        near = did_you_mean(path.name, [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise MissingFileError(f"there is no config {str(path)!r}.{near}")
    if path.suffix not in SUFFIXES:
        raise ConfigParsingError(f"a config ends in {', '.join(SUFFIXES)}, and this is {str(path)!r}.")
    return path


def variables_of(scope: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """What a config defines: neither dunder names nor functions nor modules, nor what it was given."""
    return {
        name: value
        for name, value in scope.items()
        if not name.startswith("__") and name not in given and not isinstance(value, _DROPPED)
    }


def _base_names(given: Any, path: Path) -> list[str]:
    names = [given] if type(given) is str else given
    if type(names) not in (list, tuple) or any(type(name) is not str for name in names):
        raise ArgumentTypeError(f"_base_ of {path} must be a path or a list of paths, got {given!r}.")
    return list(names)


def _joined(bases: list[ConfigDict], path: Path) -> ConfigDict:
    """All bases as one; they may not speak of the same thing."""
    joined = ConfigDict()
    for base in bases:
        for key in dict.keys(base):
            if key in joined:
                places = " and ".join(str(origin) for where in (joined, base) for origin in origins_of(where, key)[-1:])
                raise DuplicateError(
                    f"two bases of {path} set {key!r}{f' ({places})' if places else ''}. Bases are taken side by side: "
                    "let one of them be the base of the other, or set the key in one only."
                )
            dict.__setitem__(joined, key, dict.__getitem__(base, key))
        set_origins(joined, base._origins or {})
    return joined


def _place_of(name: str, path: Path) -> tuple[Path, str | None]:
    """Where a base lies, and the scope of the package it comes from."""
    if "::" not in name:
        return path.parent / name, None
    scope, _, inner = name.partition("::")
    return config_folder(scope) / inner, scope


def _put_scope(values: ConfigDict, scope: str) -> None:
    """Let the outermost dicts with a type be built in `scope`."""
    for value in dict.values(values):
        _scope_below(value, scope)


def _scope_below(value: Any, scope: str) -> None:
    if is_node(value):
        if "type" in value:
            value.setdefault("_scope_", scope)
            return
        _put_scope(value, scope)
    elif type(value) in (list, tuple):
        for item in value:
            _scope_below(item, scope)
