"""Names that a config imports: imported when they are used, not when the config is read."""

from __future__ import annotations

import copy
import importlib
import sys
from typing import Any

from drivetrain.errors import BuildError, MissingAttributeError, MissingPackageError, did_you_mean


class LazyObject:
    """A module, or a name of a module, that is imported by `build`.

    A config made of these can be read, changed, printed and dumped on a machine without the packages it names.

    Args:
        module: dotted path of the module.
        imported: name in the module; None for the module itself.
        location: where the import stands, such as 'configs/a.py, line 3'; errors name it.
    """

    def __init__(self, module: str, imported: str | None = None, location: str | None = None) -> None:
        self._module, self._imported, self.location = module, imported, location

    def build(self) -> Any:
        """The object.

        Raises:
            MissingPackageError: the module cannot be imported.
            MissingAttributeError: the module has no such name.
        """
        try:
            module = importlib.import_module(self._module)
        except ImportError as error:
            raise MissingPackageError(f"cannot import {self._module!r}{self._where()}: {error}") from error
        if self._imported is None:
            return module
        if hasattr(module, self._imported):
            return getattr(module, self._imported)
        try:
            return importlib.import_module(f"{self._module}.{self._imported}")
        except ImportError:
            raise MissingAttributeError(
                f"module {self._module!r} has no {self._imported!r}{self._where()}."
                f"{did_you_mean(self._imported, dir(module))}"
            ) from None

    @property
    def module(self) -> str:
        """Dotted path of the module that has the name."""
        return self._module

    @property
    def dotted_path(self) -> str:
        """The path under which registries find the object."""
        return self._module if self._imported is None else f"{self._module}.{self._imported}"

    def _where(self) -> str:
        return f", imported in {self.location}" if self.location else ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # what copying and pickling look for is not in the module
            raise AttributeError(name)
        return LazyAttr(name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: what a config imports is not there while the config is read.

        Raises:
            BuildError: always.
        """
        raise BuildError(
            f"{self.dotted_path} was called while the config was read{self._where()}. A config only names what is "
            f"to be built: write dict(type={self!s}, ...) instead of {self!s}(...)."
        )

    def __eq__(self, other: object) -> bool:
        return is_lazy(other) and self.dotted_path == other.dotted_path  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.dotted_path)

    def __str__(self) -> str:
        return self.dotted_path.rpartition(".")[2]

    __repr__ = __str__

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.copy(self)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class LazyAttr(LazyObject):
    """An attribute of a lazy object: `torch.optim.SGD` after `import torch`.

    Args:
        name: the attribute.
        source: what has it.
        location: where it stands.
    """

    def __init__(self, name: str, source: LazyObject, location: str | None = None) -> None:
        super().__init__(source.dotted_path, name, location or source.location)
        self.name, self.source = name, source

    def build(self) -> Any:
        """The object.

        Raises:
            MissingPackageError: the module cannot be imported.
            MissingAttributeError: there is no such attribute.
        """
        owner = self.source.build()
        try:
            return getattr(owner, self.name)
        except AttributeError:
            if self.source.dotted_path in sys.modules:  # a submodule that nobody has imported yet
                return super().build()
            raise MissingAttributeError(
                f"{self.source.dotted_path} has no {self.name!r}{self._where()}.{did_you_mean(self.name, dir(owner))}"
            ) from None


def is_lazy(value: Any) -> bool:
    """Whether `value` stands for an import."""
    return type(value) in (LazyObject, LazyAttr)
