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
    def epoch(self) -> int:
        """Epochs made."""
        ...

    @property
    def iter(self) -> int:
        """Training steps made."""
        ...

    @property
    def max_epochs(self) -> int:
        """Epochs to train."""
        ...

    @property
    def max_iters(self) -> int:
        """Training steps of the run."""
        ...


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
    def cfg_text(self) -> str:
        """The config as Python source."""
        ...

    @property
    def hooks(self) -> list[Any]:
        """All hooks, in the order in which they run."""
        ...

    @property
    def epoch(self) -> int:
        """Epochs made."""
        ...

    @property
    def iter(self) -> int:
        """Training steps made."""
        ...

    @property
    def max_epochs(self) -> int:
        """Epochs to train."""
        ...

    @property
    def max_iters(self) -> int:
        """Training steps of the run."""
        ...

    @property
    def train_loop(self) -> Any:
        """The train loop, built on first access, or None."""
        ...

    @property
    def val_loop(self) -> Any:
        """The validation loop, built on first access, or None."""
        ...

    @property
    def test_loop(self) -> Any:
        """The test loop, built on first access, or None."""
        ...

    @property
    def train_dataloader(self) -> Any:
        """The loader of the train loop, or None."""
        ...

    @property
    def val_dataloader(self) -> Any:
        """The loader of the validation loop, or None."""
        ...

    @property
    def test_dataloader(self) -> Any:
        """The loader of the test loop, or None."""
        ...

    @property
    def work_dir(self) -> str:
        """Folder of checkpoints."""
        ...

    @property
    def log_dir(self) -> str:
        """Folder of this start's logs."""
        ...

    @property
    def timestamp(self) -> str:
        """When the runner was made."""
        ...

    @property
    def experiment_name(self) -> str:
        """Name of the run."""
        ...

    @property
    def seed(self) -> int | None:
        """Seed of the run."""
        ...

    @property
    def rank(self) -> int:
        """Rank of this process."""
        ...

    @property
    def world_size(self) -> int:
        """Number of processes."""
        ...

    @property
    def distributed(self) -> bool:
        """Whether several processes train together."""
        ...

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call a point of every hook that overrides it."""
        ...

    def save_checkpoint(self, out_dir: str, filename: str, **kwargs: Any) -> None:
        """Write the state of the run."""
        ...


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
