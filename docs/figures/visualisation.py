"""Makes the pictures of docs/visualisation.md: `python docs/figures/visualisation.py` (needs matplotlib and pillow)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from drivetrain.visualization import Visualizer

HERE = Path(__file__).parent


def scene() -> np.ndarray:
    """A made-up picture, uint8 (180, 280, 3): a disc and a box before a sky and a ground."""
    rows, columns = np.mgrid[0:180, 0:280]
    image = np.empty((180, 280, 3), np.uint8)
    image[:] = np.where((rows < 110)[..., None], (176, 205, 228), (122, 148, 98))
    image[(rows - 60) ** 2 + (columns - 75) ** 2 < 38**2] = (228, 196, 84)
    image[80:150, 160:245] = (158, 84, 66)
    return image


def marks() -> np.ndarray:
    """Boxes with labels, a mask, a polygon, points and a line on the scene."""
    rows, columns = np.mgrid[0:180, 0:280]
    disc = (rows - 60) ** 2 + (columns - 75) ** 2 < 38**2
    visualizer = Visualizer(image=scene())
    visualizer.draw_binary_masks(disc, colors=(214, 39, 40), alphas=0.45)
    visualizer.draw_bboxes(np.array([[36, 21, 114, 99], [159, 79, 246, 151]]), edge_colors=["r", "b"], line_widths=2)
    visualizer.draw_texts(
        ["sun 0.97", "house 0.88"], np.array([[37, 22], [160, 80]]), font_sizes=9, colors="w",
        bboxes={"facecolor": "black", "alpha": 0.7, "pad": 1, "edgecolor": "none"},
    )  # fmt: skip
    visualizer.draw_polygons(np.array([[155, 80], [202, 45], [250, 80]]), edge_colors="b", face_colors="c", alpha=0.5)
    visualizer.draw_points(np.array([[75, 60], [202, 115]]), colors=["k", "k"], sizes=np.array([25, 25]))
    visualizer.draw_lines(np.array([[75, 202]]), np.array([[60, 115]]), colors="k", line_styles="--", line_widths=1)
    return visualizer.draw_circles(np.array([75, 60]), np.array([48]), edge_colors="y").get_image()


def feature_maps() -> np.ndarray:
    """The edges of the scene as a feature map: its mean over the picture, and its strongest channels."""
    image = torch.from_numpy(scene()).permute(2, 0, 1).float().mean(0)
    along = [torch.zeros_like(image) for _ in range(4)]
    for channel, (axis, step) in zip(along, [(0, 1), (1, 1), (0, 6), (1, 6)], strict=True):
        channel += (image - image.roll(step, axis)).abs()
    maps = torch.stack(along)[:, ::2, ::2]
    over = Visualizer.draw_featmap(torch.stack(along), scene(), alpha=0.5)
    several = Visualizer.draw_featmap(maps, channel_reduction=None, topk=4, arrangement=(2, 2))
    return np.concatenate([over, np.full((180, 12, 3), 255, np.uint8), several], axis=1)


if __name__ == "__main__":
    Image.fromarray(marks()).save(HERE / "visualisation-marks.png", optimize=True)
    Image.fromarray(feature_maps()).save(HERE / "visualisation-features.png", optimize=True)
