"""Names that stand for addresses of weights: torchvision's own, and the user's table."""

from __future__ import annotations

import json
import os
from typing import Any

from drivetrain.errors import CheckpointError, NotFoundError, did_you_mean, require_package

ENV_MMENGINE_HOME = "MMENGINE_HOME"
ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
DEFAULT_CACHE_DIR = "~/.cache"
USER_TABLE = "open_mmlab.json"


def mmengine_home() -> str:
    """The folder of MMEngine's files: `$MMENGINE_HOME`, or `mmengine` in the user's cache."""
    cache = os.environ.get(ENV_XDG_CACHE_HOME, DEFAULT_CACHE_DIR)
    return os.path.expanduser(os.environ.get(ENV_MMENGINE_HOME, os.path.join(cache, "mmengine")))


def get_external_models() -> dict[str, str]:
    """Names of `open-mmlab://` and their addresses, from the user's table `$MMENGINE_HOME/open_mmlab.json`.

    MMEngine's own table is not part of this package; a copy of it in that place is read.

    Raises:
        CheckpointError: the table is there, and is no JSON object of texts.
    """
    return _read_table(USER_TABLE)


def get_mmcls_models() -> dict[str, str]:
    """Names of `mmcls://` and their addresses, from `$MMENGINE_HOME/mmcls.json` if that is there."""
    return _read_table("mmcls.json")


def get_deprecated_model_names() -> dict[str, str]:
    """Old names of models and their new ones, from `$MMENGINE_HOME/deprecated.json` if that is there."""
    return _read_table("deprecated.json")


def get_torchvision_models() -> dict[str, str]:
    """Names of `torchvision://` and the addresses of their weights.

    A model's name stands for its oldest weights, `model.version` for others: 'resnet50', 'resnet50.imagenet1k_v2'.

    Raises:
        MissingPackageError: torchvision is not installed.
    """
    models: Any = _torchvision("get_torchvision_models()")
    table: dict[str, str] = {}
    for model in models.list_models():
        weights = models.get_model_weights(model).__members__
        for version, entry in weights.items():
            table.setdefault(model, entry.url)
            table[f"{model}.{version.lower()}"] = entry.url
    return table


def torchvision_url(name: str) -> str:
    """The address of weights of torchvision by their name.

    Raises:
        NotFoundError: torchvision has no such model or weights.
        MissingPackageError: torchvision is not installed.
    """
    models: Any = _torchvision(f"the checkpoint torchvision://{name}")
    model, _, version = name.lower().partition(".")
    known = models.list_models()
    if model not in known:
        raise NotFoundError(f"torchvision has no weights for a model {model!r}.{did_you_mean(model, known)}")
    weights = models.get_model_weights(model).__members__
    found = version.upper() or next(iter(weights))
    if found not in weights:
        raise NotFoundError(f"torchvision's {model} has the weights {', '.join(weights)}, not {version!r}.")
    return str(weights[found].url)


def address_of(filename: str, table: dict[str, str], file: str) -> str:
    """What a name such as 'open-mmlab://resnet50_caffe' stands for: an address, or a path in MMEngine's folder.

    Raises:
        NotFoundError: the table does not have it.
    """
    scheme, _, name = filename.partition("://")
    name = get_deprecated_model_names().get(name, name)
    if name not in table:
        path = os.path.join(mmengine_home(), file)
        held = f"The table {path} has {len(table)} names." if table else f"There is no table {path}."
        raise NotFoundError(
            f"{filename!r}: the name {name!r} is not known.{did_you_mean(name, table)} {held} MMEngine's own table is "
            f"not part of drivetrain: give the file's https:// or s3:// address or a local path; write "
            f'{{"{name}": "https://..."}} into that table; or register a loader with '
            f"CheckpointLoader.register_scheme({scheme + '://'!r}, ..., force=True)."
        )
    address = table[name]
    return address if "://" in address else os.path.join(mmengine_home(), address)


def _read_table(file: str) -> dict[str, str]:
    path = os.path.join(mmengine_home(), file)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            table = json.load(stream)
    except ValueError as error:
        raise CheckpointError(f"the table of models {path!r} is no JSON: {error}.") from error
    if type(table) is not dict or not all(type(value) is str for value in table.values()):
        raise CheckpointError(f"the table of models {path!r} must map names to addresses or paths.")
    return table


def _torchvision(purpose: str) -> Any:
    try:
        from torchvision import models
    except ImportError:
        raise require_package("torchvision", purpose, "vision") from None
    return models
