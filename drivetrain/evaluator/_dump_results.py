"""`DumpResults`: write all predictions to a file, for offline evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivetrain.errors import ArgumentError
from drivetrain.fileio import dump
from drivetrain.logging import print_log
from drivetrain.registry import METRICS

from ._kept import lean, to_host
from ._metric import BaseMetric, _to_cpu


@METRICS.register_module()
class DumpResults(BaseMetric):
    """Keep every prediction and write them as one pickled list. Read it back with `load` only where it is trusted.

    Args:
        out_file_path: path or URL ending in .pkl or .pickle.
        collect_device: as for `BaseMetric`.
        collect_dir: as for `BaseMetric`.

    Raises:
        ArgumentError: the file's ending is another.
    """

    def __init__(self, out_file_path: str, collect_device: str = "cpu", collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if not str(out_file_path).endswith((".pkl", ".pickle")):
            raise ArgumentError(f"out_file_path must end in .pkl or .pickle, got {str(out_file_path)!r}.")
        self.out_file_path = out_file_path

    def process(self, data_batch: Any, predictions: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of one batch, moved to the CPU."""
        self.results.extend(_to_cpu(to_host(predictions)))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write the file; there are no values."""
        dump(lean(results), self.out_file_path)  # a view would be written with all that it is a view of
        print_log(f"{len(results)} results were written to {self.out_file_path}.", "current")
        return {}
