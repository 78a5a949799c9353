"""Draw on an image, and hand scalars, images and configs to every backend."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from torch import Tensor, nn

from drivetrain.dist import master_only
from drivetrain.errors import ArgumentError, did_you_mean
from drivetrain.registry import VISUALIZERS
from drivetrain.utils import ManagerMixin

from ._backend import BaseVisBackend
from ._canvas import new_window, show_in_window
from ._drawing import Drawing
from ._featmap import feature_map_image
from ._setup import build_backends

if TYPE_CHECKING:
    from typing_extensions import Self

    from drivetrain.structures import BaseDataElement

VisBackendsType: TypeAlias = "Sequence[Mapping[str, Any] | BaseVisBackend] | Mapping[str, Any] | BaseVisBackend | None"

_WITHOUT_FRAME = {"frameon": False}
_SHOW_BACKENDS = ("matplotlib", "cv2")


@VISUALIZERS.register_module()
class Visualizer(Drawing, ManagerMixin):
    """Draws on an image, and writes scalars, images and configs to backends.

    The drawing methods return the visualizer, so that calls can be chained. Coordinates are pixels from the top left
    corner, x before y; a colour is a matplotlib name or an RGB tuple of 0 .. 255; an argument that describes the look
    is one value for all items or a list of one for each. On ranks other than 0 every method does nothing and returns
    None.

    Args:
        name: name of the instance.
        image: an image to draw on, as for `set_image`.
        vis_backends: backends, or their configs: one, or a list. A config may hold a `name` under which `get_backend`
            finds it, which is by default its type's name.
        save_dir: the folder of the run; backends write into its `vis_data`. Without it, a backend that needs a folder
            and has none is left out with a warning.
        fig_save_cfg: arguments of the matplotlib figure that is drawn on.
        fig_show_cfg: arguments of the matplotlib figure that `show` opens.

    Raises:
        DuplicateError: two backends have one name.
        ArgumentTypeError: a backend is neither a config nor a backend.

    >>> visualizer = Visualizer(image=np.zeros((100, 100, 3), np.uint8))
    >>> visualizer.draw_bboxes(np.array([10, 10, 60, 60])).draw_texts("cat", np.array([10, 10])).get_image().shape
    (100, 100, 3)
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: VisBackendsType = None,
        save_dir: str | None = None,
        fig_save_cfg: dict[str, Any] = _WITHOUT_FRAME,
        fig_show_cfg: dict[str, Any] = _WITHOUT_FRAME,
    ) -> None:
        Drawing.__init__(self, fig_save_cfg)
        ManagerMixin.__init__(self, name)
        self._dataset_meta: dict[str, Any] | None = None
        self.fig_show_cfg = dict(fig_show_cfg)
        folder = None if save_dir is None else os.path.join(save_dir, "vis_data")
        self._vis_backends = build_backends(vis_backends, folder)
        if image is not None:
            self.set_image(image)

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> Self:
        """The visualizer called `name`, created with `kwargs` (and thereby made current) if there is none.

        Hooks ask `Visualizer` for the current one, whatever class was built: its table holds those of subclasses too.
        """
        instance = super().get_instance(name, **kwargs)
        Visualizer._instance_dict[name] = instance
        return instance

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """What the dataset says of itself (`classes`, `palette` ...), for subclasses that draw predictions."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        """Set what the dataset says of itself; loops do this."""
        self._dataset_meta = dataset_meta

    def _init_manager(self, win_name: str) -> None:
        """Open the window of `show` as `self.manager`, once, and set its title; for subclasses."""
        if getattr(self, "manager", None) is None:
            self.manager = new_window(win_name, self.fig_show_cfg)
        self.manager.set_window_title(win_name)

    @master_only
    def show(
        self,
        drawn_img: np.ndarray | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
        backend: str = "matplotlib",
    ) -> None:
        """Show an image in a window and wait for a key; in a notebook, below the cell.

        Without a display it warns and goes on.

        Args:
            drawn_img: (H, W, 3) in RGB order; by default the image that was drawn on.
            win_name: title of the window.
            wait_time: seconds to wait at most; 0 for no limit.
            continue_key: the key that ends the wait.
            backend: 'matplotlib'; 'cv2' is taken as 'matplotlib'.

        Raises:
            ArgumentError: `backend` is neither.
        """
        if backend not in _SHOW_BACKENDS:
            raise ArgumentError(
                f"backend should be 'matplotlib', got {backend!r}.{did_you_mean(backend, _SHOW_BACKENDS)}"
            )
        image = self.get_image() if drawn_img is None else drawn_img
        self._init_manager(win_name)
        show_in_window(self.manager, cast("np.ndarray", image), wait_time, continue_key)

    @master_only
    def get_backend(self, name: str) -> BaseVisBackend | None:
        """The backend called `name`, or None."""
        return self._vis_backends.get(name)

    @staticmethod
    @master_only
    def draw_featmap(
        featmap: Tensor,
        overlaid_image: np.ndarray | None = None,
        channel_reduction: str | None = "squeeze_mean",
        topk: int = 20,
        arrangement: tuple[int, int] = (4, 5),
        resize_shape: tuple[int, int] | None = None,
        alpha: float = 0.5,
    ) -> np.ndarray:
        """A feature map as a colour image: blue for its smallest values, red for its largest.

        Args:
            featmap: (C, H, W).
            overlaid_image: an image to lay under it; the map is stretched to its size.
            channel_reduction: 'squeeze_mean' shows the mean of the channels, 'select_max' the channel with the
                largest sum, None shows several.
            topk: without reduction, the number of channels with the largest sums to show; 0 or less shows a map of
                one or three channels as it is.
            arrangement: rows and columns of the shown channels.
            resize_shape: height and width to show each in.
            alpha: weight of the colours over the image, 0 .. 1.

        Returns:
            uint8 (H, W, 3), or (rows * H, columns * W, 3) for several channels.

        Raises:
            ArgumentTypeError: `featmap` is no tensor of three dimensions.
            ArgumentError: `arrangement` is too small for `topk`, or too many channels for one image.
        """
        return feature_map_image(featmap, overlaid_image, channel_reduction, topk, arrangement, resize_shape, alpha)

    def _backends(self) -> Iterable[BaseVisBackend]:
        return self._vis_backends.values()

    @master_only
    def add_config(self, config: Mapping[str, Any], **kwargs: Any) -> None:
        """Hand the config of the run to every backend."""
        for backend in self._backends():
            backend.add_config(config, **kwargs)

    @master_only
    def add_graph(self, model: nn.Module, data_batch: Sequence[Any], **kwargs: Any) -> None:
        """Hand a model and a batch to every backend, to draw its graph."""
        for backend in self._backends():
            backend.add_graph(model, data_batch, **kwargs)

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Hand an image, uint8 (H, W, 3) in RGB order, to every backend."""
        for backend in self._backends():
            backend.add_image(name, image, step)

    @master_only
    def add_scalar(self, name: str, value: int | float, step: int = 0, **kwargs: Any) -> None:
        """Hand a number of a step to every backend."""
        for backend in self._backends():
            backend.add_scalar(name, value, step, **kwargs)

    @master_only
    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Hand the numbers of one step to every backend.

        Args:
            scalar_dict: numbers by name.
            step: global step.
            file_path: for `LocalVisBackend`, a second file for the same line.
            kwargs: passed to the backends.
        """
        for backend in self._backends():
            backend.add_scalars(scalar_dict, step, file_path, **kwargs)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: int = 0,
        step: int = 0,
    ) -> None:
        """Draw a sample with its labels and predictions: a subclass that knows the task says how; this does nothing."""

    def close(self) -> None:
        """Close every backend."""
        for backend in self._backends():
            backend.close()
