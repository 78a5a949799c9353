"""Data parallelism with the steps of the contract."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from drivetrain.model._anomalous import detect_anomalous_params as report_anomalous_params
from drivetrain.model.base_model._call import call_model
from drivetrain.registry import MODEL_WRAPPERS
from drivetrain.typing import Batch, LogVars, OptimWrapperLike


@MODEL_WRAPPERS.register_module()
class MMDistributedDataParallel(DistributedDataParallel):
    """`DistributedDataParallel` around a `BaseModel`, with its three steps.

    The forward pass of training goes through the wrapper, so that gradients are reduced while backward runs; a
    `train_step` of the model's own is therefore not called. Validation and test go to the model directly.

    Args:
        module: the model.
        detect_anomalous_params: after each training step, log the parameters that the loss does not depend on. Slow.
        **kwargs: for `DistributedDataParallel`.
    """

    def __init__(self, module: nn.Module, detect_anomalous_params: bool = False, **kwargs: Any) -> None:
        super().__init__(module=module, **_in_torchs_words(kwargs))
        self.detect_anomalous_params = detect_anomalous_params

    def train_step(self, data: Batch, optim_wrapper: OptimWrapperLike) -> LogVars:
        """One optimisation step, as `BaseModel.train_step` makes it.

        Args:
            data: the batch as the loader yields it.
            optim_wrapper: gives the context of the forward pass and updates the parameters.

        Returns:
            Scalar tensors to log, the total first, as `loss`.
        """
        with optim_wrapper.optim_context(self):
            data = self.module.data_preprocessor(data, training=True)
            losses = self._run_forward(data, mode="loss")
        loss, log_vars = self.module.parse_losses(losses)
        optim_wrapper.update_params(loss)
        if self.detect_anomalous_params:
            report_anomalous_params(loss, self)
        return log_vars

    def val_step(self, data: Batch) -> Any:
        """Predictions for one validation batch, from the model's `val_step`."""
        return self.module.val_step(data)

    def test_step(self, data: Batch) -> Any:
        """Predictions for one test batch, from the model's `test_step`."""
        return self.module.test_step(data)

    def _run_forward(self, data: Batch, mode: str) -> Any:
        return call_model(self, self.module.forward, data, mode)


def _in_torchs_words(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with `broadcast_buffers` under the name that newer releases of torch ask for.

    There buffers are also made equal once at the start, as a run does with all weights anyway.
    """
    if "broadcast_buffers" not in arguments or _NEWER_NAME not in _KNOWN:
        return arguments
    renamed = dict(arguments)
    renamed.setdefault(_NEWER_NAME, renamed.pop("broadcast_buffers"))
    return renamed


_NEWER_NAME = "forward_sync_buffers"
_KNOWN = inspect.signature(DistributedDataParallel.__init__).parameters
