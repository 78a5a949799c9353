"""Run a trained model on images, folders or arrays: the base that a task's inferencer is made of."""

from ._inferencer import BaseInferencer as BaseInferencer
from ._meta import InferencerMeta as InferencerMeta
from ._types import ConfigType as ConfigType
from ._types import ImgType as ImgType
from ._types import InputsType as InputsType
from ._types import InputType as InputType
from ._types import InstanceList as InstanceList
from ._types import ModelType as ModelType
from ._types import ResType as ResType
