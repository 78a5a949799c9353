"""Data elements: what a dataset, a model and a metric hand each other about one sample."""

from ._base import BaseDataElement as BaseDataElement
from ._instance import BoolTypeTensor as BoolTypeTensor
from ._instance import IndexType as IndexType
from ._instance import InstanceData as InstanceData
from ._instance import LongTypeTensor as LongTypeTensor
from ._label import LabelData as LabelData
from ._pixel import PixelData as PixelData
