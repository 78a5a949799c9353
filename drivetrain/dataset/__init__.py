"""Datasets, samplers, batches and loaders with reproducible random streams."""

from ._base import BaseDataset as BaseDataset
from ._base import force_full_init as force_full_init
from ._build import build_dataloader as build_dataloader
from ._build import streams_by_default as streams_by_default
from ._collate import COLLATE_FUNCTIONS as COLLATE_FUNCTIONS
from ._collate import default_collate as default_collate
from ._collate import pseudo_collate as pseudo_collate
from ._compose import Compose as Compose
from ._keyed import current_pass as current_pass
from ._loader import DataLoader as DataLoader
from ._mosaic import MosaicDataset as MosaicDataset
from ._pack import pack_collate as pack_collate
from ._samplers import DefaultSampler as DefaultSampler
from ._samplers import InfiniteSampler as InfiniteSampler
from ._streams import SampleKey as SampleKey
from ._workers import worker_init_fn as worker_init_fn
from ._wrappers import ClassBalancedDataset as ClassBalancedDataset
from ._wrappers import ConcatDataset as ConcatDataset
from ._wrappers import RepeatDataset as RepeatDataset
