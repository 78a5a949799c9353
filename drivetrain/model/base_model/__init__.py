"""The model of a training run and what prepares its batches."""

from ._image_preprocessor import ImgDataPreprocessor as ImgDataPreprocessor
from ._model import BaseModel as BaseModel
from ._preprocessor import BaseDataPreprocessor as BaseDataPreprocessor
from ._preprocessor import CastData as CastData
