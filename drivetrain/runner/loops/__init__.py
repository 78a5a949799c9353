"""The loops: what happens between the first and the last batch."""

from .base import BaseLoop as BaseLoop
from .evaluation import TestLoop as TestLoop
from .evaluation import ValLoop as ValLoop
from .intervals import calc_dynamic_intervals as calc_dynamic_intervals
from .train import EpochBasedTrainLoop as EpochBasedTrainLoop
from .train import IterBasedTrainLoop as IterBasedTrainLoop
from .train import _InfiniteDataloaderIterator as _InfiniteDataloaderIterator
