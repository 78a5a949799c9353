"""The models that a package ships: their names, configs and weights, as its model index lists them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from drivetrain.errors import ConfigParsingError, MissingFileError
from drivetrain.fileio import load

from ._packages import package_folder

_INDEX = "model-index.yml"


class ShippedModel(NamedTuple):
    """A model that a package ships.

    Attributes:
        name: its name in the model index.
        aliases: its other names.
        config: the file of its config.
        weights: address of its weights; None where there are none.
        fields: all that the index says of it.
    """

    name: str
    aliases: tuple[str, ...]
    config: Path
    weights: str | None
    fields: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and its aliases."""
        return (self.name, *self.aliases)


def index_folder(module: str) -> Path:
    """The folder of a package's model index: `.mim` in an installed package, the repository in a source tree.

    Raises:
        MissingPackageError: the package is not installed.
        MissingFileError: it has no model index.
    """
    package = package_folder(module)
    for folder in (package / ".mim", package.parent):
        if (folder / _INDEX).is_file():
            return folder
    raise MissingFileError(
        f"the package {module!r} in {package} lists no models: there is no {_INDEX} in its folder .mim."
    )


@functools.cache
def shipped_models(module: str) -> tuple[ShippedModel, ...]:
    """The models of an installed package, which is not imported.

    Raises:
        MissingPackageError: the package is not installed.
        MissingFileError: it has no model index, or one that names a missing file.
    """
    return tuple(models_in(index_folder(module)))


def models_in(folder: Path) -> Iterator[ShippedModel]:
    """The models that the model index in a folder lists.

    Raises:
        MissingFileError: the index, or a file that it names, is not there.
        ConfigParsingError: an entry lacks its name or its config.
    """
    for metafile in load(folder / _INDEX)["Import"]:
        content = load(folder / metafile)
        entries = content.get("Models", []) if hasattr(content, "get") else content
        for fields in entries or []:
            yield _shipped_model(fields, folder, folder / metafile)


def _shipped_model(fields: Mapping[str, Any], folder: Path, metafile: Path) -> ShippedModel:
    try:
        name, config = str(fields["Name"]), folder / fields["Config"]
    except KeyError as error:
        raise ConfigParsingError(f"a model in {metafile} lacks {error}: {dict(fields)!r}.") from None
    aliases = fields.get("Alias") or ()
    return ShippedModel(
        name, (aliases,) if type(aliases) is str else tuple(aliases), config, fields.get("Weights"), fields
    )
