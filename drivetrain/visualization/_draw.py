"""Draw marks on matplotlib axes. Coordinates are pixels (x, y) from the top left corner of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import ArgumentError

from ._values import Color, Colors, check_type_and_length, color_val_matplotlib, rgb_of, value2list

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def text_options(count: int, **options: tuple[Any, tuple[type, ...]]) -> list[dict[str, Any]]:
    """The options of each of `count` texts.

    Args:
        count: number of texts.
        options: by name, the value, which is one for all or a list of one for each, and the types one may have.
    """
    columns = {}
    for name, (value, types) in options.items():
        check_type_and_length(name, value, (*types, list), count)
        columns[name] = value if type(value) is list else [value] * count
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


def draw_texts(axes: Axes, texts: list[str], positions: np.ndarray, options: list[dict[str, Any]]) -> None:
    """Write texts at `positions`, (N, 2); `options` are those of `text_options`."""
    for text, (x, y), option in zip(texts, positions, options, strict=True):
        axes.text(
            x,
            y,
            text,
            size=option["font_sizes"],
            bbox=option["bboxes"],
            verticalalignment=option["vertical_alignments"],
            horizontalalignment=option["horizontal_alignments"],
            family=option["font_families"],
            fontproperties=option["font_properties"],
            color=color_val_matplotlib(option["colors"]),
        )


def draw_markers(axes: Axes, positions: np.ndarray, colors: Colors, marker: str | None, areas: Any) -> None:
    """Draw a marker at each position, (N, 2); `areas` in square points."""
    # One RGB tuple would be read as one number a point: a list of it is one colour.
    color = [colors] if type(colors) is tuple else colors
    axes.scatter(positions[:, 0], positions[:, 1], c=color_val_matplotlib(color), s=areas, marker=marker)  # type: ignore[arg-type]


def draw_segments(axes: Axes, x: np.ndarray, y: np.ndarray, colors: Colors, styles: Any, widths: Any) -> None:
    """Draw line segments; `x` and `y`: (N, 2), the ends."""
    from matplotlib.collections import LineCollection

    segments = np.stack((x, y), axis=2)
    axes.add_collection(
        LineCollection(segments, colors=color_val_matplotlib(colors), linestyles=styles, linewidths=widths)  # type: ignore[arg-type]
    )


def draw_rings(axes: Axes, centers: np.ndarray, radii: np.ndarray, look: dict[str, Any]) -> None:
    """Draw circles of `radii`, (N,), about `centers`, (N, 2)."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Circle

    circles = [Circle((x, y), radius) for (x, y), radius in zip(centers, radii, strict=True)]
    axes.add_collection(PatchCollection(circles, **look))


def draw_shapes(axes: Axes, polygons: list[np.ndarray], look: dict[str, Any]) -> None:
    """Draw closed polygons, each (M, 2)."""
    from matplotlib.collections import PolyCollection

    axes.add_collection(PolyCollection(polygons, **look))


def look_of(edge_colors: Colors, face_colors: Colors, styles: Any, widths: Any, alpha: float) -> dict[str, Any]:
    """How a collection of shapes looks, as matplotlib's arguments."""
    return {
        "edgecolors": _with_alpha(edge_colors, alpha),
        "facecolors": _with_alpha(face_colors, alpha),
        "linestyles": styles,
        "linewidths": widths,
    }


def _with_alpha(colors: Colors, alpha: float) -> Any:
    """Colours that hold `alpha`; a collection's own alpha turned 'none' in a list to black before matplotlib 3.9."""
    from matplotlib.colors import to_rgba

    known: Any = color_val_matplotlib(colors)
    if type(known) is list:
        return [to_rgba(color, alpha) for color in known]
    return known if known in ("none", "face") else to_rgba(known, alpha)


def line_widths_within(widths: Any, count: int, font_size: float) -> list[float]:
    """Widths of at least 1 point and at most a quarter of the font size, so that edges do not hide small objects."""
    return [min(max(width, 1), font_size / 4) for width in value2list(widths, (int, float), count)]


def box_corners(boxes: np.ndarray) -> list[np.ndarray]:
    """The four corners, (4, 2), of each box (x1, y1, x2, y2)."""
    return list(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))


def blend_masks(image: np.ndarray, masks: np.ndarray, colors: list[Color], alphas: list[float]) -> np.ndarray:
    """Tint `image`, uint8 (H, W, 3), where `masks`, bool (N, H, W), are set; a later mask lies over an earlier one."""
    blended = image.astype(np.float32)
    for mask, color, alpha in zip(masks, colors, alphas, strict=False):
        blended[mask] = np.rint(blended[mask] * (1 - alpha) + np.array(rgb_of(color), np.float32) * alpha)
    return blended.astype(np.uint8)


def as_masks(masks: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Masks as bool (N, H, W).

    Raises:
        ArgumentError: another dtype, or not the size of the image.
    """
    if masks.dtype != np.bool_:
        raise ArgumentError(f"`binary_masks` should be bool, got {masks.dtype}. Compare first: `masks > 0.5`.")
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or masks.shape[1:] != image_shape[:2]:
        raise ArgumentError(
            f"`binary_masks` should have the shape (N, H, W) of the image {image_shape[:2]}, got {masks.shape}."
        )
    return masks
