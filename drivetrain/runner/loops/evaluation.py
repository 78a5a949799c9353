"""Validation and test: the same loop under two names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Union

import torch
from torch.utils.data import DataLoader

from drivetrain.errors import ArgumentTypeError
from drivetrain.evaluator import Evaluator
from drivetrain.registry import LOOPS
from drivetrain.runner.amp import autocast
from drivetrain.structures import BaseDataElement
from drivetrain.typing import Metrics

from .base import BaseLoop

_Losses = dict[str, "list[torch.Tensor]"]


class _EvaluationLoop(BaseLoop):
    """Predicts every batch and evaluates; `mode` names the hook points and the model's step."""

    mode: str

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        evaluator: Any,
        fp16: bool,
    ) -> None:
        super().__init__(runner, dataloader)
        self.evaluator: Any = evaluator
        self.fp16 = fp16
        self._losses: _Losses = {}
        metainfo = getattr(getattr(self.dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            self.evaluator.dataset_meta = metainfo
            runner.visualizer.dataset_meta = metainfo

    def run(self) -> Metrics:
        """Run over the loader; returns the metrics."""
        runner, mode = self._runner, self.mode
        runner.call_hook(f"before_{mode}")
        runner.call_hook(f"before_{mode}_epoch")
        runner.model.eval()
        self._losses.clear()
        for idx, data_batch in enumerate(self.open_batches()):
            self.run_iter(idx, data_batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        metrics.update(self._mean_losses())
        runner.call_hook(f"after_{mode}_epoch", metrics=metrics)
        runner.call_hook(f"after_{mode}")
        return metrics

    def open_batches(self) -> Iterator[Any]:
        """The batches of a pass, as hooks see them. What fetches ahead or measures takes the place of this method."""
        return iter(self.dataloader)

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """Predict one batch and hand it to the evaluator; `idx` counts the batches from 0."""
        runner, mode = self._runner, self.mode
        runner.call_hook(f"before_{mode}_iter", batch_idx=idx, data_batch=data_batch)
        with self._autocast():
            outputs = getattr(runner.model, f"{mode}_step")(data_batch)
        outputs = self._take_losses(outputs)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        runner.call_hook(f"after_{mode}_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _autocast(self) -> AbstractContextManager[Any]:
        """The runner's precision where it has one, else what `fp16` says."""
        precision: Any = getattr(self._runner, "precision", None)
        if precision is None:
            return autocast(enabled=True) if self.fp16 else nullcontext()
        context: AbstractContextManager[Any] = precision.evaluation(self.fp16, self._runner.strategy.device.type)
        return context

    def _take_losses(self, outputs: Any) -> Any:
        """Take off a last element that holds nothing but losses, and keep them, on their device."""
        if type(outputs) is not list or not outputs or not isinstance(outputs[-1], BaseDataElement):
            return outputs
        if outputs[-1].keys() != ["loss"]:
            return outputs
        for name, value in outputs[-1].get("loss").items():
            values = [value] if torch.is_tensor(value) else list(value)
            self._losses.setdefault(name, []).extend(part.detach().mean() for part in values)
        return outputs[:-1]

    def _mean_losses(self) -> Metrics:
        # One copy for all batches, summed in float64 on the host: not every device has that.
        means = {name: torch.stack(values).cpu().double().mean().item() for name, values in self._losses.items()}
        return {**means, f"{self.mode}_loss": sum(means.values())} if means else {}


@LOOPS.register_module()
class ValLoop(_EvaluationLoop):
    """Validates: `model.val_step` on each batch, then the evaluator's metrics.

    Args:
        runner: the runner.
        dataloader: a loader or its config.
        evaluator: an `Evaluator`, or the config of one metric or a list of them.
        fp16: predict under autocast.

    Raises:
        ArgumentTypeError: `evaluator` is something else.
    """

    mode = "val"

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        evaluator: Union[Evaluator, dict[str, Any], list[Any]],  # noqa: UP007
        fp16: bool = False,
    ) -> None:
        built = runner.build_evaluator(evaluator)
        if not isinstance(built, Evaluator):
            raise ArgumentTypeError(
                "val_evaluator must be an Evaluator, a metric, its config or a list of these, "
                f"got {type(built).__name__}."
            )
        super().__init__(runner, dataloader, built, fp16)

    @property
    def val_loss(self) -> _Losses:
        """The losses that predictions carried in this validation, by name."""
        return self._losses


@LOOPS.register_module()
class TestLoop(_EvaluationLoop):
    """Tests: `model.test_step` on each batch, then the evaluator's metrics.

    Args:
        runner: the runner.
        dataloader: a loader or its config.
        evaluator: as for `ValLoop`; any other object with `process` and `evaluate` is used as it is.
        fp16: predict under autocast.
    """

    mode = "test"
    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        evaluator: Union[Evaluator, dict[str, Any], list[Any]],  # noqa: UP007
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, runner.build_evaluator(evaluator), fp16)

    @property
    def test_loss(self) -> _Losses:
        """The losses that predictions carried in this test, by name."""
        return self._losses
