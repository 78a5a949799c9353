"""The visualizer: its backends, and what its marks leave on an image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError, DuplicateError, NotReadyError
from drivetrain.registry import VISUALIZERS
from drivetrain.visualization import BaseVisBackend, LocalVisBackend, TensorboardVisBackend, Visualizer

GRAY = np.full((80, 120, 3), 90, np.uint8)


class RecordingBackend(BaseVisBackend):
    """Keeps what it is handed."""

    def __init__(self, save_dir: str | None = None) -> None:
        self._save_dir = save_dir  # type: ignore[assignment]
        self.calls: list[tuple[Any, ...]] = []

    @property
    def experiment(self) -> Any:
        return self

    def _init_env(self) -> None:
        pass

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("scalar", *args, kwargs))

    def add_scalars(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("scalars", *args, kwargs))

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("image", *args))

    def add_config(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("config", *args))

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("graph", *args))

    def close(self) -> None:
        self.calls.append(("close",))


@pytest.fixture
def drawing() -> Visualizer:
    return Visualizer(image=GRAY)


def changed(visualizer: Visualizer, before: np.ndarray = GRAY) -> np.ndarray:
    return (visualizer.get_image() != before).any(axis=2)


def test_what_is_added_reaches_every_backend(tmp_path: Path) -> None:
    first, second = RecordingBackend(), type("Other", (RecordingBackend,), {})()
    visualizer = Visualizer(vis_backends=[first, second])
    model = torch.nn.Identity()
    visualizer.add_scalar("loss", 0.5, 3)
    visualizer.add_scalars({"a": 1}, step=4, file_path="x.json")
    visualizer.add_config({"lr": 1})
    visualizer.add_graph(model, [1])
    visualizer.add_image("im", GRAY, 5)
    visualizer.close()
    assert [call[0] for call in first.calls] == ["scalar", "scalars", "config", "graph", "image", "close"]
    assert first.calls[:2] == [("scalar", "loss", 0.5, 3, {}), ("scalars", {"a": 1}, 4, "x.json", {})]
    assert len(second.calls) == 6


def test_backends_write_below_vis_data_of_the_save_dir(tmp_path: Path) -> None:
    visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    visualizer.add_scalar("loss", 1, 1)
    assert (tmp_path / "vis_data" / "scalars.json").read_text() == '{"loss": 1, "step": 1}\n'


@pytest.mark.parametrize("given", [{"type": "LocalVisBackend"}, ({"type": LocalVisBackend},), [LocalVisBackend("x")]])
def test_backends_may_be_one_or_several_configs_or_objects(given: Any, tmp_path: Path) -> None:
    visualizer = Visualizer(vis_backends=given, save_dir=str(tmp_path))
    assert type(visualizer.get_backend("LocalVisBackend")) is LocalVisBackend
    assert visualizer.get_backend("nothing") is None


def test_backend_config_may_name_itself_and_its_folder() -> None:
    config = {"type": "LocalVisBackend", "name": "mine", "save_dir": "here"}
    visualizer = Visualizer(vis_backends=[config])
    assert visualizer.get_backend("mine")._save_dir == "here"  # type: ignore[union-attr]
    assert config["name"] == "mine"


@pytest.mark.parametrize("backend", [{"type": "TensorboardVisBackend"}, TensorboardVisBackend(None)])  # type: ignore[arg-type]
def test_backend_without_the_folder_it_needs_is_left_out_with_a_warning(backend: Any) -> None:
    with pytest.warns(UserWarning, match="TensorboardVisBackend is left out"):
        visualizer = Visualizer(vis_backends=[backend])
    assert visualizer.get_backend("TensorboardVisBackend") is None
    visualizer.add_scalar("loss", 1)


def test_backend_that_needs_no_folder_is_kept_without_one() -> None:
    assert Visualizer(vis_backends=[RecordingBackend()]).get_backend("RecordingBackend") is not None


def test_two_backends_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DuplicateError, match="two backends are called 'LocalVisBackend'"):
        Visualizer(vis_backends=[{"type": "LocalVisBackend"}] * 2, save_dir=str(tmp_path))


def test_something_that_is_no_backend_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="got 'LocalVisBackend'"):
        Visualizer(vis_backends=["LocalVisBackend"], save_dir="x")  # type: ignore[list-item]


def test_visualizer_is_built_by_name_as_the_current_instance(tmp_path: Path) -> None:
    visualizer = VISUALIZERS.build({"type": "Visualizer", "name": "run-7", "save_dir": str(tmp_path)})
    assert Visualizer.get_instance("run-7") is visualizer is Visualizer.get_current_instance()
    visualizer.dataset_meta = {"classes": ("cat",)}
    assert Visualizer.get_instance("run-7").dataset_meta == {"classes": ("cat",)}


def test_other_ranks_draw_and_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RecordingBackend()
    visualizer = Visualizer(vis_backends=[backend])
    monkeypatch.setattr("drivetrain.dist._info.is_main_process", lambda *args: False)
    visualizer.add_scalar("loss", 1)
    assert visualizer.set_image(GRAY) is None and visualizer.get_image() is None
    assert backend.calls == []


def test_logging_scalars_loads_no_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; from drivetrain.visualization import Visualizer\n"
        f"v = Visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir={str(tmp_path)!r})\n"
        "v.add_scalar('loss', 1); print(sorted({'matplotlib', 'tensorboard', 'wandb', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_image_comes_back_pixel_for_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    visualizer = Visualizer()
    visualizer.set_image(image)
    assert visualizer.get_image().dtype == np.uint8 and visualizer.get_image().flags["C_CONTIGUOUS"]
    assert np.array_equal(visualizer.get_image(), image)
    assert (visualizer.width, visualizer.height) == (53, 37)


@pytest.mark.parametrize("dpi", [72, 100, 113.7])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (29, 57), (240, 321), (1080, 1920)])
def test_no_size_of_image_or_dot_is_resampled(size: tuple[int, int], dpi: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    visualizer = Visualizer(image=image, fig_save_cfg={"dpi": dpi, "frameon": False})
    assert np.array_equal(visualizer.get_image(), image)
    mask = np.random.default_rng(1).random(size) > 0.5
    tinted = visualizer.draw_binary_masks(mask, colors=(0, 0, 0), alphas=1).get_image()
    assert np.array_equal(tinted, image * ~mask[..., None])


def test_gray_float_and_rgba_images_are_shown_as_they_look() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    gray = np.stack([image] * 3, axis=2)
    for same in (image, image[..., None], image / 255, np.dstack([gray, image]), gray.astype(np.int64)):
        assert np.array_equal(Visualizer(image=same).get_image(), gray)
    assert np.array_equal(Visualizer(image=image > 100).get_image() == 255, np.stack([image > 100] * 3, axis=2))


def test_new_image_forgets_the_marks(drawing: Visualizer) -> None:
    drawing.draw_bboxes(np.array([10, 10, 50, 50]))
    drawing.set_image(GRAY)
    assert not changed(drawing).any()


def test_font_grows_with_the_image() -> None:
    assert Visualizer(image=GRAY)._default_font_size == 10
    assert Visualizer(image=np.zeros((1000, 2000, 3), np.uint8))._default_font_size == 15


@pytest.mark.parametrize(
    "draw",
    [
        lambda v: v.get_image(),
        lambda v: v.draw_bboxes(np.zeros(4)),
        lambda v: v.draw_binary_masks(np.zeros((2, 2), bool)),
    ],
)
def test_drawing_without_an_image_says_what_to_do(draw: Any) -> None:
    with pytest.raises(NotReadyError, match="set_image"):
        draw(Visualizer())


def test_bbox_draws_its_edge_and_nothing_inside(drawing: Visualizer) -> None:
    marks = changed(drawing.draw_bboxes(torch.tensor([20, 20, 100, 60]), edge_colors="r", line_widths=1))
    assert marks[20, 60] and marks[60, 60] and marks[40, 20] and marks[40, 100]
    assert not marks[25:55, 25:95].any() and not marks[:18].any() and not marks[:, 103:].any()


def test_face_is_filled_with_its_colour_and_alpha(drawing: Visualizer) -> None:
    drawing.draw_bboxes(
        np.array([[10, 10, 50, 50], [60, 10, 110, 50]]),
        edge_colors=["r", "b"],
        face_colors=[(255, 0, 0), "none"],
        alpha=0.5,
    )
    image = drawing.get_image()
    assert np.abs(image[30, 30].astype(int) - [172, 45, 45]).max() <= 1
    assert (image[30, 80] == 90).all()


def test_polygon_is_filled_between_its_corners(drawing: Visualizer) -> None:
    marks = changed(drawing.draw_polygons(torch.tensor([[10, 10], [100, 10], [10, 70]]), face_colors="y"))
    assert marks[25, 25] and not marks[60, 90]
    drawing.draw_polygons([np.array([[90, 40], [110, 40], [110, 70]]), torch.tensor([[1, 1], [5, 1], [5, 5]])])


def test_circle_has_its_radius(drawing: Visualizer) -> None:
    marks = changed(drawing.draw_circles(torch.tensor([60, 40]), torch.tensor([20]), line_widths=1))
    assert marks[40, 40] and marks[40, 80] and marks[20, 60] and not marks[40, 60]
    drawing.draw_circles(np.array([[20, 20], [90, 50]]), np.array([5, 6]), edge_colors=["r", "b"], face_colors="k")


def test_line_and_points_lie_where_they_should(drawing: Visualizer) -> None:
    marks = changed(drawing.draw_lines(torch.tensor([10, 110]), torch.tensor([40, 40]), colors=(255, 0, 0)))
    assert marks[40, 15:105].all() and not marks[:37].any() and not marks[43:].any()
    drawing.set_image(GRAY)
    marks = changed(drawing.draw_points(torch.tensor([[30, 20], [90, 60]]), colors=(0, 0, 255), sizes=np.array([9, 9])))
    assert marks[20, 30] and marks[60, 90] and marks.sum() < 80
    drawing.draw_points(np.array([3, 3]), colors=["r"], marker="x")


def test_text_lies_right_of_and_below_its_position(drawing: Visualizer) -> None:
    rows, columns = np.nonzero(changed(drawing.draw_texts("hello", torch.tensor([30, 40]), colors="w")))
    assert columns.min() >= 28 and rows.min() >= 38 and len(rows) > 30
    box = {"facecolor": "k", "alpha": 0.5}
    drawing.draw_texts(["a", "b"], np.array([[1, 1], [50, 50]]), font_sizes=[8, 20], colors=["r", (0, 0, 255)],
                       vertical_alignments=["top", "bottom"], bboxes=box)  # fmt: skip


def test_mask_tints_only_where_it_is_set(drawing: Visualizer) -> None:
    masks = torch.zeros(2, 80, 120, dtype=torch.bool)
    masks[0, 10:40, 10:50] = True
    masks[1, 30:60, 30:90] = True
    image = drawing.draw_binary_masks(masks, colors=["r", (0, 0, 200)], alphas=[0.5, 0.25]).get_image()
    assert np.array_equal((image != 90).any(axis=2), masks.any(dim=0).numpy())
    assert image[15, 15].tolist() == [172, 45, 45]
    assert image[50, 50].tolist() == [68, 68, 118]
    assert image[35, 40].tolist() == [129, 34, 84]


def test_marks_under_and_over_a_mask_are_kept(drawing: Visualizer) -> None:
    drawing.draw_bboxes(np.array([20, 20, 60, 60]), edge_colors="r")
    drawing.draw_binary_masks(np.ones((80, 120), bool), alphas=0.5, colors="k")
    under = drawing.get_image()
    assert under[40, 20, 0] > 90 and (under[5, 5] == 45).all()
    assert changed(drawing.draw_bboxes(np.array([70, 20, 100, 60])), under)[40, 70]


@pytest.mark.parametrize(
    "draw",
    [
        lambda v: v.draw_bboxes(torch.tensor([10, 10, 500, 50])),
        lambda v: v.draw_polygons(torch.tensor([[10, 10], [-4, 9], [3, 3]])),
        lambda v: v.draw_circles(torch.tensor([5, 5]), torch.tensor([30])),
        lambda v: v.draw_lines(torch.tensor([1, 300]), torch.tensor([1, 3])),
        lambda v: v.draw_texts("far", torch.tensor([300, 3])),
    ],
)
def test_mark_outside_the_image_warns_the_caller(drawing: Visualizer, draw: Any) -> None:
    with pytest.warns(UserWarning, match="reaches out of the image") as caught:
        draw(drawing)
    assert caught[0].filename == __file__ and len(caught) == 1


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda v: v.draw_bboxes([1, 1, 5, 5]), "`bboxes` should be ndarray or Tensor, got list"),
        (lambda v: v.draw_bboxes(torch.zeros(2, 3)), r"`bboxes` should have the shape \(N, 4\), got \(2, 3\)"),
        (lambda v: v.draw_bboxes(torch.tensor([5, 5, 1, 1])), "x1 <= x2"),
        (lambda v: v.draw_bboxes(torch.zeros(3, 4), edge_colors=["r"]), "one value for each of the 3 items, got 1"),
        (lambda v: v.draw_polygons("abc"), "`polygons` should be list or ndarray"),
        (lambda v: v.draw_texts(["a", "b"], torch.tensor([1, 1])), r"shape \(2, 2\), one for each text, got \(1, 2\)"),
        (lambda v: v.draw_texts(1, torch.tensor([1, 1])), "`texts` should be str or list, got int"),
        (lambda v: v.draw_lines(torch.zeros(1, 2), torch.zeros(2, 2)), "one shape"),
        (lambda v: v.draw_circles(torch.zeros(2, 2), torch.ones(1)), r"shape \(2,\), one for each center"),
        (lambda v: v.draw_points(torch.zeros(2, 2), colors=(300, 0, 0)), r"0 .. 255, got \(300, 0, 0\)"),
        (lambda v: v.draw_binary_masks(torch.zeros(80, 120)), "should be bool, got float32"),
        (lambda v: v.draw_binary_masks(torch.zeros(2, 80, 12).bool()), r"got \(2, 80, 12\)"),
        (lambda v: v.set_image(np.zeros((3, 4, 5, 6))), r"got \(3, 4, 5, 6\)"),
        (lambda v: v.set_image([1]), "`image` should be ndarray, got list"),
        (lambda v: v.show(backend="cv3"), "Did you mean 'cv2'"),
    ],
)
def test_wrong_argument_names_what_was_given(drawing: Visualizer, draw: Any, message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        draw(drawing)


def test_no_boxes_draw_nothing(drawing: Visualizer) -> None:
    drawing.draw_bboxes(torch.zeros(0, 4)).draw_binary_masks(torch.zeros(0, 80, 120).bool())
    assert not changed(drawing).any()


def test_show_without_a_display_warns_and_returns(drawing: Visualizer) -> None:
    matplotlib.use("agg")
    with pytest.warns(UserWarning, match="without a display"):
        drawing.show(win_name="a title", wait_time=1)
    assert drawing.manager.canvas.figure.axes[0].images[0].get_array().shape == (80, 120, 3)
    with pytest.warns(UserWarning, match="without a display"):
        drawing.show(np.zeros((5, 5), np.uint8), backend="cv2")


def test_subclass_can_draw_on_the_axes_and_place_its_own_backend(drawing: Visualizer) -> None:
    drawing.ax_save.plot([10, 110], [40, 40], linewidth=3)
    assert changed(drawing)[40, 50]
    assert drawing.fig_save is drawing.fig_save_canvas.figure and drawing.dpi == drawing.fig_save.get_dpi()
    canvas, figure, axes = drawing._initialize_fig({"frameon": True})
    assert figure.axes == [axes] and canvas.figure is figure


def test_hooks_that_ask_for_the_current_visualizer_get_the_one_of_a_subclass() -> None:
    class Drawer(Visualizer):
        """As detection or segmentation packages derive it."""

    built = Drawer.get_instance("drawer of boxes")
    assert Visualizer.get_current_instance() is built
    assert Visualizer.get_instance("drawer of boxes") is built
    other = Visualizer.get_instance("made later")
    assert Visualizer.get_current_instance() is other and Drawer.get_current_instance() is built
    assert Drawer.get_instance("drawer of boxes") is built and Visualizer.get_current_instance() is other
