"""Names for the shapes that rooms hand each other. Importing this costs nothing: no torch, no NumPy.

Rooms on one level do not import each other; they meet through the protocols here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import logging

    import torch
    from torch import Tensor, nn

ConfigType: TypeAlias = Mapping[str, Any]
"""A config: a mapping with string keys; `type` names what to build."""

StateDict: TypeAlias = dict[str, Any]
"""What `state_dict()` returns: plain containers, tensors, numbers and strings."""

Batch: TypeAlias = Any
"""One batch as a loader yields it: a dict, a list or a tuple; anything else is refused at the step."""

LogVars: TypeAlias = "dict[str, Tensor]"
"""What `train_step` returns: scalar tensors by name, on the device, detached or not."""

Metrics: TypeAlias = dict[str, Any]
"""What an evaluation returns: values by name."""


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state a checkpoint can hold."""

    def state_dict(self) -> StateDict:
        """The state, in plain containers."""
        ...

    def load_state_dict(self, state_dict: StateDict) -> Any:
        """Take over a state that `state_dict` returned."""
        ...


class OptimWrapperLike(Protocol):
    """What a model's `train_step` needs of an optimizer wrapper."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[None]:
        """The context for the forward pass: autocast, and no gradient synchronisation inside a window."""
        ...

    def update_params(self, loss: Tensor) -> None:
        """Scale, run backward, accumulate, clip, step, zero."""
        ...


class LoopLike(Protocol):
    """What hooks read of a loop."""

    dataloader: Any

    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def iter(self) -> int: ...  # noqa: D102
    @property
    def max_epochs(self) -> int: ...  # noqa: D102
    @property
    def max_iters(self) -> int: ...  # noqa: D102


class RunnerLike(Protocol):
    """What a hook sees of the runner. The whole `Runner` is passed; this is the part that hooks may rely on."""

    cfg: Any
    model: Any
    optim_wrapper: Any
    param_schedulers: Any
    message_hub: Any
    visualizer: Any
    log_processor: Any
    logger: logging.Logger

    schedulers_built: bool

    @property
    def cfg_text(self) -> str: ...  # noqa: D102
    @property
    def hooks(self) -> list[Any]: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def iter(self) -> int: ...  # noqa: D102
    @property
    def max_epochs(self) -> int: ...  # noqa: D102
    @property
    def max_iters(self) -> int: ...  # noqa: D102
    @property
    def train_loop(self) -> Any: ...  # noqa: D102
    @property
    def val_loop(self) -> Any: ...  # noqa: D102
    @property
    def test_loop(self) -> Any: ...  # noqa: D102
    @property
    def train_dataloader(self) -> Any: ...  # noqa: D102
    @property
    def val_dataloader(self) -> Any: ...  # noqa: D102
    @property
    def test_dataloader(self) -> Any: ...  # noqa: D102
    @property
    def work_dir(self) -> str: ...  # noqa: D102
    @property
    def log_dir(self) -> str: ...  # noqa: D102
    @property
    def timestamp(self) -> str: ...  # noqa: D102
    @property
    def experiment_name(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int | None: ...  # noqa: D102
    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def world_size(self) -> int: ...  # noqa: D102
    @property
    def distributed(self) -> bool: ...  # noqa: D102

    def call_hook(self, fn_name: str, **kwargs: Any) -> None: ...  # noqa: D102
    def save_checkpoint(self, out_dir: str, filename: str, **kwargs: Any) -> None: ...  # noqa: D102


DeviceLike: TypeAlias = "str | int | torch.device"
"""A device by name, by index or as an object."""

__all__ = [
    "Batch",
    "ConfigType",
    "DeviceLike",
    "Iterator",
    "LogVars",
    "LoopLike",
    "Metrics",
    "OptimWrapperLike",
    "RunnerLike",
    "Sequence",
    "StateDict",
    "Stateful",
]
