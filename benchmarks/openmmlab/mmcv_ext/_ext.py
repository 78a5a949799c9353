"""A stand-in for mmcv's compiled operators, so that mmcv-lite can serve detectors on the CPU of a scratch environment.

``setup_env.sh`` copies it to ``mmcv/_ext.py`` of both environments, MMEngine's and ours, so that both engines compute
with the same code. `nms` and `roi_align` come from torchvision; every other operator raises `NotImplementedError` with
its name when it is called, never before: mmcv only asks for the names when a module is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torchvision.ops
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that greedy suppression keeps, best first.

    Args:
        boxes: float (N, 4), corners x1, y1, x2, y2.
        scores: float (N,).
        iou_threshold: boxes that overlap a better one by more than this are dropped.
        offset: 1 counts pixels (width x2 - x1 + 1), 0 counts lengths.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled regions, float (R, C, aligned_height, aligned_width), into `output`."""
    _require_average(pool_mode)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the features, float (N, C, H, W), into `grad_input`."""
    _require_average(pool_mode)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError("the stand-in for mmcv._ext has roi_align with pool_mode='avg' only, not 'max'")


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Any other operator: there when mmcv looks for it, an error by name when somebody calls it."""
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"mmcv operator {name!r} is compiled code that mmcv-lite leaves out; "
            "the stand-in for mmcv._ext has nms, roi_align_forward and roi_align_backward"
        )

    missing.__name__ = name
    return missing
