"""Draw on an image, mark by mark."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from drivetrain.dist import master_only
from drivetrain.errors import ArgumentError, NotReadyError

from . import _canvas, _draw
from ._values import (
    ArrayLike,
    Colors,
    as_uint8_rgb,
    check_shape,
    check_type,
    check_type_and_length,
    tensor2ndarray,
    value2list,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from typing_extensions import Self

_ARRAY = (np.ndarray, Tensor)
_COLOR = (str, tuple)


class Drawing:
    """An image that is drawn on; the part of `Visualizer` that knows no backends.

    Args:
        fig_save_cfg: arguments of the matplotlib figure that is drawn on.
    """

    width: int  # of the image, in pixels
    height: int

    def __init__(self, fig_save_cfg: dict[str, Any]) -> None:
        self.fig_save_cfg = dict(fig_save_cfg)
        self._image: np.ndarray | None = None

    # The figure is made on first use: a run that only logs scalars does not load matplotlib.

    @cached_property
    def _drawing(self) -> tuple[FigureCanvasAgg, Figure, Axes]:
        return self._initialize_fig(self.fig_save_cfg)

    @cached_property
    def fig_save_canvas(self) -> FigureCanvasAgg:
        """The canvas that is drawn on."""
        return self._drawing[0]

    @cached_property
    def fig_save(self) -> Figure:
        """The figure that is drawn on."""
        return self._drawing[1]

    @cached_property
    def ax_save(self) -> Axes:
        """The axes that are drawn on: one unit is one pixel."""
        return self._drawing[2]

    @cached_property
    def dpi(self) -> float:
        """Dots per inch of the figure."""
        return self.fig_save.get_dpi()

    def _initialize_fig(self, fig_cfg: dict[str, Any]) -> tuple[FigureCanvasAgg, Figure, Axes]:
        """A canvas, its figure and its axes; for subclasses."""
        return _canvas.new_canvas(fig_cfg)

    @master_only
    def set_image(self, image: np.ndarray) -> None:
        """Begin a drawing: forget what was drawn, and lay this image under what comes.

        Args:
            image: (H, W, 3) in RGB order, or (H, W), of 0 .. 255 (floats of at most 1 are taken as 0 .. 1).
        """
        check_type("image", image, np.ndarray)
        pixels = as_uint8_rgb(image)
        self._image = image
        self.height, self.width = pixels.shape[:2]
        self._default_font_size = _canvas.default_font_size(self.height, self.width)
        _canvas.fit_to_image(self.fig_save, self.ax_save, pixels)

    @master_only
    def get_image(self) -> np.ndarray:
        """The drawing, uint8 (H, W, 3) in RGB order."""
        self._require_image()
        return _canvas.img_from_canvas(self.fig_save_canvas)

    def _require_image(self) -> None:
        if self._image is None:
            raise NotReadyError("there is no image to draw on: call set_image(image) first.")

    def _is_posion_valid(self, position: np.ndarray) -> bool:
        """Whether all positions, (N, 2), lie on the image; for subclasses (the contract's spelling)."""
        inside = (position >= 0) & (position < np.array([self.width, self.height]))
        return bool(inside.all())

    def _warn_if_outside(self, what: str, *positions: np.ndarray) -> None:
        if not all(self._is_posion_valid(position) for position in positions):
            warnings.warn(
                f"{what} reaches out of the image ({self.width} x {self.height}): a part may not be seen.", stacklevel=4
            )

    def _begin(self, name: str, value: ArrayLike, columns: int) -> np.ndarray:
        """A position argument as an array (N, columns); one item may come without the first axis."""
        self._require_image()
        check_type(name, value, _ARRAY)
        array = tensor2ndarray(value)
        array = array[None] if array.ndim == 1 else array
        check_shape(name, array, columns)
        return array

    @master_only
    def draw_points(
        self,
        positions: ArrayLike,
        colors: Colors = "g",
        marker: str | None = None,
        sizes: ArrayLike | None = None,
    ) -> Self:
        """Draw points.

        Args:
            positions: (N, 2) or (2,).
            colors: of the points.
            marker: matplotlib's name of a marker.
            sizes: (N,), areas in square points.
        """
        array = self._begin("positions", positions, 2)
        check_type_and_length("colors", colors, (*_COLOR, list), len(array))
        areas = None if sizes is None else tensor2ndarray(sizes)
        _draw.draw_markers(self.ax_save, array, colors, marker, areas)
        return self

    @master_only
    def draw_texts(
        self,
        texts: str | list[str],
        positions: ArrayLike,
        font_sizes: int | list[int] | None = None,
        colors: Colors = "g",
        vertical_alignments: str | list[str] = "top",
        horizontal_alignments: str | list[str] = "left",
        font_families: str | list[str] = "sans-serif",
        bboxes: dict[str, Any] | list[dict[str, Any]] | None = None,
        font_properties: Any = None,
    ) -> Self:
        """Write texts.

        Args:
            texts: one or several.
            positions: (N, 2) or (2,), where the texts are aligned.
            font_sizes: in points; by default one that suits the size of the image.
            colors: of the texts.
            vertical_alignments: 'top', 'center', 'bottom' or 'baseline'.
            horizontal_alignments: 'left', 'center' or 'right'.
            font_families: matplotlib's font families.
            bboxes: the look of a box around each text, as matplotlib's arguments of a patch.
            font_properties: matplotlib `FontProperties`, over the other font arguments.

        Raises:
            ArgumentError: there are not as many positions as texts.
        """
        check_type("texts", texts, (str, list))
        lines = value2list(texts, str, 1)
        array = self._begin("positions", positions, 2)
        if len(array) != len(lines):
            raise ArgumentError(
                f"`positions` should have the shape ({len(lines)}, 2), one for each text, got {array.shape}."
            )
        options = _draw.text_options(
            len(lines),
            font_sizes=(self._default_font_size if font_sizes is None else font_sizes, (int, float, np.number)),
            colors=(colors, _COLOR),
            vertical_alignments=(vertical_alignments, (str,)),
            horizontal_alignments=(horizontal_alignments, (str,)),
            font_families=(font_families, (str,)),
            bboxes=(bboxes, (dict, type(None))),
            font_properties=(font_properties, (object,)),
        )
        self._warn_if_outside("a text", array)
        _draw.draw_texts(self.ax_save, lines, array, options)
        return self

    @master_only
    def draw_lines(
        self,
        x_datas: ArrayLike,
        y_datas: ArrayLike,
        colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: int | float | list[int | float] = 2,
    ) -> Self:
        """Draw line segments.

        Args:
            x_datas: (N, 2) or (2,), x of the two ends.
            y_datas: (N, 2) or (2,), y of the two ends.
            colors: of the lines.
            line_styles: matplotlib's line styles.
            line_widths: in points.
        """
        x, y = self._begin("x_datas", x_datas, 2), self._begin("y_datas", y_datas, 2)
        if x.shape != y.shape:
            raise ArgumentError(f"`x_datas` and `y_datas` should have one shape, got {x.shape} and {y.shape}.")
        check_type_and_length("colors", colors, (*_COLOR, list), len(x))
        self._warn_if_outside("a line", np.stack((x, y), axis=2).reshape(-1, 2))
        _draw.draw_segments(self.ax_save, x, y, colors, line_styles, line_widths)
        return self

    @master_only
    def draw_circles(
        self,
        center: ArrayLike,
        radius: ArrayLike,
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: int | float | list[int | float] = 2,
        face_colors: Colors = "none",
        alpha: float | int = 0.8,
    ) -> Self:
        """Draw circles.

        Args:
            center: (N, 2) or (2,).
            radius: (N,), pixels.
            edge_colors: of the edges.
            line_styles: matplotlib's line styles.
            line_widths: in points.
            face_colors: of the insides; 'none' for none.
            alpha: 0 (invisible) .. 1.
        """
        centers = self._begin("center", center, 2)
        check_type("radius", radius, _ARRAY)
        radii = tensor2ndarray(radius).reshape(-1)
        if len(radii) != len(centers):
            raise ArgumentError(
                f"`radius` should have the shape ({len(centers)},), one for each center, got {radii.shape}."
            )
        self._warn_if_outside("a circle", centers - radii[:, None], centers + radii[:, None])
        widths = _draw.line_widths_within(line_widths, len(centers), self._default_font_size)
        look = _draw.look_of(edge_colors, face_colors, line_styles, widths, alpha)
        _draw.draw_rings(self.ax_save, centers, radii, look)
        return self

    @master_only
    def draw_bboxes(
        self,
        bboxes: ArrayLike,
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: int | float | list[int | float] = 2,
        face_colors: Colors = "none",
        alpha: int | float = 0.8,
    ) -> Self:
        """Draw boxes.

        Args:
            bboxes: (N, 4) or (4,): x1, y1, x2, y2.
            edge_colors: of the edges.
            line_styles: matplotlib's line styles.
            line_widths: in points.
            face_colors: of the insides; 'none' for none.
            alpha: 0 (invisible) .. 1.

        Raises:
            ArgumentError: the second corner lies left of or above the first.
        """
        boxes = self._begin("bboxes", bboxes, 4)
        if not (boxes[:, :2] <= boxes[:, 2:]).all():
            raise ArgumentError(f"`bboxes` are x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got {boxes.tolist()}.")
        corners = _draw.box_corners(boxes)
        self._warn_if_outside("a box", *corners)
        return self._draw_shapes(corners, edge_colors, line_styles, line_widths, face_colors, alpha)

    @master_only
    def draw_polygons(
        self,
        polygons: ArrayLike | list[ArrayLike],
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: int | float | list[int | float] = 2,
        face_colors: Colors = "none",
        alpha: int | float = 0.8,
    ) -> Self:
        """Draw closed polygons.

        Args:
            polygons: (M, 2), or a list of such.
            edge_colors: of the edges.
            line_styles: matplotlib's line styles.
            line_widths: in points.
            face_colors: of the insides; 'none' for none.
            alpha: 0 (invisible) .. 1.
        """
        check_type("polygons", polygons, (list, *_ARRAY))
        items = cast("list[ArrayLike]", polygons if type(polygons) is list else [polygons])
        arrays = [self._begin("polygons", polygon, 2) for polygon in items]
        self._warn_if_outside("a polygon", *arrays)
        return self._draw_shapes(arrays, edge_colors, line_styles, line_widths, face_colors, alpha)

    def _draw_shapes(
        self,
        shapes: list[np.ndarray],
        edge_colors: Colors,
        line_styles: Any,
        line_widths: Any,
        face_colors: Colors,
        alpha: float,
    ) -> Self:
        check_type_and_length("edge_colors", edge_colors, (*_COLOR, list), len(shapes))
        check_type_and_length("face_colors", face_colors, (*_COLOR, list), len(shapes))
        widths = _draw.line_widths_within(line_widths, len(shapes), self._default_font_size)
        look = _draw.look_of(edge_colors, face_colors, line_styles, widths, alpha)
        _draw.draw_shapes(self.ax_save, shapes, look)
        return self

    @master_only
    def draw_binary_masks(
        self,
        binary_masks: ArrayLike,
        colors: Colors = "g",
        alphas: float | list[float] = 0.8,
    ) -> Self:
        """Tint the image where masks are set.

        Args:
            binary_masks: bool (N, H, W) or (H, W), the size of the image.
            colors: of the masks.
            alphas: weight of the colours, 0 .. 1.

        Raises:
            ArgumentError: another dtype or size.
        """
        self._require_image()
        check_type("binary_masks", binary_masks, _ARRAY)
        masks = _draw.as_masks(tensor2ndarray(binary_masks), (self.height, self.width))
        check_type_and_length("colors", colors, (*_COLOR, list), len(masks))
        tints = value2list(colors, _COLOR, len(masks))
        weights = value2list(alphas, (int, float), len(masks))
        image = _canvas.img_from_canvas(self.fig_save_canvas)
        _canvas.show_pixels(self.ax_save, _draw.blend_masks(image, masks, tints, weights), "nearest")
        return self
