"""Find the loader for a path or URL, and load from there."""

from __future__ import annotations

import logging
import os
import re
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import torch

from drivetrain.dist import barrier, is_main_process
from drivetrain.errors import CheckpointError, DuplicateError, MissingFileError
from drivetrain.fileio import get
from drivetrain.logging import print_log

from ._model_tables import USER_TABLE, address_of, get_external_models, get_mmcls_models, torchvision_url
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
            prefixes: such as `"s3://"`, or a regular expression for the beginning of a path.
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
        fitting = [prefix for prefix in cls._schemes if path.startswith(prefix) or _matches(prefix, path)]
        return cls._schemes[max(fitting, key=len)]


def _matches(prefix: str, path: str) -> bool:
    try:
        return re.match(prefix, path) is not None
    except re.error:
        return False  # a prefix that is plain text


def load_from_local(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load from the local disk, or by fsspec from any URL it knows."""
    if "://" in filename and not filename.startswith("file://"):
        return load_from_ceph(filename, map_location, trusted=trusted)
    return read_file(filename.removeprefix("file://"), map_location, trusted=trusted)


def load_from_ceph(
    filename: str,
    map_location: MapLocation = None,
    backend: str = "petrel",  # noqa: ARG001 - fsspec finds its own by the address
    *,
    trusted: bool = False,
) -> Any:
    """Load from an object store by fsspec; the name of a cluster before the address is dropped."""
    address = re.sub(r"^\S+?:(?=\w+://)", "", filename)
    return read_bytes(get(address), address, map_location, trusted=trusted)


def load_from_http(
    filename: str,
    map_location: MapLocation = None,
    model_dir: str | None = None,
    progress: bool = False,
    *,
    trusted: bool = False,
) -> Any:
    """Download, unless the file is there, and load from it. Rank 0 downloads, the others wait.

    Args:
        filename: the address.
        map_location: where tensors go, as in `torch.load`.
        model_dir: the folder to keep the file in; by default torch.hub's.
        progress: show a bar.
        trusted: run whatever code the file asks for.

    Raises:
        MissingFileError: the server does not have the file.
        CheckpointError: the download failed.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    cached = os.path.join(folder, os.path.basename(urlparse(filename).path))
    try:
        if is_main_process():
            _download(filename, cached, progress)
    finally:
        barrier()
    # On another node there may be another disk.
    _download(filename, cached, progress)
    return read_file(cached, map_location, trusted=trusted)


def _download(url: str, target: str, progress: bool) -> None:
    if os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, target, progress=progress)
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
    return load_from_http(torchvision_url(filename.partition("://")[2]), map_location, trusted=trusted)


def load_from_openmmlab(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load by a name such as `open-mmlab://resnet50_caffe` from the user's table; see `get_external_models`.

    Raises:
        NotFoundError: the table does not have the name.
    """
    return _load_named(address_of(filename, get_external_models(), USER_TABLE), map_location, trusted)


def load_from_mmcls(filename: str, map_location: MapLocation = None, *, trusted: bool = False) -> Any:
    """Load by a name such as `mmcls://mobilenet_v3_small` from the user's table; see `get_mmcls_models`.

    The head is left out, and names inside the backbone lose their prefix, so that the weights fit a backbone.

    Raises:
        NotFoundError: the table does not have the name.
    """
    checkpoint = _load_named(address_of(filename, get_mmcls_models(), "mmcls.json"), map_location, trusted)
    weights = checkpoint.get("state_dict", checkpoint)
    return {
        "state_dict": {
            name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")
        }
    }


def load_from_pavi(filename: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - called as every loader
    """Refuse a name of Pavi, a service inside one company.

    Raises:
        CheckpointError: always.
    """
    scheme = filename.partition("://")[0]
    raise CheckpointError(
        f"{filename!r}: names of {scheme}:// are not known here. Give the file's https:// or s3:// address or a local "
        f"path, or register a loader with CheckpointLoader.register_scheme({scheme + '://'!r}, ..., force=True)."
    )


def _load_named(address: str, map_location: MapLocation, trusted: bool) -> Any:
    loader = CheckpointLoader._get_checkpoint_loader(address)
    return loader(address, map_location, trusted=True) if trusted else loader(address, map_location)


for _prefixes, _loader in (
    ("", load_from_local),
    (("s3://", r"\S+:s3://", "gs://"), load_from_ceph),
    (("http://", "https://"), load_from_http),
    (("torchvision://", "modelzoo://"), load_from_torchvision),
    (("open-mmlab://", "openmmlab://"), load_from_openmmlab),
    ("mmcls://", load_from_mmcls),
    (("pavi://", "petrel://", r"\S+:petrel://"), load_from_pavi),
):
    CheckpointLoader.register_scheme(_prefixes, _loader)
