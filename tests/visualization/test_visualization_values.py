"""The small parsers of drawing arguments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.visualization import (
    check_length,
    check_type,
    check_type_and_length,
    color_str2rgb,
    color_val_matplotlib,
    img_from_canvas,
    tensor2ndarray,
    value2list,
)


def test_tensor2ndarray_detaches_and_passes_other_things_through() -> None:
    array = tensor2ndarray(torch.ones(2, requires_grad=True, dtype=torch.bfloat16))
    assert array.dtype == np.float32 and array.tolist() == [1, 1]
    given = np.zeros(2)
    assert tensor2ndarray(given) is given


def test_value2list_repeats_one_value_and_keeps_a_list() -> None:
    assert value2list("a", str, 3) == ["a", "a", "a"]
    assert value2list((1, 2, 3), tuple, 2) == [(1, 2, 3), (1, 2, 3)]
    assert value2list(["a"], str, 3) == ["a"]


def test_check_type_names_argument_expectation_and_value() -> None:
    check_type("n", 1, (str, int))
    with pytest.raises(ArgumentTypeError, match="`n` should be str or list, got int: '1'"):
        check_type("n", 1, (str, list))


def test_check_length_wants_one_value_for_each_item() -> None:
    check_length("n", [1, 2, 3, 4], 3)
    check_type_and_length("n", 1, int, 3)
    with pytest.raises(ArgumentError, match="each of the 3 items, got 2"):
        check_type_and_length("n", [1, 2], list, 3)


def test_colours_are_scaled_for_matplotlib() -> None:
    assert color_val_matplotlib([(255, 0, 51), "b"]) == [(1.0, 0.0, 0.2), "b"]
    with pytest.raises(ArgumentError, match=r"got \(1, 2, 300\)"):
        color_val_matplotlib((1, 2, 300))
    with pytest.raises(ArgumentTypeError, match="`color` should be str, got int"):
        color_val_matplotlib(3)  # type: ignore[arg-type]


def test_colour_names_have_rgb_numbers() -> None:
    assert color_str2rgb("#123456") == (18, 52, 86) and color_str2rgb("orange") == (255, 165, 0)
    assert color_str2rgb("g") == (0, 127, 0)


def test_canvas_is_read_as_rgb() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = FigureCanvasAgg(Figure(figsize=(0.3, 0.2), dpi=100, facecolor="r"))
    image = img_from_canvas(canvas)
    assert image.shape == (20, 30, 3) and (image == [255, 0, 0]).all()
