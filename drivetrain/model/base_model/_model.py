"""The base of every model that the loops drive."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentTypeError
from drivetrain.model._base_module import BaseModule
from drivetrain.registry import MODELS
from drivetrain.typing import Batch, DeviceLike, LogVars, OptimWrapperLike

from ._call import call_model
from ._losses import parse_losses
from ._preprocessor import BaseDataPreprocessor
from ._vendor import vendor_device


class BaseModel(BaseModule):
    """A model with the three steps that loops call; subclasses write `forward`.

    Args:
        data_preprocessor: a module, or the config of one in MODELS; None gives a `BaseDataPreprocessor`, which moves
            batches to the device.
        init_cfg: how weights are initialised, see `BaseModule`.

    Raises:
        ArgumentTypeError: `data_preprocessor` is neither a module nor a dict.

    >>> class Regression(BaseModel):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(8, 1)
    ...     def forward(self, x, y=None, mode="tensor"):
    ...         out = self.layer(x)
    ...         return {"loss": (out - y).square().mean()} if mode == "loss" else out
    """

    def __init__(
        self,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.data_preprocessor = _build_preprocessor(data_preprocessor)

    def train_step(self, data: Batch, optim_wrapper: OptimWrapperLike) -> LogVars:
        """One optimisation step: preprocess, forward, loss, update.

        Override it for another way of optimising, such as two optimizers that take turns; return a dict of losses.

        Args:
            data: the batch as the loader yields it.
            optim_wrapper: gives the context of the forward pass and updates the parameters.

        Returns:
            Scalar tensors to log, the total first, as `loss`; they are on the device.
        """
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            losses = self._run_forward(data, mode="loss")
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Batch) -> Any:
        """Predictions for one validation batch.

        Args:
            data: the batch as the loader yields it.

        Returns:
            What `forward(mode='predict')` returns.
        """
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def test_step(self, data: Batch) -> Any:
        """Predictions for one test batch, as `val_step` makes them.

        Args:
            data: the batch as the loader yields it.

        Returns:
            What `forward(mode='predict')` returns.
        """
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, LogVars]:
        """One loss out of several.

        Args:
            losses: values by name. A tensor counts with its mean, a list of tensors with the sum of their means. What
                has 'loss' in its name is added up; the rest is logged only.

        Returns:
            The total, and a dict of scalar tensors with the total first, as `loss`. A single scalar loss is returned as
            it came.

        Raises:
            LossError: no dict, no key with 'loss', or a value that is neither a tensor nor a list of tensors.
        """
        return parse_losses(losses)

    @abstractmethod
    def forward(self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor") -> Any:
        """Run the network; the parameters beside `mode` are those that the batches have.

        Args:
            inputs: images or other input of the network, (N, C, ...) as a rule.
            data_samples: labels and meta information, one for each sample.
            mode: 'loss' returns a dict of differentiable losses, 'predict' predictions as metrics take them, 'tensor'
                the raw output without post-processing.
        """

    def to(self, *args: Any, **kwargs: Any) -> BaseModel:
        """Move to a device or dtype; takes what `nn.Module.to` takes. Data preprocessors inside follow."""
        return super().to(*args, **kwargs)

    def cuda(self, device: DeviceLike | None = None) -> BaseModel:
        """Move to a CUDA device, the current one by default."""
        return super().cuda(device)  # type: ignore[arg-type]

    def cpu(self, *args: Any, **kwargs: Any) -> BaseModel:
        """Move to the CPU."""
        return super().cpu()

    def npu(self, device: DeviceLike | None = None) -> BaseModel:
        """Move to an Ascend NPU; needs its torch plug-in."""
        return self.to(vendor_device("npu", device))

    def mlu(self, device: DeviceLike | None = None) -> BaseModel:
        """Move to a Cambricon MLU; needs its torch plug-in."""
        return self.to(vendor_device("mlu", device))

    def musa(self, device: DeviceLike | None = None) -> BaseModel:
        """Move to a Moore Threads GPU; needs its torch plug-in."""
        return self.to(vendor_device("musa", device))

    def _set_device(self, device: torch.device) -> None:
        """Tell every data preprocessor inside where batches go, without moving anything."""
        for module in self.modules():
            if isinstance(module, BaseDataPreprocessor):
                module._device = torch.device(device)

    def _run_forward(self, data: Batch, mode: str) -> Any:
        return call_model(self, self.forward, data, mode)


def _build_preprocessor(given: dict[str, Any] | nn.Module | None) -> Any:
    if given is None:
        return BaseDataPreprocessor()
    if isinstance(given, nn.Module):
        return given
    if hasattr(given, "items"):
        return MODELS.build(given)
    raise ArgumentTypeError(
        f"data_preprocessor must be an nn.Module or a config dict, got {given!r} of type {type(given).__name__}. "
        "Write dict(type='ImgDataPreprocessor', ...) or pass the object."
    )
