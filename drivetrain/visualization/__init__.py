"""Draw images and write scalars, images and configs to backends: local files, TensorBoard, experiment trackers."""

from ._backend import BaseVisBackend as BaseVisBackend
from ._backend import force_init_env as force_init_env
from ._canvas import img_from_canvas as img_from_canvas
from ._canvas import wait_continue as wait_continue
from ._clearml import ClearMLVisBackend as ClearMLVisBackend
from ._dvclive import DVCLiveVisBackend as DVCLiveVisBackend
from ._featmap import convert_overlay_heatmap as convert_overlay_heatmap
from ._local import LocalVisBackend as LocalVisBackend
from ._mlflow import MLflowVisBackend as MLflowVisBackend
from ._tensorboard import TensorboardVisBackend as TensorboardVisBackend
from ._values import check_length as check_length
from ._values import check_type as check_type
from ._values import check_type_and_length as check_type_and_length
from ._values import color_str2rgb as color_str2rgb
from ._values import color_val_matplotlib as color_val_matplotlib
from ._values import tensor2ndarray as tensor2ndarray
from ._values import value2list as value2list
from ._visualizer import VisBackendsType as VisBackendsType
from ._visualizer import Visualizer as Visualizer
from ._wandb import WandbVisBackend as WandbVisBackend
