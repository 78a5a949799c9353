"""Test-time augmentation: predict several views of each sample and merge."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeAlias

from torch import Tensor, nn

from drivetrain.errors import ArgumentTypeError, BatchError, MissingAttributeError, NotSupportedError
from drivetrain.registry import MODELS
from drivetrain.typing import Batch

from .base_model import BaseModel

EnhancedBatchDataSamples: TypeAlias = list[Any]
"""For each sample of the batch, the predictions for all of its views."""

EnhancedBatchInputs: TypeAlias = list[Any]
"""For each view, the inputs of the batch."""

DATA_BATCH: TypeAlias = dict[str, Any] | tuple[Any, ...]
"""A batch of augmented samples: fields with one entry a view."""

MergedDataSamples: TypeAlias = list[Any]
"""One merged prediction for each sample."""


@MODELS.register_module()
class BaseTTAModel(BaseModel):
    """Wraps a model for testing with augmented views; a subclass writes `merge_preds`.

    Args:
        module: the model, or its config; it must have `test_step`, and its own data preprocessor does the work.
        data_preprocessor: as in `BaseModel`.

    Raises:
        ArgumentTypeError: `module` is neither a module nor a config.
        MissingAttributeError: the module has no `test_step`.
    """

    def __init__(
        self, module: dict[str, Any] | nn.Module, data_preprocessor: dict[str, Any] | nn.Module | None = None
    ) -> None:
        super().__init__(data_preprocessor)
        model: Any = MODELS.build(module) if hasattr(module, "items") and not hasattr(module, "forward") else module
        if not hasattr(model, "named_parameters"):
            raise ArgumentTypeError(f"module must be a model or a config dict, got {module!r}.")
        if not hasattr(model, "test_step"):
            raise MissingAttributeError(
                f"{type(self).__name__} calls test_step of the model it wraps, and {type(model).__name__} has none. "
                "Derive the model from BaseModel."
            )
        self.module = model

    @abstractmethod
    def merge_preds(self, data_samples_list: EnhancedBatchDataSamples) -> MergedDataSamples:
        """Merge the predictions of each sample's views.

        Args:
            data_samples_list: for each sample, a tuple with the predictions for all of its views.

        Returns:
            One prediction for each sample.
        """

    def test_step(self, data: Batch) -> MergedDataSamples:
        """Predict every view of a batch and merge.

        Args:
            data: a dict, list or tuple whose fields are lists with one entry a view, each entry a batch for the model.

        Raises:
            BatchError: the batch is something else, or its fields have different numbers of views.
        """
        predictions = [self.module.test_step(view) for view in _views(data)]
        return self.merge_preds(list(zip(*predictions, strict=False)))

    def forward(self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor") -> Any:
        """Not called by the loops; `test_step` calls the wrapped model.

        Raises:
            NotSupportedError: always, unless a subclass defines it.
        """
        raise NotSupportedError(
            f"{type(self).__name__} has no forward: call test_step, or `.module` for the wrapped model. A subclass "
            "that needs forward defines it."
        )


def _views(data: Batch) -> list[Any]:
    """One batch a view out of a batch whose fields hold all views."""
    by_name = hasattr(data, "items")
    if not by_name and not isinstance(data, (list, tuple)):
        raise BatchError(
            "test-time augmentation takes a dict, list or tuple of fields, each with one entry a view, got "
            f"{type(data).__name__}. End the pipeline in a TestTimeAug transform, and use pseudo_collate in the loader."
        )
    fields = list(data.values()) if by_name else list(data)
    counts = {len(field) for field in fields}
    if len(counts) != 1:
        raise BatchError(f"the fields of an augmented batch must have the same number of views, got {sorted(counts)}.")
    views = range(counts.pop())
    if by_name:
        return [{key: field[view] for key, field in data.items()} for view in views]
    return [[field[view] for field in fields] for view in views]
