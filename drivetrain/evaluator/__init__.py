"""Judge what a model predicts: metrics, and the evaluator that feeds them."""

from ._dump_results import DumpResults as DumpResults
from ._evaluator import Evaluator as Evaluator
from ._metric import BaseMetric as BaseMetric
from ._metric import _to_cpu as _to_cpu
from ._streaming import StreamingMetric as StreamingMetric
from ._values import get_metric_value as get_metric_value
