"""Images to a batch on the CPU: every value is written to the batch once, from a piece that is still in the cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._image_recipe import Images, Recipe, compose
from ._large_pages import empty

PIECE = 2**18
"""Values of a piece, at least; 1 MB of float32, which the cache of a core holds."""


def assemble(images: Images, recipe: Recipe, channels: int) -> Tensor:
    """Apply `recipe` to images on the CPU.

    Args:
        images: that no gradient is wanted of.
        recipe: with float32 buffers.
        channels: of the batch that comes out.
    """
    if not torch.is_tensor(images) and _are_small_and_equal(images):
        images = torch.stack(list(images))
        if images.numel() <= PIECE:
            return compose(images, recipe)
    return _from_batch(images, recipe, channels) if torch.is_tensor(images) else _from_list(images, recipe, channels)


def _are_small_and_equal(images: Sequence[Tensor]) -> bool:
    first = images[0]
    return first.numel() * 8 < PIECE and len({(image.shape, image.dtype) for image in images}) == 1


def _from_batch(batch: Tensor, recipe: Recipe, channels: int) -> Tensor:
    count, _, height, width = batch.shape
    shape = (count, channels, *recipe.size(height, width))
    out = empty(shape, recipe.dtype, recipe.memory_format(batch))
    fill_padding(out, height, width, recipe.pad)
    pieces = max(1, PIECE // max(1, channels * height * width))
    _write_all(batch.split(pieces), out[:, :, :height, :width].split(pieces), recipe)
    return out


def _from_list(images: Sequence[Tensor], recipe: Recipe, channels: int) -> Tensor:
    height, width = recipe.size(max(i.shape[1] for i in images), max(i.shape[2] for i in images))
    out = empty((len(images), channels, height, width), recipe.dtype, recipe.memory_format(images))
    places = []
    for row, image in zip(out.unbind(), images, strict=True):
        fill_padding(row, image.shape[1], image.shape[2], recipe.pad)
        places.append(row[:, : image.shape[1], : image.shape[2]])
    _write_all(images, places, recipe)
    return out


def fill_padding(out: Tensor, height: int, width: int, value: float) -> None:
    """Set what of `out` (..., H, W) lies below `height` and to the right of `width`."""
    if height < out.shape[-2]:
        out[..., height:, :].fill_(value)
    if width < out.shape[-1]:
        out[..., :height, width:].fill_(value)


def _write_all(sources: Sequence[Tensor], places: Sequence[Tensor], recipe: Recipe) -> None:
    mean, std = recipe.mean, recipe.std
    if mean is None or std is None:
        for source, place in zip(sources, places, strict=True):
            place.copy_(_swapped(source) if recipe.swaps else source)
        return
    workspace = torch.empty(max(place.numel() for place in places))
    for source, place in zip(sources, places, strict=True):
        work = workspace[: place.numel()].view(place.shape)
        work.copy_(_swapped(source) if recipe.swaps else source).sub_(mean)
        if place.dtype is torch.float32:
            torch.div(work, std, out=place)
        else:
            place.copy_(work.div_(std))


def _swapped(images: Tensor) -> Tensor:
    return images[..., :3, :, :].flip(-3)
