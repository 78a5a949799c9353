"""Data preprocessors against a NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from drivetrain.errors import ArgumentError, ArgumentTypeError, BatchError
from drivetrain.model import BaseDataPreprocessor, ImgDataPreprocessor, merge_dict, stack_batch
from drivetrain.structures import BaseDataElement

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
dtypes = st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.int32])


def image(size: tuple[int, int], dtype: torch.dtype = torch.uint8, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (channels, *size)).to(dtype)


def reference(images: list[Tensor], divisor: int, pad: float, swap: bool, normalise: bool = True) -> np.ndarray:
    done = []
    for img in images:
        array = img.numpy()[::-1] if swap else img.numpy()
        array = array.astype(np.float32)
        if normalise:
            array = (array - np.float32(MEAN)[:, None, None]) / np.float32(STD)[:, None, None]
        done.append(array)
    height, width = (-(-max(a.shape[axis] for a in done) // divisor) * divisor for axis in (1, 2))
    batch = np.full((len(done), done[0].shape[0], height, width), pad, np.float32)
    for row, array in zip(batch, done, strict=True):
        row[:, : array.shape[1], : array.shape[2]] = array
    return batch


@given(st.lists(sizes, min_size=1, max_size=4), dtypes, st.integers(1, 5), st.booleans(), st.booleans())
def test_a_list_of_images_becomes_one_normalised_padded_batch(
    shapes: list[tuple[int, int]], dtype: torch.dtype, divisor: int, swap: bool, normalise: bool
) -> None:
    images = [image(size, dtype) for size in shapes]
    numbers: dict[str, Any] = {"mean": MEAN, "std": STD} if normalise else {}
    pre = ImgDataPreprocessor(**numbers, pad_size_divisor=divisor, pad_value=-3.5, bgr_to_rgb=swap)
    batch = pre({"inputs": images})["inputs"]
    assert batch.dtype is torch.float32
    assert np.array_equal(batch.numpy(), reference(images, divisor, -3.5, swap, normalise))


@given(st.integers(1, 3), sizes, dtypes, st.integers(1, 5), st.booleans())
def test_a_stacked_batch_gives_the_same_as_its_list(
    count: int, size: tuple[int, int], dtype: torch.dtype, divisor: int, swap: bool
) -> None:
    images = [image(size, dtype) for _ in range(count)]
    pre = ImgDataPreprocessor(MEAN, STD, divisor, 0.25, rgb_to_bgr=swap)
    stacked = pre({"inputs": torch.stack(images)})["inputs"]
    assert torch.equal(stacked, pre({"inputs": tuple(images)})["inputs"])
    assert np.array_equal(stacked.numpy(), reference(images, divisor, 0.25, swap))


def test_the_callers_batch_is_not_touched() -> None:
    for inputs in (torch.ones(1, 3, 2, 2), [torch.ones(3, 2, 2)]):
        data = {"inputs": inputs}
        out = ImgDataPreprocessor(MEAN, STD)(data)
        assert out is not data and data["inputs"] is inputs
        assert torch.as_tensor(inputs[0]).eq(1).all()


def test_other_keys_pass_and_missing_data_samples_are_none() -> None:
    out = ImgDataPreprocessor()({"inputs": [image((2, 2))], "extra": 5})
    assert out["extra"] == 5 and out["data_samples"] is None
    samples = [BaseDataElement(box=torch.ones(2))]
    assert ImgDataPreprocessor()({"inputs": [image((2, 2))], "data_samples": samples})["data_samples"][0].box.sum() == 2


def test_one_mean_serves_any_number_of_channels_and_grey_images_without_one() -> None:
    pre = ImgDataPreprocessor([2], [4])
    assert pre({"inputs": [image((2, 2), channels=5)] * 2})["inputs"].shape == (2, 5, 2, 2)
    assert pre({"inputs": [torch.full((3, 3), 6.0)] * 2})["inputs"].unique().tolist() == [1.0]
    assert pre({"inputs": [torch.full((3, 3), 6.0)] * 2})["inputs"].shape == (2, 1, 3, 3)


def test_grey_images_spread_to_three_means() -> None:
    grey = torch.full((2, 1, 1, 1), 5)
    out = ImgDataPreprocessor([1, 2, 3], [1])({"inputs": grey})["inputs"]
    assert out[0].flatten().tolist() == [4.0, 3.0, 2.0]
    assert ImgDataPreprocessor([1], [1, 2, 4])({"inputs": grey})["inputs"][0].flatten().tolist() == [4.0, 2.0, 1.0]


def test_mean_and_std_are_float32_buffers_outside_of_the_state_dict() -> None:
    pre = ImgDataPreprocessor([1, 2, 3], [4, 5, 6])
    assert pre.state_dict() == {}
    assert pre.mean.shape == (3, 1, 1) and pre.std.dtype is torch.float32


@pytest.mark.parametrize(
    ("kwargs", "error", "says"),
    [
        ({"mean": MEAN}, ArgumentError, "come together"),
        ({"std": STD}, ArgumentError, "come together"),
        ({"mean": [1, 2], "std": [1, 2]}, ArgumentError, "1 or 3 values, one a channel, got 2"),
        ({"mean": [1], "std": 2}, ArgumentTypeError, r"Write \[2\]"),
        ({"mean": [1], "std": [0]}, ArgumentError, "std must not be 0"),
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, ArgumentError, "only one"),
        ({"pad_size_divisor": 0}, ArgumentError, "at least 1, got 0"),
    ],
)
def test_wrong_constructor_arguments_fail_early(kwargs: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ImgDataPreprocessor(**kwargs)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({"inputs": image((2, 2))}, r"\(N, C, H, W\), got \(3, 2, 2\)"),
        ({"inputs": [image((2, 2), channels=2)]}, "needs three channels"),
        ({"inputs": []}, "non-empty list"),
        ({"inputs": [np.zeros((3, 2, 2))]}, "torch.from_numpy"),
        ({"imgs": [image((2, 2))]}, r"needs the key 'inputs', and the batch has \['imgs'\]"),
        ({"input": [image((2, 2))]}, "Did you mean 'inputs'"),
        ([image((2, 2))], "takes a dict with the key 'inputs', got list"),
    ],
)
def test_batches_that_are_no_images_say_what_is_expected(batch: Any, says: str) -> None:
    with pytest.raises(BatchError, match=says):
        ImgDataPreprocessor(MEAN, STD, bgr_to_rgb=True)(batch)


def test_the_base_moves_nested_data_and_copies_nothing_that_is_there() -> None:
    tensor, pre = torch.ones(1), BaseDataPreprocessor()
    out = pre({"a": [tensor, "s", None, (3, tensor)]})
    assert out["a"][0] is tensor and out["a"][1:3] == ["s", None] and out["a"][3][1] is tensor
    moved = pre.to("meta")({"a": [tensor, BaseDataElement(b=tensor)]})
    assert moved["a"][0].device.type == moved["a"][1].b.device.type == "meta"


def test_the_classes_that_define_forward_opt_in_to_copying_ahead() -> None:
    assert BaseDataPreprocessor.__dict__["moves_ahead"] is ImgDataPreprocessor.__dict__["moves_ahead"] is True


def test_a_buffer_follows_to_the_device() -> None:
    pre = ImgDataPreprocessor(MEAN, STD).to("meta")
    assert pre.mean.device.type == pre.device.type == "meta"


@given(st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=2), min_size=1, max_size=4), st.integers(1, 4))
def test_stack_batch_pads_every_dimension_but_the_first(shapes: list[list[int]], divisor: int) -> None:
    tensors = [torch.rand(2, *shape) for shape in shapes]
    batch = stack_batch(tensors, divisor, 7.0)
    assert all(size % divisor == 0 for size in batch.shape[2:])
    for row, tensor in zip(batch, tensors, strict=True):
        inside = tuple(slice(size) for size in tensor.shape)
        assert torch.equal(row[inside], tensor)
        outside = row.clone()
        outside[inside] = 7.0
        assert outside.eq(7.0).all()
    assert batch.shape[2] - max(s[0] for s in shapes) < divisor


def test_stack_batch_keeps_gradients_and_promotes_dtypes() -> None:
    leaf = torch.ones(1, 2, requires_grad=True)
    stack_batch([leaf, torch.ones(1, 3)]).sum().backward()
    assert leaf.grad is not None and leaf.grad.eq(1).all()
    assert stack_batch([torch.ones(1, 2, dtype=torch.uint8), torch.ones(1, 3)]).dtype is torch.float32
    assert stack_batch([torch.ones(2), torch.ones(2)], 32).shape == (2, 2)


@pytest.mark.parametrize(
    ("tensors", "divisor", "error", "says"),
    [
        ([], 1, ArgumentError, "empty list"),
        (torch.ones(2, 2), 1, ArgumentTypeError, "got Tensor"),
        ([1], 1, ArgumentTypeError, "list of tensors"),
        ([torch.ones(1, 2), torch.ones(1)], 1, ArgumentError, "same number of dimensions"),
        ([torch.ones(1, 2), torch.ones(2, 2)], 1, ArgumentError, "first dimension"),
        ([torch.ones(1, 2)], 0, ArgumentError, "at least 1"),
    ],
)
def test_stack_batch_refuses_what_cannot_be_stacked(
    tensors: Any, divisor: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        stack_batch(tensors, divisor)


def test_merge_dict_lets_later_ones_win_and_is_a_leaf_for_fx() -> None:
    assert merge_dict({"a": 1}, {"a": 2, "b": 3}) == {"a": 2, "b": 3} and merge_dict() == {}
    with pytest.raises(ArgumentTypeError, match="merges dicts"):
        merge_dict({}, 3)  # type: ignore[arg-type]
