"""Models, their initial weights, their batches, their averages and their wrappers."""

from ._anomalous import detect_anomalous_params as detect_anomalous_params
from ._averaged import BaseAveragedModel as BaseAveragedModel
from ._averaged import ExponentialMovingAverage as ExponentialMovingAverage
from ._averaged import MomentumAnnealingEMA as MomentumAnnealingEMA
from ._averaged import StochasticWeightAverage as StochasticWeightAverage
from ._base_module import BaseModule as BaseModule
from ._base_module import ModuleDict as ModuleDict
from ._base_module import ModuleList as ModuleList
from ._base_module import Sequential as Sequential
from ._batch import merge_dict as merge_dict
from ._batch import stack_batch as stack_batch
from ._efficient_conv_bn import efficient_conv_bn_eval_control as efficient_conv_bn_eval_control
from ._efficient_conv_bn import efficient_conv_bn_eval_forward as efficient_conv_bn_eval_forward
from ._efficient_conv_bn import efficient_conv_bn_eval_graph_transform as efficient_conv_bn_eval_graph_transform
from ._efficient_conv_bn import turn_on_efficient_conv_bn_eval as turn_on_efficient_conv_bn_eval
from ._efficient_conv_bn import (
    turn_on_efficient_conv_bn_eval_for_single_model as turn_on_efficient_conv_bn_eval_for_single_model,
)
from ._init_functions import bias_init_with_prob as bias_init_with_prob
from ._init_functions import caffe2_xavier_init as caffe2_xavier_init
from ._init_functions import constant_init as constant_init
from ._init_functions import kaiming_init as kaiming_init
from ._init_functions import normal_init as normal_init
from ._init_functions import trunc_normal_ as trunc_normal_
from ._init_functions import trunc_normal_init as trunc_normal_init
from ._init_functions import uniform_init as uniform_init
from ._init_functions import xavier_init as xavier_init
from ._init_info import update_init_info as update_init_info
from ._initialize import initialize as initialize
from ._initializers import BaseInit as BaseInit
from ._initializers import Caffe2XavierInit as Caffe2XavierInit
from ._initializers import ConstantInit as ConstantInit
from ._initializers import KaimingInit as KaimingInit
from ._initializers import NormalInit as NormalInit
from ._initializers import PretrainedInit as PretrainedInit
from ._initializers import TruncNormalInit as TruncNormalInit
from ._initializers import UniformInit as UniformInit
from ._initializers import XavierInit as XavierInit
from ._parts import find_parts as find_parts
from ._sync_bn import convert_sync_batchnorm as convert_sync_batchnorm
from ._sync_bn import revert_sync_batchnorm as revert_sync_batchnorm
from ._tta import DATA_BATCH as DATA_BATCH
from ._tta import BaseTTAModel as BaseTTAModel
from ._tta import EnhancedBatchDataSamples as EnhancedBatchDataSamples
from ._tta import EnhancedBatchInputs as EnhancedBatchInputs
from ._tta import MergedDataSamples as MergedDataSamples
from .base_model import BaseDataPreprocessor as BaseDataPreprocessor
from .base_model import BaseModel as BaseModel
from .base_model import CastData as CastData
from .base_model import ImgDataPreprocessor as ImgDataPreprocessor
from .wrappers import MMDistributedDataParallel as MMDistributedDataParallel
from .wrappers import MMSeparateDistributedDataParallel as MMSeparateDistributedDataParallel
from .wrappers import is_model_wrapper as is_model_wrapper
