"""Feature maps as colour images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean

from ._values import as_uint8_rgb, tensor2ndarray

_REDUCTIONS = {
    "squeeze_mean": lambda featmap: featmap.mean(dim=0),
    "select_max": lambda featmap: featmap[_strongest(featmap, 1)[0]],
}


def feature_map_image(
    featmap: Tensor,
    overlaid_image: np.ndarray | None,
    channel_reduction: str | None,
    topk: int,
    arrangement: tuple[int, int],
    resize_shape: tuple[int, int] | None,
    alpha: float,
) -> np.ndarray:
    """The image of a feature map; see `Visualizer.draw_featmap`."""
    if not torch.is_tensor(featmap) or featmap.ndim != 3:
        got = tuple(featmap.shape) if hasattr(featmap, "shape") else featmap
        raise ArgumentTypeError(f"`featmap` should be a tensor (C, H, W), got {type(featmap).__name__}: {got!r}.")
    featmap = featmap.detach().float()
    image = None if overlaid_image is None else as_uint8_rgb(overlaid_image)
    featmap, image = _same_size(featmap, image, resize_shape)
    if channel_reduction is not None:
        return convert_overlay_heatmap(_reduced(featmap, channel_reduction), image, alpha)
    if topk <= 0:
        return convert_overlay_heatmap(_one_or_three(featmap), image, alpha)
    return _grid(featmap, image, topk, arrangement, alpha)


def convert_overlay_heatmap(
    feat_map: np.ndarray | Tensor, img: np.ndarray | None = None, alpha: float = 0.5
) -> np.ndarray:
    """A map of numbers as colours: blue for its smallest, red for its largest.

    Args:
        feat_map: (H, W), (1, H, W), or (3, H, W), of which the luminance is taken.
        img: uint8 (H, W, 3), laid under the colours.
        alpha: weight of the colours over `img`, 0 .. 1.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    values = tensor2ndarray(feat_map)
    levels = _levels(values)
    if levels.ndim == 3:
        levels = _luminance(levels) if len(levels) == 3 else levels[0]
    colors = _jet()[levels]
    if img is None:
        return colors
    return np.rint(img * (1 - alpha) + colors * np.float64(alpha)).astype(np.uint8)


def _levels(values: np.ndarray) -> np.ndarray:
    """Numbers stretched to 0 .. 255, uint8; all 0 where they are all equal."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def _luminance(levels: np.ndarray) -> np.ndarray:
    """One level a pixel from three channels in BGR order, weighted as in ITU-R BT.601."""
    return np.rint(np.tensordot([0.114, 0.587, 0.299], levels, axes=1)).astype(np.uint8)


def _jet() -> np.ndarray:
    """The classic jet colours of the 256 levels, uint8 (256, 3): three hats, a quarter of the range apart."""
    centers = np.array([3, 2, 1])  # red, green, blue, in quarters
    hats = 1.5 - np.abs(4 * np.linspace(0, 1, 256)[:, None] - centers)
    return np.rint(255 * hats.clip(0, 1)).astype(np.uint8)


def _resized(featmap: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(featmap[None], tuple(size), mode="bilinear", align_corners=False)[0]


def _same_size(
    featmap: Tensor, image: np.ndarray | None, resize_shape: tuple[int, int] | None
) -> tuple[Tensor, np.ndarray | None]:
    """The feature map in the size of the image, or both in `resize_shape`."""
    if image is not None and image.shape[:2] != featmap.shape[1:]:
        if resize_shape is None:
            warnings.warn(
                f"the feature map {tuple(featmap.shape[1:])} is stretched to the image {image.shape[:2]}: "
                "what it shows may lie off what the image shows.",
                stacklevel=5,
            )
        featmap = _resized(featmap, image.shape[:2])
    if resize_shape is None:
        return featmap, image
    featmap = _resized(featmap, resize_shape)
    if image is not None:
        pixels = _resized(torch.from_numpy(image.copy()).permute(2, 0, 1).float(), resize_shape)
        image = pixels.round().to(torch.uint8).permute(1, 2, 0).numpy()
    return featmap, image


def _strongest(featmap: Tensor, count: int) -> Tensor:
    """The indices of the `count` channels with the largest sums, largest first."""
    return featmap.sum(dim=(1, 2)).topk(count).indices


def _reduced(featmap: Tensor, how: str) -> Tensor:
    if how not in _REDUCTIONS:
        raise ArgumentError(
            f"channel_reduction={how!r} is unknown: there are {', '.join(map(repr, _REDUCTIONS))} and None."
            f"{did_you_mean(how, _REDUCTIONS)}"
        )
    return _REDUCTIONS[how](featmap)


def _one_or_three(featmap: Tensor) -> Tensor:
    if featmap.shape[0] not in (1, 3):
        raise ArgumentError(
            f"a feature map of {featmap.shape[0]} channels cannot be shown as one image: "
            "reduce it with channel_reduction='squeeze_mean', or set topk above 0."
        )
    return featmap


def _grid(
    featmap: Tensor, image: np.ndarray | None, topk: int, arrangement: tuple[int, int], alpha: float
) -> np.ndarray:
    """The strongest channels side by side in rows and columns; cells without a channel are white."""
    rows, columns = arrangement
    if rows * columns < topk:
        raise ArgumentError(f"arrangement={tuple(arrangement)!r} has {rows * columns} cells for topk={topk} channels.")
    channels, height, width = featmap.shape
    grid = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for cell, index in enumerate(_strongest(featmap, min(topk, channels))):
        row, column = divmod(cell, columns)
        top, left = row * height, column * width
        grid[top : top + height, left : left + width] = convert_overlay_heatmap(featmap[index], image, alpha)
    return grid
