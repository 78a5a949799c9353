"""NaiveVisualizationHook: which images reach the visualizer, in which shape and under which name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.hooks import NaiveVisualizationHook
from drivetrain.structures import BaseDataElement


class Sees:
    """A visualizer that keeps what it is given."""

    def __init__(self) -> None:
        self.samples: list[Any] = []
        self.graphs: list[Any] = []

    def add_datasample(self, name: str, image: np.ndarray, **options: Any) -> None:
        self.samples.append((name, image, options))

    def add_graph(self, model: Any, data_batch: Any) -> None:
        self.graphs.append(model)


def runner() -> Any:
    return SimpleNamespace(visualizer=Sees(), model="model")


IMAGE = torch.arange(3 * 4 * 6).reshape(3, 4, 6).to(torch.uint8)


def test_images_come_height_first_without_padding_and_named_after_their_file() -> None:
    there = runner()
    sample = BaseDataElement(metainfo={"img_path": "/data/cat.jpg", "img_shape": (3, 5), "ori_shape": (3, 5)})
    NaiveVisualizationHook(draw_gt=False).after_test_iter(there, 0, {"inputs": IMAGE[None]}, [sample])
    ((name, image, options),) = there.visualizer.samples
    assert name == "cat.jpg" and image.dtype == np.uint8 and image.shape == (3, 5, 3)
    assert np.array_equal(image, IMAGE[:, :3, :5].permute(1, 2, 0).numpy())
    assert options == {"data_sample": sample, "draw_gt": False, "draw_pred": True, "step": 0}


@pytest.mark.parametrize("shape", [(8, 12), (2, 3), (8, 12, 3)])
def test_images_come_in_the_size_they_had(shape: tuple[int, ...]) -> None:
    there = runner()
    sample = BaseDataElement(metainfo={"ori_shape": shape})
    grey = torch.full((3, 4, 6), 77.0)
    NaiveVisualizationHook().after_test_iter(there, 0, [{"inputs": grey}], [sample])
    name, image, _ = there.visualizer.samples[0]
    assert name == "0_0" and image.shape == (*shape[:2], 3) and (image == 77).all()


def test_every_so_many_batches_are_shown() -> None:
    there, hook = runner(), NaiveVisualizationHook(interval=2)
    for index in range(5):
        hook.after_test_iter(there, index, {"inputs": [IMAGE, IMAGE]}, [BaseDataElement(), BaseDataElement()])
    assert [name for name, _, _ in there.visualizer.samples] == ["1_0", "1_1", "3_0", "3_1"]


def test_the_model_goes_to_the_graph_before_training() -> None:
    there = runner()
    NaiveVisualizationHook().before_train(there)
    assert there.visualizer.graphs == ["model"]
