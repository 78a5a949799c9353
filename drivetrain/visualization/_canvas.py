"""Figures drawn in memory with Agg, without the global state of pyplot; and windows, when one is asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.errors import require_package

from ._values import as_uint8_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure


# Of a pixel.
_SURPLUS = 1e-2
_TRIFLE = 1e-6


def new_canvas(figure_options: Mapping[str, Any]) -> tuple[FigureCanvasAgg, Figure, Axes]:
    """A canvas, its figure and one pair of axes that fill it, without ticks or frame."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise require_package("matplotlib", "drawing", "vision") from error
    figure = Figure(**figure_options)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axis("off")
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    return canvas, figure, axes


def fit_to_image(figure: Figure, axes: Axes, image: np.ndarray) -> None:
    """Size the figure so that one pixel of it is one of `image`, and show the image on emptied axes."""
    height, width = image.shape[:2]
    # Figure sizes are inches: the surplus keeps width / dpi * dpi from falling below the width.
    figure.set_size_inches((width + _SURPLUS) / figure.get_dpi(), (height + _SURPLUS) / figure.get_dpi())
    axes.cla()
    axes.axis("off")
    show_pixels(axes, image, "none")


def show_pixels(axes: Axes, image: np.ndarray, interpolation: str) -> None:
    """Lay `image`, uint8 (H, W, 3), over the whole axes, each pixel of it on one of the figure that fits it."""
    from matplotlib.transforms import Affine2D

    height, width = image.shape[:2]
    # matplotlib before 3.11 stretches an image to the next whole pixel: on the axes, which have the surplus too, to
    # width + 1. An image a trifle narrower than its width is stretched to its width, and each pixel meets its own.
    fit = Affine2D().scale((width - _TRIFLE) / (width + _SURPLUS), (height - _TRIFLE) / (height + _SURPLUS))
    shown = axes.imshow(image, extent=(0, width, height, 0), interpolation=interpolation)
    shown.set_transform(axes.transData + fit)


def img_from_canvas(canvas: FigureCanvasAgg) -> np.ndarray:
    """What is drawn on a canvas, as a new uint8 array (H, W, 3) in RGB order."""
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)
    return np.ascontiguousarray(pixels[..., :3])


def default_font_size(height: int, width: int) -> float:
    """A font size that suits an image: 10 points, or more for an image above 900 x 900."""
    return max(math.sqrt(height * width) // 90, 10)


def new_window(title: str, figure_options: Mapping[str, Any]) -> Any:
    """A pyplot figure manager, which is a window where the matplotlib backend has windows."""
    try:
        from matplotlib import pyplot
        from matplotlib.figure import Figure
    except ImportError as error:
        raise require_package("matplotlib", "showing an image", "vision") from error
    manager = pyplot.new_figure_manager(num=1, FigureClass=Figure, **figure_options)
    manager.set_window_title(title)
    return manager


def show_in_window(manager: Any, image: np.ndarray, wait_time: float, continue_key: str) -> None:
    """Show an image and wait for `continue_key`, the closing of the window, or `wait_time` seconds (0: for ever)."""
    figure = manager.canvas.figure
    figure.clear()
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes = figure.add_subplot()
    axes.axis("off")
    axes.imshow(as_uint8_rgb(image))
    manager.canvas.draw()
    if "inline" in type(manager.canvas).__module__:
        _show_inline(figure)
    elif manager.canvas.required_interactive_framework is None:
        warnings.warn(
            "no window can be shown: matplotlib runs without a display here. "
            "Save the image with add_image, or choose an interactive backend (MPLBACKEND).",
            stacklevel=4,
        )
    else:
        manager.show()
        wait_continue(figure, timeout=wait_time, continue_key=continue_key)


def _show_inline(figure: Figure) -> None:
    from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

    display(figure)


def wait_continue(figure: Figure, timeout: float = 0, continue_key: str = " ") -> int:
    """Wait until a key is pressed in a figure's window, the window is closed, or time is up.

    Args:
        figure: a figure with a window.
        timeout: seconds; 0 for no limit.
        continue_key: the key to wait for.

    Returns:
        1 if the window was closed, else 0.
    """
    canvas = figure.canvas
    closed = 0

    def on_event(event: Any) -> None:
        nonlocal closed
        closed = int(event.name == "close_event")
        if closed or event.key == continue_key:
            canvas.stop_event_loop()

    handlers = [canvas.mpl_connect(name, on_event) for name in ("key_press_event", "close_event")]
    try:
        canvas.start_event_loop(timeout)
    finally:
        for handler in handlers:
            canvas.mpl_disconnect(handler)
    return closed
