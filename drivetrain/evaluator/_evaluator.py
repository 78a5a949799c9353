"""`Evaluator`: hands every batch to all metrics, and gathers their values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, MetricError
from drivetrain.registry import EVALUATOR, METRICS
from drivetrain.structures import BaseDataElement

from ._memory import MemoryWatch
from ._metric import BaseMetric
from ._streaming import StreamingMetric
from ._values import checked_metrics

_MISSING = object()


@EVALUATOR.register_module()
class Evaluator:
    """One or more metrics that see the same batches.

    Args:
        metrics: a metric or a list of them. Each is a `BaseMetric`, a torchmetrics object, any other object with
            `update`, `compute` and `reset` (both become a `StreamingMetric`), or a config of one of these.

    Raises:
        ArgumentTypeError: something else is given.
    """

    def __init__(self, metrics: dict[str, Any] | BaseMetric | Sequence[Any]) -> None:
        self._dataset_meta: dict[str, Any] | None = None
        self._watches: dict[int, MemoryWatch] = {}
        given: Any = metrics if type(metrics) in (list, tuple) else [metrics]
        self.metrics: list[Any] = [_as_metric(metric) for metric in given]

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the dataset; setting it hands it to every metric."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Set by the loop before the first batch."""
        self._dataset_meta = dataset_meta
        for metric in self.metrics:
            metric.dataset_meta = dataset_meta

    def process(self, data_samples: Sequence[BaseDataElement], data_batch: Any | None = None) -> None:
        """Hand one batch to every metric.

        Args:
            data_samples: what the model predicted. Metrics of the `process` kind get its items in a list, data elements
                as dicts, and a dict of outputs as it is; streaming metrics get it as it is.
            data_batch: the batch as the loader gave it.
        """
        as_dicts: Any = _MISSING
        for metric in self.metrics:
            if getattr(metric, "takes_raw_outputs", False):
                metric.process(data_batch, data_samples)
                continue
            if as_dicts is _MISSING:
                as_dicts = _elements_as_dicts(data_samples)
            metric.process(data_batch, as_dicts)
            self._watch(metric).look(metric)

    def evaluate(self, size: int) -> dict[str, Any]:
        """The values of all metrics; their results are cleared.

        Args:
            size: number of samples in the dataset.

        Raises:
            MetricError: two metrics have a value of the same name, or a metric returns no dict.
        """
        values: dict[str, Any] = {}
        owners: dict[str, Any] = {}
        for metric in self.metrics:
            found = checked_metrics(metric.evaluate(size), metric, "evaluate")
            for name in found:
                if name in owners:
                    raise _same_name(name, owners[name], metric)
                owners[name] = metric
            values.update(found)
            self._watch(metric).start_over()
        return values

    def offline_evaluate(
        self, data_samples: Iterable[Any], data: Iterable[Any] | None = None, chunk_size: int = 1
    ) -> dict[str, Any]:
        """The values for predictions that were kept, such as the file of `DumpResults`.

        Args:
            data_samples: the predictions, one a sample.
            data: the samples themselves, if a metric needs them: as many, in the same order.
            chunk_size: samples handed on at a time.

        Raises:
            ArgumentError: `data` is shorter or longer than `data_samples`, or `chunk_size` is not positive.
        """
        if chunk_size < 1:
            raise ArgumentError(f"chunk_size must be at least 1, got {chunk_size}.")
        size = 0
        for samples, batch in _chunks(data_samples, data, chunk_size):
            size += len(samples)
            self.process(samples, batch)
        return self.evaluate(size)

    def _watch(self, metric: Any) -> MemoryWatch:
        return self._watches.setdefault(id(metric), MemoryWatch())


def _as_metric(metric: Any) -> Any:
    """The metric itself, built from its config and wrapped where it streams."""
    if issubclass(type(metric), Mapping):
        metric = METRICS.build(metric)
    if isinstance(metric, type):
        raise ArgumentTypeError(
            f"a metric must be an object or a config, got the class {metric.__name__}. "
            f"Create it: {metric.__name__}(...)."
        )
    if _has(metric, "process", "evaluate"):
        return metric
    if _has(metric, "update", "compute", "reset"):
        return StreamingMetric(metric)
    raise ArgumentTypeError(
        f"a metric is a BaseMetric, an object with update, compute and reset (torchmetrics), or a config such as "
        f"dict(type='Accuracy'); got {type(metric).__name__}: {metric!r}."
    )


def _has(value: Any, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)


def _elements_as_dicts(data_samples: Any) -> Any:
    if issubclass(type(data_samples), Mapping):
        return data_samples
    if not hasattr(data_samples, "__iter__"):
        raise MetricError(
            f"the evaluator was given {data_samples!r} of type {type(data_samples).__name__} as predictions. Let "
            "forward(mode='predict') return a list with one entry a sample, a tuple of tensors, or a dict."
        )
    return [sample.to_dict() if issubclass(type(sample), BaseDataElement) else sample for sample in data_samples]


def _same_name(name: str, first: Any, second: Any) -> MetricError:
    return MetricError(
        f"{type(first).__name__} and {type(second).__name__} both have a value called {name!r}. "
        f"Give one of them another prefix, as in prefix='second'."
    )


def _chunks(
    samples: Iterable[Any], data: Iterable[Any] | None, size: int
) -> Iterator[tuple[list[Any], list[Any] | None]]:
    """Samples and data in step, `size` at a time; both may be generators."""
    if data is None:
        rest = iter(samples)
        while chunk := list(itertools.islice(rest, size)):
            yield chunk, None
        return
    pairs = itertools.zip_longest(samples, data, fillvalue=_MISSING)
    while rows := list(itertools.islice(pairs, size)):
        if any(item is _MISSING for row in rows for item in row):
            raise ArgumentError("data_samples and data must be equally long, and one of them ended before the other.")
        yield [row[0] for row in rows], [row[1] for row in rows]
