"""How objects become JSON, YAML and pickle files, and back."""

from __future__ import annotations

import functools
import inspect
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._atomic import atomic_write
from ._missing import missing_file
from ._pickle import load_plain

if TYPE_CHECKING:
    import yaml

PICKLE_PROTOCOL = 4
"""The oldest that holds objects over 4 GiB."""


class BaseFileHandler(ABC):
    """One file format. Derive from it to bring your own, and make it known with `register_handler`."""

    str_like = True
    """Whether the format is text (`str`, UTF-8) rather than bytes."""

    runs_code = False
    """Whether reading a file of this format can run code that the file names."""

    def for_trusted_files(self) -> BaseFileHandler:
        """The handler for a file whose author is trusted: it may allow more."""
        return self

    @abstractmethod
    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read an object from an open file."""

    @abstractmethod
    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""

    @abstractmethod
    def dump_to_str(self, obj: Any, **kwargs: Any) -> str | bytes:
        """An object as text or bytes."""

    def load_from_path(self, filepath: str | Path, mode: str = "r", **kwargs: Any) -> Any:
        """Read an object from a local file, opened in `mode`."""
        try:
            with open(filepath, mode, encoding=None if "b" in mode else "utf-8") as file:
                return self.load_from_fileobj(file, **kwargs)
        except FileNotFoundError:
            raise missing_file(filepath) from None

    def dump_to_path(self, obj: Any, filepath: str | Path, mode: str = "w", **kwargs: Any) -> None:
        """Write an object to a local file, whole (see `atomic_write`); `mode` is 'w' or 'wb'."""
        with atomic_write(filepath, mode) as file:
            self.dump_to_fileobj(obj, file, **kwargs)


H = TypeVar("H", bound=type[BaseFileHandler])


class JsonHandler(BaseFileHandler):
    """JSON. Sets and ranges become lists; NumPy arrays and scalars become lists and numbers."""

    def load_from_fileobj(  # type: ignore[override]
        self,
        file: IO[Any],
        *,
        cls: type[json.JSONDecoder] | None = None,
        object_hook: Callable[[dict[Any, Any]], Any] | None = None,
        parse_float: Callable[[str], Any] | None = None,
        parse_int: Callable[[str], Any] | None = None,
        parse_constant: Callable[[str], Any] | None = None,
        object_pairs_hook: Callable[[list[tuple[Any, Any]]], Any] | None = None,
    ) -> Any:
        """Read an object from an open file; keyword arguments are those of `json.load`."""
        return json.load(
            file,
            cls=cls,
            object_hook=object_hook,
            parse_float=parse_float,
            parse_int=parse_int,
            parse_constant=parse_constant,
            object_pairs_hook=object_pairs_hook,
        )

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""
        file.write(self.dump_to_str(obj, **kwargs))

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """An object as JSON text; keyword arguments are those of `json.dumps`."""
        kwargs.setdefault("default", set_default)
        return json.dumps(obj, **kwargs)


class YamlHandler(BaseFileHandler):
    """YAML. Plain values and tuples; a file that names other Python objects is refused unless it is trusted."""

    def __init__(self, trusted: bool = False) -> None:
        self._trusted = trusted

    def for_trusted_files(self) -> YamlHandler:
        """The handler that lets a file name any Python object."""
        return YamlHandler(trusted=True)

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read an object from an open file."""
        import yaml

        kwargs.setdefault("Loader", yaml.UnsafeLoader if self._trusted else _plain_loader())
        try:
            return yaml.load(file, **kwargs)
        except yaml.constructor.ConstructorError as error:
            raise ArgumentError(
                f"this YAML holds more than plain values: {error}. A file you trust loads with trusted=True."
            ) from error

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""
        file.write(self.dump_to_str(obj, **kwargs))

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """An object as YAML text; keyword arguments are those of `yaml.dump`."""
        import yaml

        kwargs.setdefault("Dumper", _plain_dumper())
        return str(yaml.dump(obj, **kwargs))


