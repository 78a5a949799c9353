"""Data parallelism part by part, for models whose parts have optimizers of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from drivetrain.device import get_device
from drivetrain.registry import MODEL_WRAPPERS
from drivetrain.typing import Batch, LogVars, OptimWrapperLike

from ._distributed import MMDistributedDataParallel


@MODEL_WRAPPERS.register_module()
class MMSeparateDistributedDataParallel(DistributedDataParallel):
    """Wraps each child of a model by itself, so that backward through one does not wait for the others.

    A GAN trains generator and discriminator by turns: with one wrapper around both, each backward would be missing the
    gradients of the other. The model's own `train_step` runs, and its children are wrapped inside it. A child with
    nothing to train is moved to the device and stays as it is.

    Args:
        module: the model, whose children are wrapped in place.
        broadcast_buffers: whether forward takes the buffers of the first process over.
        find_unused_parameters: whether parameters that a loss does not depend on are looked for.
        **kwargs: for the wrapper of each child.
    """

    def __init__(
        self, module: nn.Module, broadcast_buffers: bool = False, find_unused_parameters: bool = False, **kwargs: Any
    ) -> None:
        nn.Module.__init__(self)
        self.module = module
        device = get_device()
        for name, child in module.named_children():
            child = child.to(device)
            if any(parameter.requires_grad for parameter in child.parameters()):
                child = MMDistributedDataParallel(
                    child,
                    broadcast_buffers=broadcast_buffers,
                    find_unused_parameters=find_unused_parameters,
                    **kwargs,
                )
            setattr(module, name, child)

    def train_step(self, data: Batch, optim_wrapper: OptimWrapperLike) -> LogVars:
        """One step, as the model's own `train_step` makes it with a wrapper of an optimizer for each part."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Batch) -> Any:
        """Predictions for one validation batch, from the model's `val_step`."""
        return self.module.val_step(data)

    def test_step(self, data: Batch) -> Any:
        """Predictions for one test batch, from the model's `test_step`."""
        return self.module.test_step(data)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The model's own forward."""
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of no child are reduced inside the block."""
        with ExitStack() as stack:
            for child in self.module.children():
                if isinstance(child, DistributedDataParallel):
                    stack.enter_context(child.no_sync())
            yield

    def train(self, mode: bool = True) -> MMSeparateDistributedDataParallel:
        """Set the mode of this wrapper and of the model."""
        self.training = mode
        self.module.train(mode)
        return self
