"""`BaseMetric`: collects results batch by batch on every process, and computes on all of them at the end."""

from __future__ import annotations

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

from drivetrain.dist import broadcast_object_list, collect_results, is_main_process
from drivetrain.errors import ArgumentError, MetricError, did_you_mean
from drivetrain.logging import print_log
from drivetrain.tensors import cast

from ._kept import to_host
from ._values import checked_metrics, with_prefix

_COLLECT_DEVICES = ("cpu", "gpu")


class BaseMetric(metaclass=ABCMeta):
    """A metric that keeps a result for each sample and computes on all of them.

    A subclass appends to `self.results` in `process` and returns values by name from `compute_metrics`. Memory grows
    with the number of samples: above `memory_budget_mb` a warning names the metric. `StreamingMetric` is the way in
    bounded memory. Now and then the evaluator replaces entries of earlier batches by equal ones that lie on the CPU
    and share no memory with a batch.

    Args:
        collect_device: results of other processes come through 'cpu' (host memory) or 'gpu' (the accelerator's
            backend).
        prefix: put before each name, as 'prefix/name'; None takes the class's `default_prefix`.
        collect_dir: accepted for compatibility: there are no shared files.

    Raises:
        ArgumentError: `collect_device` is unknown, or `collect_dir` is given with 'gpu'.
    """

    default_prefix: str | None = None
    memory_budget_mb: float = 2048

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None, collect_dir: str | None = None) -> None:
        if collect_device not in _COLLECT_DEVICES:
            near = did_you_mean(collect_device, _COLLECT_DEVICES)
            raise ArgumentError(f"collect_device must be 'cpu' or 'gpu', got {collect_device!r}.{near}")
        if collect_dir is not None and collect_device != "cpu":
            raise ArgumentError(f"collect_dir={collect_dir!r} goes with collect_device='cpu' only.")
        self._dataset_meta: dict[str, Any] | None = None
        self.collect_device = collect_device
        self.results: list[Any] = []
        self.prefix = prefix or self.default_prefix
        self.collect_dir = collect_dir

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the dataset (class names, ...); the loop sets it."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Set by the loop before the first batch."""
        self._dataset_meta = dataset_meta

    @abstractmethod
    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Append the results of one batch to `self.results`.

        Args:
            data_batch: the batch as the loader gave it.
            data_samples: what the model predicted for it; data elements come as dicts.
        """

    @abstractmethod
    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Values by name. Called on rank 0 only.

        Args:
            results: the results of all processes in the order of the dataset, on the CPU.
        """

    def evaluate(self, size: int) -> dict[str, Any]:
        """Collect the results of all processes, compute on rank 0, give every process the values, clear the results.

        Args:
            size: number of samples in the dataset; results beyond it are repeats of a padding sampler and cut off.

        Returns:
            Values by name, with the prefix.

        Raises:
            MetricError: `compute_metrics` returned no dict, or failed on rank 0 while this is another process.
        """
        if not self.results:
            print_log(
                f"{type(self).__name__} has no results to compute on: its `process` must append to `self.results`.",
                "current",
                logging.WARNING,
            )
        results = to_host(self.results)
        metrics = self._compute_on_main(collect_results(results, size, self.collect_device, self.collect_dir))
        self.results.clear()
        return metrics

    def _compute_on_main(self, results: list[Any] | None) -> dict[str, Any]:
        """Values by name on every process. An error on rank 0 reaches the others: nobody waits for a broadcast."""
        shared: list[Any] = [None, None]
        failure: Exception | None = None
        if is_main_process():
            try:
                shared[0] = self._named(_to_cpu(results))
            except Exception as error:  # raised again below, after the others know
                failure, shared[1] = error, f"{type(error).__name__}: {error}"
        broadcast_object_list(shared)
        if failure is not None:
            raise failure
        if shared[1] is not None:
            raise MetricError(f"{type(self).__name__} failed on rank 0 with {shared[1]}")
        return shared[0]

    def _named(self, results: list[Any]) -> dict[str, Any]:
        metrics = checked_metrics(self.compute_metrics(results), self, "compute_metrics")
        return with_prefix(metrics, self.prefix)


def _to_cpu(data: Any) -> Any:
    """The same nest with all tensors and data elements on the CPU."""
    return cast(data, "cpu")
