"""Images to a batch on a device other than the CPU, in few kernels and without waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from drivetrain.logging import print_log

from ._image_host import fill_padding
from ._image_recipe import Images, Recipe

_KERNEL_READS = frozenset({
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
    torch.float64,
})  # fmt: skip


def assemble(images: Images, recipe: Recipe, channels: int) -> Tensor:
    """Apply `recipe` to images on a device: by one kernel of our own on CUDA, by a few of torch's elsewhere.

    Args:
        images: of one dtype, all on the device of the buffers, that no gradient is wanted of.
        recipe: with float32 buffers on that device.
        channels: of the batch that comes out.
    """
    memory_format = recipe.memory_format(images)
    if not torch.is_tensor(images):
        images = view_as_batch(images)
    height, width = _largest(images)
    shape = (len(images), channels, *recipe.size(height, width))
    out = torch.empty(shape, dtype=recipe.dtype, device=images[0].device, memory_format=memory_format)
    if not out.numel() or (out.device.type == "cuda" and _kernel.writes(images, recipe, out)):
        return out
    canvas = images if torch.is_tensor(images) else _canvas(images, height, width, recipe.swaps)
    _normalise_into(out[:, :, :height, :width], canvas, recipe)
    _pad(out, images, recipe)
    return out


class _Kernel:
    """Our own kernel where Triton is there and knows the batch. Says once for each reason why it is not used."""

    def __init__(self) -> None:
        self._launch: Callable[..., None] | None = None
        self._reasons: set[str] = set()
        self._broken = False

    def writes(self, images: Images, recipe: Recipe, out: Tensor) -> bool:
        """Write the batch to `out`, if possible; whether that was done."""
        if self._broken:
            return False
        if not torch.is_tensor(images) and torch.cuda.is_current_stream_capturing():
            # The places of the images would have to be copied to the device again at every replay.
            return False
        dtypes = {image.dtype for image in images} if not torch.is_tensor(images) else {images.dtype}
        if not dtypes <= _KERNEL_READS:
            return self._refused(f"it does not read {', '.join(sorted(map(str, dtypes - _KERNEL_READS)))}")
        try:
            if self._launch is None:
                from ._image_kernel import launch

                self._launch = launch
            self._launch(images, recipe, out)
        except Exception as error:
            self._broken = True
            said = str(error).partition("\n")[0]
            return self._refused(f"{type(error).__name__}: {said}")
        return True

    def _refused(self, reason: str) -> bool:
        if reason not in self._reasons:
            self._reasons.add(reason)
            print_log(
                f"ImgDataPreprocessor normalises with torch's kernels, its own is not used: {reason}.",
                "current",
                logging.WARNING,
            )
        return False


_kernel = _Kernel()


def view_as_batch(images: Sequence[Tensor]) -> Images:
    """Equal images that lie one after the other in one memory, such as a packed list's, as one batch, uncopied."""
    first = images[0]
    if len({(image.shape, image.stride()) for image in images}) > 1:
        return images
    places = [image.storage_offset() for image in images]
    step = places[1] - places[0] if len(places) > 1 else first.numel()
    memory = first.untyped_storage().data_ptr()
    evenly = places == list(range(places[0], places[0] + step * len(places), step)) if step > 0 else False
    if not evenly or any(image.untyped_storage().data_ptr() != memory for image in images):
        return images
    return first.as_strided((len(images), *first.shape), (step, *first.stride()))


def _largest(images: Images) -> tuple[int, int]:
    if torch.is_tensor(images):
        return images.shape[2], images.shape[3]
    return max(image.shape[1] for image in images), max(image.shape[2] for image in images)


def _canvas(images: Sequence[Tensor], height: int, width: int, swaps: bool) -> Tensor:
    """The images as they came, one beside the other in one tensor; what they do not cover may hold anything."""
    if swaps:
        images = [image[:3] for image in images]
    first = images[0]
    shape = (len(images), max(image.shape[0] for image in images), height, width)
    canvas = torch.empty(shape, dtype=first.dtype, device=first.device)
    for row, image in zip(canvas.unbind(), images, strict=True):
        row[:, : image.shape[1], : image.shape[2]].copy_(image)
    return canvas


def _normalise_into(place: Tensor, canvas: Tensor, recipe: Recipe) -> None:
    if recipe.swaps:
        canvas = canvas[:, :3].flip(1)
    mean, std = recipe.mean, recipe.std
    if mean is None or std is None:
        place.copy_(canvas)
        return
    if canvas.dtype is torch.float64:
        # Of anything else the subtraction makes float32 itself, without a copy.
        canvas = canvas.float()
    if len(std) > len(mean):
        mean = mean.expand_as(std)
    if place.dtype is torch.float32:
        torch.sub(canvas, mean, out=place).div_(std)
    else:
        torch.div(torch.sub(canvas, mean), std, out=place)


def _pad(out: Tensor, images: Images, recipe: Recipe) -> None:
    if torch.is_tensor(images):
        fill_padding(out, images.shape[2], images.shape[3], recipe.pad)
        return
    for row, image in zip(out.unbind(), images, strict=True):
        fill_padding(row, image.shape[1], image.shape[2], recipe.pad)
