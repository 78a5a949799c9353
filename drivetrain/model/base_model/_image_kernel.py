"""One kernel from images of any sizes to a batch: every value is read once as it came, and written once as it goes out.

To import this file is to import Triton: `_image_device` does so on first use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from ._image_recipe import Recipe

_TILE = 2048
"""Pixels that one program writes."""


@triton.jit  # type: ignore[untyped-decorator]
def _fill(
    images: tl.tensor,
    layout: tl.tensor,
    mean: tl.tensor,
    std: tl.tensor,
    out: tl.tensor,
    pad: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    EQUAL: tl.constexpr,
    CHANNELS: tl.constexpr,
    MEANS: tl.constexpr,
    STDS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Write a tile of an image: `(x - mean) / std` in float32 where the image is, `pad` where it is not.

    Of each image `layout` has the place (in elements from `images`), height, width and three strides: in a row of a
    tensor, or with EQUAL in a tuple that holds for all and ends with the step from one to the next.
    """
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    if EQUAL:
        place, own_height, own_width = layout[0] + image * layout[6], layout[1], layout[2]
        next_channel, next_row, next_column = layout[3], layout[4], layout[5]
    else:
        entry = layout + image * 6
        place, own_height, own_width = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
        next_channel, next_row, next_column = tl.load(entry + 3), tl.load(entry + 4), tl.load(entry + 5)
    in_image = (row < own_height) & (column < own_width)
    in_batch = (row < height) & (column < width)
    source = images + place + row * next_row + column * next_column
    plane, pixel = height * width, row * width + column
    target = out + image * CHANNELS * plane + (pixel * CHANNELS if CHANNELS_LAST else pixel)
    for channel in tl.static_range(CHANNELS):
        value = tl.load(source + channel * next_channel, mask=in_image, other=0).to(tl.float32)
        if MEANS > 0:
            centred = value - tl.load(mean + channel % MEANS)
            # The division of IEEE 754, as torch divides; the plain one of Triton is an approximation.
            value = tl.div_rn(centred, tl.load(std + channel % STDS))
        value = tl.where(in_image, value, pad)
        tl.store(target + channel * (1 if CHANNELS_LAST else plane), value.to(out.dtype.element_ty), mask=in_batch)


def launch(images: Tensor | Sequence[Tensor], recipe: Recipe, out: Tensor) -> None:
    """Apply `recipe`, by one launch; nothing waits for the device.

    Args:
        images: (N, C, H, W), or N images (C, H, W) of one dtype, on the device of `out`. Any strides will do.
        recipe: with float32 buffers on that device.
        out: (N, C, H, W) to write to, contiguous or channels last.
    """
    count, channels, height, width = out.shape
    layout: Tensor | tuple[int, ...]
    if torch.is_tensor(images):
        first, layout = images, (*_entry(images[0], 0, channels, recipe), images.stride(0))
    else:
        first, layout = images[0], _layout(images, channels, recipe)
    columns = min(_TILE, triton.next_power_of_2(width))
    rows = max(1, _TILE // columns)
    grid = (triton.cdiv(width, columns), triton.cdiv(height, rows), count)
    _fill[grid](
        first,
        layout,
        out if recipe.mean is None else recipe.mean,
        out if recipe.std is None else recipe.std,
        out,
        float(recipe.pad),
        height,
        width,
        EQUAL=type(layout) is tuple,
        CHANNELS=channels,
        MEANS=0 if recipe.mean is None else len(recipe.mean),
        STDS=0 if recipe.std is None else len(recipe.std),
        CHANNELS_LAST=not out.is_contiguous(),
        ROWS=rows,
        COLUMNS=columns,
    )


def _layout(images: Sequence[Tensor], channels: int, recipe: Recipe) -> Tensor:
    """Where the images are, on their device: a row of six numbers each, from pinned memory, without waiting."""
    first = images[0]
    start, size = first.data_ptr(), first.element_size()
    rows = [_entry(image, (image.data_ptr() - start) // size, channels, recipe) for image in images]
    on_host = torch.tensor(rows, dtype=torch.int64, pin_memory=first.device.type == "cuda")
    return on_host.to(first.device, non_blocking=True)


def _entry(image: Tensor, place: int, channels: int, recipe: Recipe) -> tuple[int, int, int, int, int, int]:
    """The place, height, width and strides of an image; a grey one is read for every channel."""
    count, height, width = image.shape
    step, *strides = image.stride()
    if recipe.swaps:
        return place + 2 * step, height, width, -step, strides[0], strides[1]
    return place, height, width, 0 if count < channels else step, strides[0], strides[1]
