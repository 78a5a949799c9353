"""Find the loader for a path or URL, and load from there."""

from __future__ import annotations

import logging
import os
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import torch

from drivetrain.dist import barrier, is_main_process
from drivetrain.errors import (
    CheckpointError,
    DuplicateError,
    MissingFileError,
    NotFoundError,
    did_you_mean,
    require_package,
)
from drivetrain.fileio import get
from drivetrain.logging import print_log

from ._read import MapLocation, read_bytes, read_file

Loader = TypeVar("Loader", bound=Callable[..., Any])


class CheckpointLoader:
    """Loads a checkpoint by the beginning of its path: a table from prefixes to functions.

    A loader takes `(filename, map_location)` and returns what the file holds. The longest prefix that fits wins; a path
    without a known prefix is a local file, or a URL for fsspec.

    >>> @CheckpointLoader.register_scheme("vault://")
    ... def load_from_vault(filename, map_location=None):
    ...     return torch.load(vault.fetch(filename), map_location=map_location, weights_only=True)
    """

    _schemes: dict[str, Callable[..., Any]] = {}

    @classmethod
    def register_scheme(
        cls, prefixes: str | list[str] | tuple[str, ...], loader: Callable[..., Any] | None = None, force: bool = False
    ) -> Any:
        """Register a loader for one or more prefixes, by a call or as a decorator.

        Args:
            prefixes: such as `"s3://"`.
            loader: the function; None makes this a decorator.
            force: replace a loader that has the prefix.

        Raises:
            DuplicateError: a prefix is taken, and `force` is False.
        """
        if loader is not None:
            cls._register_scheme(prefixes, loader, force)
            return None

        def register(decorated: Loader) -> Loader:
            cls._register_scheme(prefixes, decorated, force)
            return decorated

        return register

    @classmethod
    def load_checkpoint(
        cls,
        filename: str | Path,
        map_location: MapLocation = None,
        logger: logging.Logger | str | None = "current",
        *,
        trusted: bool = False,
    ) -> Any:
        """Load a checkpoint from wherever its path points.

        Args:
            filename: a path, or a URL with a registered prefix.
            map_location: where tensors go, as in `torch.load`.
            logger: where the line "Loads checkpoint ..." goes, as in `print_log`.
            trusted: run whatever code the file asks for; hands `trusted=True` to the loader.

        Returns:
            What the file holds.

        Raises:
            CheckpointError, MissingFileError: see `load_checkpoint`.
        """
        name = os.fspath(filename)
        loader = cls._get_checkpoint_loader(name)
        backend = getattr(loader, "__name__", "custom").removeprefix("load_from_")
        print_log(f"Loads checkpoint by {backend} backend from path: {name}", logger)
        return loader(name, map_location, trusted=True) if trusted else loader(name, map_location)

    @classmethod
    def _register_scheme(
        cls, prefixes: str | list[str] | tuple[str, ...], loader: Callable[..., Any], force: bool = False
    ) -> None:
        names = [prefixes] if type(prefixes) is str else list(prefixes)
        taken = [prefix for prefix in names if prefix in cls._schemes]
        if taken and not force:
            raise DuplicateError(f"{taken[0]!r} already has a loader; force=True replaces it.")
        cls._schemes.update(dict.fromkeys(names, loader))

    @classmethod
    def _get_checkpoint_loader(cls, path: str) -> Callable[..., Any]:
        fitting = [prefix for prefix in cls._schemes if path.startswith(prefix)]
        return cls._schemes[max(fitting, key=len)]


def load_from_local(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load from the local disk, or by fsspec from any URL it knows."""
    if "://" in filename and not filename.startswith("file://"):
        return load_from_ceph(filename, map_location, trusted=trusted)
    return read_file(filename.removeprefix("file://"), map_location, trusted=trusted)


def load_from_ceph(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load from an object store by fsspec."""
    return read_bytes(get(filename), filename, map_location, trusted=trusted)


def load_from_http(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Download into torch.hub's cache, unless it is there, and load from it. Rank 0 downloads, the others wait.

    Raises:
        MissingFileError: the server does not have the file.
        CheckpointError: the download failed.
    """
    cached = os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(urlparse(filename).path))
    try:
        if is_main_process():
            _download(filename, cached)
    finally:
        barrier()
    # On another node there may be another disk.
    _download(filename, cached)
    return read_file(cached, map_location, trusted=trusted)


def _download(url: str, target: str) -> None:
    if os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, target, progress=False)
    except urllib.error.HTTPError as error:
        kind = MissingFileError if error.code in (404, 410) else CheckpointError
        raise kind(f"{url} could not be downloaded: the server says {error.code} {error.reason}.") from error
    except OSError as error:
        raise CheckpointError(f"{url} could not be downloaded: {error}.") from error


def load_from_torchvision(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load weights of torchvision's models: `torchvision://resnet50`, or `torchvision://resnet50.imagenet1k_v2`.

    A name alone stands for the oldest weights of the model.

    Raises:
        NotFoundError: torchvision has no such model or weights.
        MissingPackageError: torchvision is not installed.
    """
    return load_from_http(_torchvision_url(filename.partition("://")[2]), map_location, trusted=trusted)


def _torchvision_url(name: str) -> str:
    try:
        from torchvision import models
    except ImportError:
        raise require_package("torchvision", f"the checkpoint torchvision://{name}", "vision") from None
    model, _, version = name.lower().partition(".")
    known = models.list_models()
    if model not in known:
        raise NotFoundError(f"torchvision has no weights for a model {model!r}.{did_you_mean(model, known)}")
    weights = models.get_model_weights(model).__members__
    found = version.upper() or next(iter(weights))
    if found not in weights:
        raise NotFoundError(f"torchvision's {model} has the weights {', '.join(weights)}, not {version!r}.")
    return str(weights[found].url)


def load_from_openmmlab(filename: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - called as every loader
    """Refuse a name from a table or store that this package does not have.

    Raises:
        CheckpointError: always.
    """
    scheme = filename.partition("://")[0]
    raise CheckpointError(
        f"{filename!r}: names of {scheme}:// are not known here. Give the file's https:// or s3:// address or a local "
        f"path, or register a loader with CheckpointLoader.register_scheme({scheme + '://'!r}, ..., force=True)."
    )


for _prefixes, _loader in (
    ("", load_from_local),
    (("s3://", "gs://"), load_from_ceph),
    (("http://", "https://"), load_from_http),
    (("torchvision://", "modelzoo://"), load_from_torchvision),
    (("open-mmlab://", "openmmlab://", "mmcls://", "pavi://", "petrel://"), load_from_openmmlab),
):
    CheckpointLoader.register_scheme(_prefixes, _loader)
