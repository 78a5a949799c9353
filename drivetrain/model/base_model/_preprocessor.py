"""What happens to a batch between the loader and the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from drivetrain.registry import MODELS
from drivetrain.tensors import cast
from drivetrain.typing import Batch

from ._vendor import vendor_device

CastData: TypeAlias = Any
"""A nested batch: dicts, lists, tuples and named tuples of tensors, data elements, numbers, strings or None."""


@MODELS.register_module()
class BaseDataPreprocessor(nn.Module):
    """Moves any nested batch to the device of the model.

    Subclass it to normalise on the device, to mix samples of a batch, or to adapt a loader's format to a model's.
    `forward` gets `training` to tell the two apart.

    A class that defines `forward` may also set `moves_ahead = True`: it then promises that its only use of the host
    batch is `cast_data`, so the copy may begin while the batch before is still being computed. With `pure = True` it
    promises more: what it returns depends on the tensors of the batch and on `training` alone, it draws no random
    numbers and reads no tensor on the host. It may then be compiled, or captured in a graph.

    Args:
        non_blocking: let copies from pinned memory run beside the host.
    """

    moves_ahead: bool = True
    pure: bool = True

    def __init__(self, non_blocking: bool | None = False) -> None:
        super().__init__()
        self._non_blocking = bool(non_blocking)
        self._device = torch.device("cpu")

    def cast_data(self, data: CastData) -> CastData:
        """`data` with every tensor and data element on `self.device`; strings, numbers and None stay as they are."""
        return cast(data, self._device, self._non_blocking)

    def forward(self, data: Batch, training: bool = False) -> Batch:
        """Move the batch.

        Args:
            data: the batch as the loader yields it.
            training: whether this is a training step; unused here.
        """
        return self.cast_data(data)

    @property
    def device(self) -> torch.device:
        """Where `cast_data` puts data: the device this module, or a model around it, was moved to last."""
        return self._device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BaseDataPreprocessor:
        # Every way of moving a module ends here, whichever module around this one it was asked of. An empty tensor
        # tells where things go; the module itself may have no tensor to look at.
        super()._apply(fn, recurse)
        home = "cpu" if self._device.type == "meta" else self._device
        self._device = fn(torch.empty(0, device=home)).device
        return self

    def to(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to a device; takes what `nn.Module.to` takes."""
        return super().to(*args, **kwargs)

    def cuda(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to a CUDA device, the current one by default."""
        return super().cuda(*args, **kwargs)

    def cpu(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to the CPU."""
        return super().cpu()

    def npu(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to an Ascend NPU; needs its torch plug-in."""
        return self.to(vendor_device("npu", *args, **kwargs))

    def mlu(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to a Cambricon MLU; needs its torch plug-in."""
        return self.to(vendor_device("mlu", *args, **kwargs))

    def musa(self, *args: Any, **kwargs: Any) -> BaseDataPreprocessor:
        """Move to a Moore Threads GPU; needs its torch plug-in."""
        return self.to(vendor_device("musa", *args, **kwargs))
