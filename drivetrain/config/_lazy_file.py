"""A config in the Python dialect: bases under `with read_base():`, classes by import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivetrain.errors import ConfigParsingError, did_you_mean

from ._dict import ConfigDict, Origins, origins_of, set_origins
from ._file import BASE_KEY, Loaded, checked_path, execute, is_read_base, mixed_dialects, parse, variables_of
from ._lazy import LazyObject, is_lazy
from ._merge import without_marks
from ._origins import Lines
from ._packages import package_folder

_STANDARD = {*sys.stdlib_module_names, *sys.builtin_module_names}
_CONFIG_ROOMS = ("mmengine", "mmengine.config", "drivetrain", "drivetrain.config")
_MAKE = "_drivetrain_lazy_"


@contextmanager
def read_base() -> Iterator[None]:
    """Mark the imports in a config that name its bases; the config reader looks at the block, and never runs it."""
    yield


def is_lazy_file(tree: ast.Module) -> bool:
    """Whether a file is in the Python dialect: it has a `with read_base()`, or imports a package to be used lazily."""
    for node in tree.body:
        if type(node) is ast.Assign and any(getattr(target, "id", None) == BASE_KEY for target in node.targets):
            return False
        if is_read_base(node):
            return True
        if type(node) in (ast.Import, ast.ImportFrom) and not _is_real(node):
            return True
    return False


def load_lazy(path: Path, chain: tuple[Path, ...] = ()) -> Loaded:
    """The file `path` with its bases.

    Raises:
        MissingFileError: there is no such file.
        ConfigParsingError: it breaks a rule of the dialect, or fails.
    """
    path = checked_path(path)
    if path in chain:
        raise ConfigParsingError(f"{path} is its own base: {' -> '.join(map(str, [*chain, path]))}.")
    text = path.read_text(encoding="utf-8")
    tree = parse(text, path)
    for node in tree.body:
        if type(node) is ast.Assign and any(getattr(target, "id", None) == BASE_KEY for target in node.targets):
            raise mixed_dialects(path, node.lineno, "`_base_ = ...`", "`with read_base():`")
    scope: dict[str, Any] = {"__file__": str(path), "__name__": "config", _MAKE: LazyObject}
    given, inherited = set(scope), Origins()
    for statement in _base_imports(tree, path):
        _take_base(statement, path, chain, scope, inherited)
    lines = Lines(tree, str(path))
    execute(ast.fix_missing_locations(_Imports(path).visit(tree)), path, scope)
    found = variables_of(scope, given)
    values = ConfigDict({name: value for name, value in found.items() if not is_lazy(value)})
    lines.annotate(values)
    set_origins(values, {name: inherited.get(name, ()) + origins_of(values, name) for name in values})
    imported = {name: value for name, value in found.items() if is_lazy(value)}
    return Loaded(without_marks(values), text, {}, imported)


def _take_base(
    statement: ast.ImportFrom, path: Path, chain: tuple[Path, ...], scope: dict[str, Any], inherited: Origins
) -> None:
    """Bring the names that `statement` imports from a base into `scope`."""
    place = _place_of(statement, path)
    base = load_lazy(place, (*chain, path))
    names = {**base.values._to_lazy_dict(), **base.imported}
    for alias in statement.names:
        for name in names if alias.name == "*" else [alias.name]:
            if name not in names:
                raise ConfigParsingError(
                    f"{path}:{statement.lineno} imports {name!r} from {place}, which does not set it."
                    f"{did_you_mean(name, names)}"
                )
            scope[alias.asname or name] = base.imported.get(name, dict.get(base.values, name))
            inherited[alias.asname or name] = origins_of(base.values, name)


def _base_imports(tree: ast.Module, path: Path) -> list[ast.ImportFrom]:
    """The imports under `with read_base()`, whose block is taken out of the tree."""
    found: list[ast.ImportFrom] = []
    blocks: list[Any] = [node for node in tree.body if is_read_base(node)]
    for node in blocks:
        tree.body.remove(node)
        for statement in node.body:
            if type(statement) is not ast.ImportFrom:
                raise ConfigParsingError(
                    f"{path}:{statement.lineno}: under `with read_base():` only `from ... import ...` may stand."
                )
            found.append(statement)
    return found


def _place_of(statement: ast.ImportFrom, path: Path) -> Path:
    parts = (statement.module or "").split(".")
    if statement.level:
        folder = path.parent
        for _ in range(statement.level - 1):
            folder = folder.parent
        return folder.joinpath(*parts).with_suffix(".py")
    return package_folder(parts[0]).joinpath(*parts[1:]).with_suffix(".py")


def _is_real(node: Any) -> bool:
    """Whether an import is made when the config is read: of Python's own library, or of the config room."""
    if type(node) is ast.Import:
        return all(alias.name.split(".")[0] in _STANDARD or alias.name in _CONFIG_ROOMS for alias in node.names)
    if node.level:
        return False
    return (node.module or "").split(".")[0] in _STANDARD or node.module in _CONFIG_ROOMS


class _Imports(ast.NodeTransformer):
    """Puts lazy objects in the place of imports."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def visit_Import(self, node: ast.Import) -> Any:
        """`import a.b` and `import a.b as c`."""
        if _is_real(node):
            return node
        return [
            self._assigned(alias.asname or alias.name.split(".")[0], node,
                           [alias.name if alias.asname else alias.name.split(".")[0], None])
            for alias in node.names
        ]  # fmt: skip

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """`from a import b`; Python's own modules are imported as they are."""
        if _is_real(node):
            # The mark of bases has done its work, under whichever root it was imported.
            node.names = [alias for alias in node.names if alias.name != "read_base"]
            return node if node.names else ast.copy_location(ast.Pass(), node)
        where = f"{self._path}:{node.lineno}"
        if node.level:
            raise ConfigParsingError(f"{where}: a base is imported under `with read_base():`, not outside.")
        if any(alias.name == "*" for alias in node.names):
            raise ConfigParsingError(f"{where}: name what is imported from {node.module}, instead of `*`.")
        return [self._assigned(alias.asname or alias.name, node, [node.module, alias.name]) for alias in node.names]

    def _assigned(self, name: str, node: ast.stmt, arguments: list[str | None]) -> ast.Assign:
        location = f"{self._path}, line {node.lineno}"
        call = ast.Call(ast.Name(_MAKE, ast.Load()), [ast.Constant(item) for item in [*arguments, location]], [])
        return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], call), node)
