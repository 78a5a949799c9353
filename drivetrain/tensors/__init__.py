"""Nested batches (move them, map over their tensors) and the families of norm and convolution layers."""

from ._layers import SyncBatchNorm as SyncBatchNorm
from ._layers import _BatchNorm as _BatchNorm
from ._layers import _ConvNd as _ConvNd
from ._layers import _InstanceNorm as _InstanceNorm
from ._layers import has_batch_norm as has_batch_norm
from ._layers import is_norm as is_norm
from ._nested import cast as cast
from ._nested import map_tensors as map_tensors
from ._packed import PackedList as PackedList
from ._packed import pack_together as pack_together
from ._packed import packable as packable
from ._packed import packed_of as packed_of
from ._packed import unpack_together as unpack_together
