"""`StreamingMetric`: a metric that keeps counts instead of results, such as any torchmetrics object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from drivetrain.dist import all_reduce, broadcast_object_list, gather_object, get_comm_device, get_rank, get_world_size
from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError
from drivetrain.registry import METRICS
from drivetrain.tensors import cast

from ._arguments import Arguments, count_samples, drop_last, fields_of, first_device, from_outputs, from_selected
from ._values import snake_case_name, with_prefix

Select: TypeAlias = "Callable[[Any, Any], Any]"


@METRICS.register_module()
class StreamingMetric:
    """Gives an object with `update`, `compute` and `reset` what a model predicts, batch by batch.

    What `update` gets, in the order of precedence:

    - with `select`, what `select(data_batch, outputs)` returns: a tuple or list by position, a dict by name;
    - with `preds` (and `target`), those fields of the outputs: of a list of data elements or dicts, looked up in each
      and put together along the batch (dots reach inside: 'pred_instances.scores');
    - else the outputs as the model returned them: a tuple or list of tensors by position, a dict by the names that
      `update` has.

    Tensors, and the metric itself at its first batch, go to the device of the first tensor.

    Args:
        metric: the object, or its config.
        name: name of a single value; the metric's class in snake case by default, without 'binary_', 'multiclass_' and
            'multilabel_' ('accuracy', 'f1_score').
        prefix: put before each name, as 'prefix/name'.
        preds: field of the outputs that is the first argument.
        target: field of the outputs that is the second argument.
        select: chooses the arguments itself.

    Raises:
        ArgumentTypeError: `metric` lacks a method.
        ArgumentError: `select` is given beside `preds` or `target`, or `target` without `preds`.

    Example:
        >>> StreamingMetric(torchmetrics.Accuracy(task='multiclass', num_classes=10), preds='pred_score',
        ...                 target='gt_label')
    """

    takes_raw_outputs = True

    def __init__(
        self,
        metric: Any,
        name: str | None = None,
        prefix: str | None = None,
        preds: str | None = None,
        target: str | None = None,
        select: Select | None = None,
    ) -> None:
        self.metric = METRICS.build(metric) if issubclass(type(metric), dict) else metric
        _check_methods(self.metric)
        if select is not None and (preds or target):
            raise ArgumentError("select chooses all arguments: give either select, or preds and target.")
        if target and not preds:
            raise ArgumentError(f"target={target!r} needs preds, the name of the field that is compared with it.")
        self.name = name or snake_case_name(type(self.metric))
        self.prefix = prefix
        self.preds, self.target, self.select = preds, target, select
        self._dataset_meta: dict[str, Any] | None = None
        self._device: torch.device | None = None
        self._signature = _signature_of(self.metric)
        self._seen = 0
        self._held: Arguments | None = None

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the dataset; a metric with an attribute of that name gets it too."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Set by the loop before the first batch."""
        self._dataset_meta = dataset_meta
        if hasattr(self.metric, "dataset_meta"):
            self.metric.dataset_meta = dataset_meta

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Update the metric with one batch.

        Args:
            data_batch: the batch as the loader gave it; only `select` sees it.
            data_samples: the outputs as the model returned them.

        Raises:
            MetricError: the outputs have a form that `update` cannot take; it says what to set.
        """
        arguments = self._on_device(self._arguments(data_batch, data_samples))
        if get_world_size() == 1:
            self._update(arguments)
            return
        # The last batch waits: only `evaluate` knows whether a padding sampler repeated a sample in it.
        if self._held is not None:
            self._update(self._held)
        self._seen += count_samples(arguments) or 0
        self._held = arguments

    def evaluate(self, size: int) -> dict[str, Any]:
        """The metric's values over all processes, by name; the metric is reset.

        Args:
            size: number of samples in the dataset. Samples that a padding sampler repeated do not count.
        """
        if get_world_size() > 1:
            self._update_with_held(size)
            values = self._compute_over_processes()
        else:
            values = self.metric.compute()
        self.metric.reset()
        self._device = None  # merging may have moved the metric, and the next run may be elsewhere
        named = values if issubclass(type(values), dict) else {self.name: values}
        return with_prefix(named, self.prefix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.metric!r}, name={self.name!r})"

    def _arguments(self, data_batch: Any, outputs: Any) -> Arguments:
        if self.select is not None:
            return from_selected(self.select(data_batch, outputs))
        if self.preds is not None:
            names = [self.preds] if self.target is None else [self.preds, self.target]
            return Arguments(tuple(fields_of(outputs, name) for name in names), {})
        return from_outputs(outputs, self._signature, type(self.metric).__name__)

    def _on_device(self, arguments: Arguments) -> Arguments:
        if self._device is None:
            self._device = first_device(arguments)
            if self._device is not None and callable(getattr(self.metric, "to", None)):
                self.metric.to(self._device)
        return arguments if self._device is None else cast(arguments, self._device, non_blocking=True)

    def _update(self, arguments: Arguments) -> None:
        self.metric.update(*arguments.positional, **arguments.named)

    def _update_with_held(self, size: int) -> None:
        """Update with the batch that waited, without its last sample where that is a repeat.

        A sampler that deals sample i to process i % n and pads the end gives the surplus to the last processes, one
        repeat each. Any other surplus is no padding, and everything counts.
        """
        counts = torch.tensor([self._seen], dtype=torch.int64, device=get_comm_device())
        all_reduce(counts)
        surplus, world_size = int(counts) - size, get_world_size()
        repeated = 0 < surplus < world_size and get_rank() >= world_size - surplus
        held, self._held, self._seen = self._held, None, 0
        if held is not None and repeated:
            held = drop_last(held)
        if held is not None:
            self._update(held)

    def _compute_over_processes(self) -> Any:
        """The value over all processes: torchmetrics reduce their own state, others are merged on rank 0."""
        if _is_torchmetrics(self.metric):
            return self.metric.compute()
        if not callable(getattr(self.metric, "merge_state", None)):
            raise MetricError(
                f"{type(self.metric).__name__} runs on {get_world_size()} processes and cannot join their states: "
                f"give it a method merge_state(others) that adds the states of a list of its own kind to its own."
            )
        parts = gather_object(cast(self.metric, "cpu"))
        shared: list[Any] = [None]
        if parts is not None:
            parts[0].merge_state(parts[1:])
            shared[0] = parts[0].compute()
        broadcast_object_list(shared)
        return shared[0]


def _check_methods(metric: Any) -> None:
    missing = [name for name in ("update", "compute", "reset") if not callable(getattr(metric, name, None))]
    if missing:
        raise ArgumentTypeError(
            f"a streaming metric has update, compute and reset; {type(metric).__name__} has no {', '.join(missing)}."
        )


def _is_torchmetrics(metric: Any) -> bool:
    return any(cls.__module__.split(".")[0] == "torchmetrics" for cls in type(metric).__mro__)


def _signature_of(metric: Any) -> inspect.Signature | None:
    """Parameters of `update`; of a collection, which takes anything, those of its first member."""
    members = list(metric.values()) if _is_torchmetrics(metric) and hasattr(metric, "values") else []
    try:
        return inspect.signature((members or [metric])[0].update)
    except (TypeError, ValueError):
        return None
