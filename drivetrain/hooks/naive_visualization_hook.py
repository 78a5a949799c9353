"""Hand the images of a test to the visualizer, with what was predicted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class NaiveVisualizationHook(Hook):
    """Calls `visualizer.add_datasample` for the images of every `interval`-th batch of a test.

    An image is cut to its `img_shape` (without padding) and resized to its `ori_shape`, where the prediction tells
    them, and is named after its `img_path`, or by batch and place. What is drawn is up to the visualizer: a subclass of
    `Visualizer` that knows the task. At the start of training the model goes to `visualizer.add_graph`.

    Batches are `dict(inputs=..., data_samples=...)` or a list of dicts with an image under `inputs` each; images are
    (C, H, W), uint8 or numbers of 0 .. 255.

    Args:
        interval: hand over every so many batches.
        draw_gt: draw the labels.
        draw_pred: draw the predictions.
    """

    priority = "NORMAL"

    def __init__(self, interval: int = 1, draw_gt: bool = True, draw_pred: bool = True) -> None:
        self._interval = interval
        self.draw_gt = draw_gt
        self.draw_pred = draw_pred

    def before_train(self, runner: RunnerLike) -> None:
        """Hand the model over, for backends that draw its graph."""
        runner.visualizer.add_graph(runner.model, None)

    def after_test_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Hand over the images of the batch with their predictions."""
        if not self.every_n_inner_iters(batch_idx, self._interval):
            return
        for place, (image, sample) in enumerate(zip(_images(data_batch), outputs or [], strict=False)):
            facts = getattr(sample, "metainfo", {})
            array = np.ascontiguousarray(image.detach().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy())
            if "img_shape" in facts:
                array = self._unpad(array, facts["img_shape"])
            runner.visualizer.add_datasample(
                os.path.basename(facts.get("img_path") or f"{batch_idx}_{place}"),
                _resized(array, facts.get("ori_shape")),
                data_sample=sample,
                draw_gt=self.draw_gt,
                draw_pred=self.draw_pred,
                step=batch_idx,
            )

    def _unpad(self, input: np.ndarray, unpad_shape: Sequence[int]) -> np.ndarray:
        """The part of an image (H, W, C) that is no padding; `unpad_shape` is its height and width."""
        return input[: unpad_shape[0], : unpad_shape[1]]


def _images(data_batch: Any) -> Iterator[torch.Tensor]:
    if hasattr(data_batch, "items"):
        yield from data_batch["inputs"]
    else:
        yield from (sample["inputs"] for sample in data_batch or ())


def _resized(image: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    if shape is None or tuple(shape[:2]) == image.shape[:2]:
        return image
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = functional.interpolate(planes, tuple(shape[:2]), mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
