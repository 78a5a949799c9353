"""How objects become JSON, YAML and pickle files, and back."""

from __future__ import annotations

import functools
import json
import pickle
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any

from drivetrain.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import yaml

PICKLE_PROTOCOL = 4
"""The oldest that holds objects over 4 GiB."""


class FileHandler(ABC):
    """One file format."""

    str_like = True
    """Whether the format is text (`str`, UTF-8) rather than bytes."""

    runs_code = False
    """Whether reading a file of this format can run code that the file names."""

    def for_trusted_files(self) -> FileHandler:
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


class JsonHandler(FileHandler):
    """JSON. Sets and ranges become lists; NumPy arrays and scalars become lists and numbers."""

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read an object from an open file."""
        return json.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""
        file.write(self.dump_to_str(obj, **kwargs))

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        """An object as JSON text; keyword arguments are those of `json.dumps`."""
        kwargs.setdefault("default", plain)
        return json.dumps(obj, **kwargs)


class YamlHandler(FileHandler):
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


class PickleHandler(FileHandler):
    """Pickle. Reading one runs whatever code it names: read only files you trust."""

    str_like = False
    runs_code = True

    def load_from_fileobj(self, file: IO[Any], **kwargs: Any) -> Any:
        """Read an object from an open file."""
        return pickle.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: IO[Any], **kwargs: Any) -> None:
        """Write an object to an open file."""
        kwargs.setdefault("protocol", PICKLE_PROTOCOL)
        pickle.dump(obj, file, **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> bytes:
        """An object as bytes; keyword arguments are those of `pickle.dumps`."""
        kwargs.setdefault("protocol", PICKLE_PROTOCOL)
        return pickle.dumps(obj, **kwargs)


file_handlers: dict[str, FileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}
"""Formats by file ending."""


def plain(obj: Any) -> Any:
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

    class PlainLoader(yaml.SafeLoader):
        """Plain values and tuples."""

    def as_tuple(loader: yaml.SafeLoader, node: Any) -> tuple[Any, ...]:
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
            return super().represent_data(plain(data) if hasattr(data, "tolist") else data)

    return PlainDumper
