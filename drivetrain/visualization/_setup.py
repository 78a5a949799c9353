"""Build the backends of a visualizer from what the user gave."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentTypeError, DuplicateError
from drivetrain.registry import VISBACKENDS

from ._backend import BaseVisBackend


def build_backends(given: Any, folder: str | None) -> dict[str, BaseVisBackend]:
    """The backends by name.

    Args:
        given: None, one backend or config, or a list of those.
        folder: where backends write that were given no `save_dir` of their own.

    Raises:
        ArgumentTypeError: an item is neither a config nor a backend.
        DuplicateError: two have one name.
    """
    items = [] if given is None else list(given) if type(given) in (list, tuple) else [given]
    backends: dict[str, BaseVisBackend] = {}
    for item in items:
        name, backend = _named_backend(item, folder)
        if name in backends:
            raise DuplicateError(
                f"two backends are called {name!r}: give one another name, as in dict(type={name!r}, name='second')."
            )
        if _lacks_folder(backend):
            warnings.warn(f"{name} is left out: it needs a folder. Set the visualizer's `save_dir`.", stacklevel=3)
        else:
            backends[name] = backend
    return backends


def _named_backend(item: Any, folder: str | None) -> tuple[str, BaseVisBackend]:
    if isinstance(item, Mapping):
        config = dict(item)
        name = config.pop("name", None)
        backend = VISBACKENDS.build(config, default_args={"save_dir": folder})
        return name or type(backend).__name__, backend
    if isinstance(item, BaseVisBackend):
        return type(item).__name__, item
    raise ArgumentTypeError(
        "vis_backends should be a backend, a config such as dict(type='LocalVisBackend'), or a list of those; "
        f"got {item!r}."
    )


def _lacks_folder(backend: BaseVisBackend) -> bool:
    """Whether the backend's constructor requires a `save_dir` and it has none."""
    parameter = inspect.signature(type(backend)).parameters.get("save_dir")
    required = parameter is not None and parameter.default is inspect.Parameter.empty
    return required and getattr(backend, "_save_dir", None) is None
