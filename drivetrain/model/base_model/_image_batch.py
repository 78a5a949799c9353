"""Which way a batch of images is made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import _image_device, _image_host
from ._image_recipe import Images, Recipe, compose


def make_batch(images: Images, recipe: Recipe) -> Tensor:
    """Apply `recipe` by the fastest way that gives the values of `compose`.

    What a compiler traces, what a gradient is wanted of and what is out of the ordinary goes by `compose` itself, and
    so does what is too little for more to pay.

    Args:
        images: (N, C, H, W) or N images, one at least.
        recipe: what to do.

    Raises:
        BatchError: the channels do not fit `mean` and `std`, or the swap.
    """
    if torch.compiler.is_compiling() or (torch.is_tensor(images) and _is_little(images)):
        return compose(images, recipe)
    channels = _channels_of_batch(images, recipe) if torch.is_tensor(images) else _channels_of_list(images, recipe)
    if not channels or (recipe.mean is not None and not _has_plain_buffers(recipe)):
        return compose(images, recipe)
    device = (images if torch.is_tensor(images) else images[0]).device
    if recipe.mean is not None and recipe.mean.device != device:
        return compose(images, recipe)
    way = _image_host if device.type == "cpu" else _image_device
    return way.assemble(images, recipe, channels)


def _is_little(images: Tensor) -> bool:
    return images.numel() <= _image_host.PIECE and images.is_cpu


def _channels_of_batch(images: Tensor, recipe: Recipe) -> int:
    """The channels that come out; 0 where `compose` shall do it, or where nothing is to be computed."""
    if images.requires_grad or (recipe.mean is None and images.dtype is recipe.dtype):
        return 0
    return recipe.channels(images.shape[1]) if len(images) else 0


def _channels_of_list(images: Sequence[Tensor], recipe: Recipe) -> int:
    """The channels that come out; 0 where `compose` shall do it."""
    first = images[0]
    kinds = {(image.dim(), image.device, image.requires_grad) for image in images}
    counts = {image.shape[0] for image in images}
    if kinds != {(3, first.device, False)}:
        return 0
    if first.device.type != "cpu" and len({image.dtype for image in images}) > 1:
        return 0
    found = {recipe.channels(count) for count in counts}
    return found.pop() if len(found) == 1 else 0


def _has_plain_buffers(recipe: Recipe) -> bool:
    """Whether `mean` and `std` are float32, as they are unless a model was cast as a whole."""
    mean, std = recipe.mean, recipe.std
    return mean is not None and std is not None and mean.dtype is std.dtype is torch.float32
