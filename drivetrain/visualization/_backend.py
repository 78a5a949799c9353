"""The base of all places that scalars, images and configs are written to."""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Method = TypeVar("Method", bound=Callable[..., Any])


def force_init_env(old_func: Method) -> Method:
    """Decorator of a backend's method: run `_init_env` once before the first of the decorated methods runs."""

    @functools.wraps(old_func)
    def with_environment(self: BaseVisBackend, *args: Any, **kwargs: Any) -> Any:
        if not getattr(self, "_env_initialized", False):
            # Set first: `_init_env` may use the decorated methods.
            self._env_initialized = True
            try:
                self._init_env()
            except BaseException:
                self._env_initialized = False
                raise
        return old_func(self, *args, **kwargs)

    return with_environment  # type: ignore[return-value]


class BaseVisBackend(metaclass=ABCMeta):
    """A place that scalars, images and configs are written to.

    A subclass gives `_init_env`, which opens the place (a folder, a run of a tracker), and `experiment`; it decorates
    `experiment` and the methods it overrides with `force_init_env`, so that nothing is opened before it is used. The
    methods here do nothing: a backend takes what it can.

    Args:
        save_dir: the folder for its files; None where the backend needs none.
    """

    def __init__(self, save_dir: str) -> None:
        self._save_dir = save_dir
        self._env_initialized = False

    @property
    @abstractmethod
    def experiment(self) -> Any:
        """The object that writes: a module, a writer, or the backend itself."""

    @abstractmethod
    def _init_env(self) -> Any:
        """Open the place; runs once, on first use."""

    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Write the config of the run."""

    def add_graph(self, model: nn.Module, data_batch: Sequence[Any], **kwargs: Any) -> None:
        """Write the graph of a model, traced with a batch."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image, uint8 (H, W, 3) in RGB order."""

    def add_scalar(self, name: str, value: int | float, step: int = 0, **kwargs: Any) -> None:
        """Write a number."""

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write several numbers of one step."""

    def close(self) -> None:
        """Finish: flush and close what is open."""
