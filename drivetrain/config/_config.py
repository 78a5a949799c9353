"""`Config`: a config file, its bases, and what was changed since."""

from __future__ import annotations

import copy
import difflib
import importlib
import os
import tempfile
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

from drivetrain.errors import ArgumentError, ArgumentTypeError, DuplicateError, MissingPackageError, NotFoundError
from drivetrain.fileio import dump, put_text

from ._dict import ConfigDict, Origin, is_node, origins_of, plain
from ._file import SUFFIXES, Loaded, Reader, checked_path, parse
from ._lazy_file import is_lazy_file, load_lazy
from ._merge import merged, nested
from ._options import DictAction
from ._python_source import dump_python

RESERVED_KEYS = ["filename", "text", "pretty_text", "env_variables"]
DEPRECATION_KEY = "_deprecation_"
_OWN = ("_cfg_dict", "_filename", "_text", "_env_variables", "_format_python_code", "_imported")


class Config:
    """A config: read from a file with its bases, changed by options, printed, dumped.

    It reads and writes like a `ConfigDict`: `cfg.model.backbone.depth`, `cfg["lr"]`.

    Args:
        cfg_dict: the values; none by default.
        cfg_text: the text they were read from.
        filename: the file they were read from.
        env_variables: environment variables that the file used, by name.
        format_python_code: kept for its callers; the source is always formatted.

    Raises:
        ArgumentTypeError: `cfg_dict` is no dict.
        DuplicateError: a top-level key is a name that `Config` itself has.

    >>> cfg = Config(dict(model=dict(type="ResNet", depth=18)))
    >>> cfg.merge_from_dict({"model.depth": 50})
    >>> cfg.model
    {'type': 'ResNet', 'depth': 50}
    """

    def __init__(
        self,
        cfg_dict: dict[str, Any] | None = None,
        cfg_text: str | None = None,
        filename: Union[str, Path] | None = None,  # noqa: UP007
        env_variables: dict[str, Any] | None = None,
        format_python_code: bool = True,
    ) -> None:
        given = {} if cfg_dict is None else cfg_dict
        if not isinstance(given, dict):
            raise ArgumentTypeError(f"cfg_dict must be a dict, got {type(given).__name__}: {str(given)[:80]!r}.")
        for key in given:
            if key in RESERVED_KEYS:
                raise DuplicateError(
                    f"{key!r} is a name that Config itself has: choose another for the config's value."
                )
        values = given if is_node(given) else ConfigDict(given)
        text = cfg_text if cfg_text is not None or filename is None else Path(filename).read_text(encoding="utf-8")
        self._set(values, None if filename is None else str(filename), text or "", env_variables or {}, {})
        super().__setattr__("_format_python_code", format_python_code)

    def _set(
        self,
        values: ConfigDict,
        filename: str | None,
        text: str,
        variables: dict[str, Any],
        imported: Mapping[str, Any],
    ) -> None:
        super().__setattr__("_cfg_dict", values)
        super().__setattr__("_filename", filename)
        super().__setattr__("_text", text)
        super().__setattr__("_env_variables", variables)
        super().__setattr__("_imported", dict(imported))
        super().__setattr__("_format_python_code", True)

    @staticmethod
    def fromfile(
        filename: Union[str, Path],  # noqa: UP007
        use_predefined_variables: bool = True,
        import_custom_modules: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
    ) -> Config:
        """Read a file and its bases.

        Args:
            filename: ends in .py, .json, .yaml or .yml.
            use_predefined_variables: whether `{{ fileDirname }}` and the like are replaced.
            import_custom_modules: whether `custom_imports` of the config is imported.
            use_environment_variables: whether `{{$NAME:default}}` is replaced.
            lazy_import: whether the file is in the Python dialect; None finds out.
            format_python_code: kept for its callers.

        Raises:
            MissingFileError: there is no such file.
            ConfigParsingError: it cannot be read.
            NotFoundError: an environment variable, or a value of a base, is not there.
            MissingPackageError: `custom_imports` cannot be imported.
        """
        path = checked_path(Path(filename))
        if lazy_import is None:
            lazy_import = path.suffix == ".py" and is_lazy_file(parse(path.read_text(encoding="utf-8"), path))
        if lazy_import:
            loaded = load_lazy(path)
        else:
            loaded = Reader(use_predefined_variables, use_environment_variables).load(path)
        cfg = Config._of(loaded, str(filename))
        object.__setattr__(cfg, "_format_python_code", format_python_code)
        if import_custom_modules and cfg.get("custom_imports"):
            _import_modules(**cfg.custom_imports)
        return cfg

    @staticmethod
    def _of(loaded: Loaded, filename: str | None) -> Config:
        _warn_if_deprecated(loaded.values.pop(DEPRECATION_KEY), filename)
        cfg = Config(loaded.values)
        cfg._set(cfg._cfg_dict, filename, loaded.text, loaded.variables, loaded.imported)
        return cfg

    @staticmethod
    def fromstring(cfg_str: str, file_format: str) -> Config:
        """Read a config from text.

        Args:
            cfg_str: the text; it may have no bases with relative paths.
            file_format: '.py', '.json', '.yaml' or '.yml'.

        Raises:
            ArgumentError: another format.
        """
        if file_format not in SUFFIXES:
            raise ArgumentError(f"the format of a config must be one of {', '.join(SUFFIXES)}, got {file_format!r}.")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"config{file_format}"
            path.write_text(cfg_str, encoding="utf-8")
            cfg = Config.fromfile(path)
        object.__setattr__(cfg, "_filename", None)
        return cfg

    @staticmethod
    def auto_argparser(description: str | None = None) -> tuple[ArgumentParser, Config]:
        """A command-line parser with an option for each value of the config that the command names first."""
        first = ArgumentParser(description=description, add_help=False)
        first.add_argument("config", help="config file path")
        cfg = Config.fromfile(first.parse_known_args()[0].config)
        parser = ArgumentParser(description=description)
        parser.add_argument("config", help="config file path")
        _add_options(parser, cfg._cfg_dict)
        return parser, cfg

    @property
    def filename(self) -> str:
        """The file it was read from."""
        return self._filename

    @property
    def text(self) -> str:
        """Path and content of each file, bases first."""
        return self._text

    @property
    def env_variables(self) -> dict[str, Any]:
        """Environment variables that were used, by name."""
        return self._env_variables

    @property
    def pretty_text(self) -> str:
        """Python source that reads back equal."""
        return dump_python(self.to_dict())

    @property
    def _imported_names(self) -> set[str]:
        return set(self._imported)

    def origins(self, key: str) -> tuple[Origin, ...]:
        """The files and lines that set a value, the one that holds last.

        Args:
            key: dotted path, with indices for items of lists: 'model.backbone.depth', 'train_pipeline.0.type'.

        Raises:
            NotFoundError: there is no such value.
        """
        value: Any = self._cfg_dict
        places: tuple[Origin, ...] = ()
        for part in key.split("."):
            if is_node(value) and part in value:
                places, value = origins_of(value, part) or places, dict.__getitem__(value, part)
            elif type(value) in (list, tuple) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise NotFoundError(f"the config has no value {key!r}: there is no {part!r}.")
        return places

    def merge_from_dict(self, options: dict[str, Any], allow_list_keys: bool = True) -> None:
        """Let options override values.

        Args:
            options: values by dotted path: `{'model.backbone.depth': 50, 'pipeline.0.type': 'Load'}`.
            allow_list_keys: whether an index in a path changes an item of a list.

        Raises:
            ArgumentTypeError: a dict shall override what is no dict.
            NotFoundError: an index beyond a list.
        """
        child = nested(options, Origin("--cfg-options", 0))
        super().__setattr__("_cfg_dict", merged(self._cfg_dict, child, list_keys=allow_list_keys))

    @staticmethod
    def diff(cfg1: Union[str, Config], cfg2: Union[str, Config]) -> str:  # noqa: UP007
        """What differs between the sources of two configs, as a unified diff."""
        first, second = (_source_lines(cfg) for cfg in (cfg1, cfg2))
        return "\n".join(difflib.unified_diff(first, second))

    def dump(self, file: Union[str, Path] | None = None) -> str | None:  # noqa: UP007
        """Write the config.

        Args:
            file: ends in .py, .json, .yaml or .yml. None returns the text, in the format of the file it was read from.

        Raises:
            ArgumentError: another ending.
        """
        suffix = Path(file or self._filename or "config.py").suffix
        if suffix not in SUFFIXES:
            raise ArgumentError(f"a config is dumped to a file that ends in {', '.join(SUFFIXES)}, got {str(file)!r}.")
        text = self.pretty_text if suffix == ".py" else str(dump(_listed(self.to_dict()), file_format=suffix[1:]))
        if file is None:
            return text
        put_text(text, str(file))
        return None

    def to_dict(self, keep_imported: bool = False) -> dict[str, Any]:
        """Plain dicts, with dotted paths for lazy imports.

        Args:
            keep_imported: whether the names that a file of the Python dialect imported are among them.
        """
        imported = {name: value.dotted_path for name, value in self._imported.items()} if keep_imported else {}
        return {**imported, **self._cfg_dict.to_dict()}

    def _to_lazy_dict(self, keep_imported: bool = False) -> dict[str, Any]:
        return {**(self._imported if keep_imported else {}), **plain(self._cfg_dict, lambda value: value)}

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {dict.__repr__(self._cfg_dict)}"

    def __len__(self) -> int:
        return len(self._cfg_dict)

    def __contains__(self, name: object) -> bool:
        return name in self._cfg_dict

    def __iter__(self) -> Iterator[str]:
        return iter(self._cfg_dict)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # not set yet: an object that is being copied or unpickled
            raise AttributeError(name)
        return getattr(self._cfg_dict, name)

    def __getitem__(self, name: str) -> Any:
        return self._cfg_dict[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._cfg_dict[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self._cfg_dict[name] = value

    def __delattr__(self, name: str) -> None:
        delattr(self._cfg_dict, name)

    def __delitem__(self, name: str) -> None:
        del self._cfg_dict[name]

    def __getstate__(self) -> tuple[Any, ...]:
        return (
            self._cfg_dict, self._filename, self._text, self._env_variables, self._format_python_code, self._imported,
        )  # fmt: skip

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        values, filename, text, variables, _, imported = state
        self._set(ConfigDict(values), filename, text, variables, imported)

    def __copy__(self) -> Config:
        fresh = type(self).__new__(type(self))
        fresh.__setstate__((copy.copy(self._cfg_dict), *self.__getstate__()[1:]))
        return fresh

    copy = __copy__

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        fresh = type(self).__new__(type(self))
        memo[id(self)] = fresh
        fresh.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return fresh


def _source_lines(cfg: Any) -> list[str]:
    text: str = (Config.fromfile(cfg) if type(cfg) is str else cfg).pretty_text
    return text.split("\n")


def _listed(value: Any) -> Any:
    """`value` with lists for tuples: YAML and JSON have no tuples."""
    if type(value) is dict:
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if type(value) in (list, tuple) else value


def _warn_if_deprecated(notice: Mapping[str, Any] | None, filename: str | None) -> None:
    if notice:
        text = f"the config {filename} is deprecated"
        text += f"; use {notice['expected']} instead" if "expected" in notice else ""
        text += f". More: {notice['reference']}" if "reference" in notice else "."
        warnings.warn(text, DeprecationWarning, stacklevel=4)


def _import_modules(imports: Any, allow_failed_imports: bool = False) -> None:
    """Import what `custom_imports` names."""
    for name in [imports] if type(imports) is str else imports:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if not allow_failed_imports:
                raise MissingPackageError(
                    f"custom_imports names {name!r}, which cannot be imported: {error}. Run from the folder "
                    f"that has it, or add that to PYTHONPATH; it was looked for from {os.getcwd()}."
                ) from error
            warnings.warn(f"custom_imports: {name!r} cannot be imported ({error}).", UserWarning, stacklevel=3)


def _add_options(parser: ArgumentParser, cfg: ConfigDict, prefix: str = "") -> None:
    for key, value in cfg.items():
        name = f"--{prefix}{key}"
        if is_node(value):
            _add_options(parser, value, f"{prefix}{key}.")
        elif type(value) is bool:
            parser.add_argument(name, action="store_true")
        elif type(value) in (str, int, float):
            parser.add_argument(name, type=type(value))
        elif type(value) in (list, tuple):
            parser.add_argument(name, action=DictAction, nargs="+")