class PickleHandler(BaseFileHandler):
    """Pickle. Reads containers, numbers, strings, arrays and tensors; a file that names more needs trust."""

    str_like = False
    runs_code = True

    def __init__(self, trusted: bool = False) -> None:
        self._trusted = trusted

    def for_trusted_files(self) -> PickleHandler:
        """The handler that runs whatever code a file names."""
        return PickleHandler(trusted=True)

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read an object from an open file; keyword arguments are those of `pickle.load`.

        Raises:
            UntrustedFileError: the file names something that is not plain.
        """
        return pickle.load(file, **kwargs) if self._trusted else load_plain(file, **kwargs)

    def load_from_path(self, filepath: str | Path, **kwargs: Any) -> Any:  # type: ignore[override]
        """Read an object from a local file."""
        return super().load_from_path(filepath, mode="rb", **kwargs)

    def dump_to_path(self, obj: Any, filepath: str | Path, **kwargs: Any) -> None:  # type: ignore[override]
        """Write an object to a local file, whole."""
        super().dump_to_path(obj, filepath, mode="wb", **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""
        kwargs.setdefault("protocol", PICKLE_PROTOCOL)
        pickle.dump(obj, file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> bytes:
        """An object as bytes; keyword arguments are those of `pickle.dumps`."""
        kwargs.setdefault("protocol", PICKLE_PROTOCOL)
        return pickle.dumps(obj, **kwargs)


file_handlers: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}
"""Formats by file ending."""


def register_handler(file_formats: str | list[str], **kwargs: Any) -> Callable[[H], H]:
    """Make a decorator that makes a file format known to `load` and `dump`; it replaces one that has the ending.

    Args:
        file_formats: file endings, without a dot.
        kwargs: arguments of the handler's constructor.

    Raises:
        ArgumentTypeError: `file_formats` is something else, or the class does not derive from `BaseFileHandler`.

    >>> @register_handler("txt")  # doctest: +SKIP
    ... class TextHandler(BaseFileHandler): ...
    """
    endings = [file_formats] if type(file_formats) is str else file_formats
    if type(endings) not in (list, tuple) or any(type(ending) is not str for ending in endings):
        raise ArgumentTypeError(f"file_formats must be a file ending or a list of them, got {file_formats!r}.")

    def decorate(cls: H) -> H:
        if not inspect.isclass(cls) or not issubclass(cls, BaseFileHandler):
            raise ArgumentTypeError(f"a handler must be a class derived from BaseFileHandler, got {cls!r}.")
        file_handlers.update(dict.fromkeys(endings, cls(**kwargs)))
        return cls

    return decorate


def set_default(obj: Any) -> Any:
    """What JSON writes for an object it does not know: sets, ranges, NumPy arrays and scalars become plain values.

    Raises:
        ArgumentTypeError: JSON has nothing for it.
    """
    if type(obj) in (set, range):
        return list(obj)
    if hasattr(obj, "tolist"):
        value = obj.tolist()
        if type(value) is not complex:
            return value
    raise ArgumentTypeError(
        f"JSON holds numbers, strings, lists and dicts, not {type(obj).__name__}: {str(obj)[:80]!r}. "
        "Convert it first, or dump to a .pkl file."
    )


@functools.cache
def _plain_loader() -> type[yaml.SafeLoader]:
    import yaml

    # The loader in C, where PyYAML was built with it, reads ten times as fast.
    class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Plain values and tuples."""

    def as_tuple(loader: Any, node: Any) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", as_tuple)
    return PlainLoader


@functools.cache
def _plain_dumper() -> type[yaml.Dumper]:
    import yaml

    class PlainDumper(yaml.Dumper):
        """Plain values; NumPy arrays and scalars as lists and numbers."""

        def represent_data(self, data: Any) -> Any:
            """The node of a value."""
            return super().represent_data(set_default(data) if hasattr(data, "tolist") else data)

    return PlainDumper
