"""Feature maps as images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.visualization import Visualizer, convert_overlay_heatmap

BLUE, RED = [0, 0, 128], [128, 0, 0]


@pytest.fixture
def featmap() -> torch.Tensor:
    return torch.randn(7, 8, 10, generator=torch.Generator().manual_seed(0))


def test_smallest_is_blue_and_largest_is_red() -> None:
    image = Visualizer.draw_featmap(torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]))
    assert image[0, 0].tolist() == RED and image[0, 1].tolist() == BLUE
    assert image[1, 1].tolist() == [126, 255, 130]  # level 127 of 255 in the jet colours: near green


def test_constant_map_is_blue() -> None:
    assert (Visualizer.draw_featmap(torch.full((2, 3, 4), 7.0)) == BLUE).all()


def test_squeeze_mean_shows_the_mean_and_select_max_the_strongest(featmap: torch.Tensor) -> None:
    mean = Visualizer.draw_featmap(featmap)
    assert mean.shape == (8, 10, 3) and np.array_equal(mean, convert_overlay_heatmap(featmap.mean(0)))
    strongest = featmap.sum(dim=(1, 2)).argmax()
    one = Visualizer.draw_featmap(featmap, channel_reduction="select_max")
    assert np.array_equal(one, convert_overlay_heatmap(featmap[strongest]))


def test_topk_places_the_strongest_first_and_leaves_white_cells(featmap: torch.Tensor) -> None:
    image = Visualizer.draw_featmap(featmap[:3], channel_reduction=None, topk=4, arrangement=(2, 2))
    order = featmap[:3].sum(dim=(1, 2)).argsort(descending=True)
    assert image.shape == (16, 20, 3)
    assert np.array_equal(image[:8, :10], convert_overlay_heatmap(featmap[order[0]]))
    assert np.array_equal(image[8:, :10], convert_overlay_heatmap(featmap[order[2]]))
    assert (image[8:, 10:] == 255).all()


def test_map_is_blended_over_an_image() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    drawn = Visualizer.draw_featmap(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), image, alpha=0.5)
    assert drawn[0, 0].tolist() == [114, 50, 50] and drawn[1, 1].tolist() == [50, 50, 114]


def test_map_of_another_size_is_stretched_to_the_image_with_a_warning(featmap: torch.Tensor) -> None:
    with pytest.warns(UserWarning, match=r"feature map \(8, 10\) is stretched to the image \(60, 80\)"):
        drawn = Visualizer.draw_featmap(featmap, np.zeros((60, 80), np.uint8))
    assert drawn.shape == (60, 80, 3)


def test_resize_shape_sets_the_size_of_map_and_image(featmap: torch.Tensor) -> None:
    assert Visualizer.draw_featmap(featmap, resize_shape=(16, 20)).shape == (16, 20, 3)
    image = np.full((60, 80, 3), 200, np.uint8)
    drawn = Visualizer.draw_featmap(featmap, image, channel_reduction=None, topk=4, arrangement=(2, 2),
                                    resize_shape=(16, 20), alpha=0.0)  # fmt: skip
    assert drawn.shape == (32, 40, 3) and (drawn == 200).all()


def test_one_or_three_channels_are_shown_without_reduction(featmap: torch.Tensor) -> None:
    one = Visualizer.draw_featmap(featmap[:1], channel_reduction=None, topk=-1)
    assert np.array_equal(one, convert_overlay_heatmap(featmap[0]))
    assert Visualizer.draw_featmap(featmap[:3], channel_reduction=None, topk=-1).shape == (8, 10, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_every_dtype_is_drawn(featmap: torch.Tensor, dtype: torch.dtype) -> None:
    assert Visualizer.draw_featmap((featmap * 10).to(dtype).requires_grad_(dtype.is_floating_point)).dtype == np.uint8


def test_wrong_arguments_are_refused(featmap: torch.Tensor) -> None:
    with pytest.raises(ArgumentTypeError, match=r"tensor \(C, H, W\), got Tensor: \(8, 10\)"):
        Visualizer.draw_featmap(featmap[0])
    with pytest.raises(ArgumentTypeError, match="got ndarray"):
        Visualizer.draw_featmap(featmap.numpy())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"'squeeze_men' is unknown.*Did you mean 'squeeze_mean'"):
        Visualizer.draw_featmap(featmap, channel_reduction="squeeze_men")
    with pytest.raises(ArgumentError, match=r"arrangement=\(2, 2\) has 4 cells for topk=5"):
        Visualizer.draw_featmap(featmap, channel_reduction=None, topk=5, arrangement=(2, 2))
    with pytest.raises(ArgumentError, match="7 channels cannot be shown as one image"):
        Visualizer.draw_featmap(featmap, channel_reduction=None, topk=0)
