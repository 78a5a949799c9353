"""Every way that images take to a batch gives the values of NumPy, and no way does more than it has to."""

from __future__ import annotations

import copy
import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.errors import ArgumentError, BatchDtypeError, BatchError
from drivetrain.logging import MMLogger
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor
from drivetrain.model.base_model import _first_look, _image_device, _image_host, _large_pages
from drivetrain.model.base_model._image_recipe import Recipe, compose
from drivetrain.runner._compile import compiled_calls
from drivetrain.runner._compile_plan import CompilePlan
from drivetrain.runner._static_batch import PLAIN
from drivetrain.structures import BaseDataElement
from drivetrain.tensors import PackedList

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NUMBERS = [([127.5], [58.395]), (MEAN, STD), ([128, 128, 128], [255.0]), ([103.53], STD), (None, None)]
DTYPES = [torch.uint8, torch.float32, torch.float64, torch.int32, torch.int64, torch.float16]
HALVES = [torch.bfloat16, torch.float16]
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
pieces = st.sampled_from([1, 100, _image_host.PIECE])


def cut(piece: int) -> Any:
    """Let images go to the batch in pieces of so many values; as it is set, small ones go another way."""
    return mock.patch.object(_image_host, "PIECE", piece)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Tensor], dict[str, Any]]:
    """Images, and the arguments of a preprocessor that takes them."""
    mean, std = draw(st.sampled_from(NUMBERS))
    swaps = draw(st.booleans())
    channels = 3 if swaps else draw(st.sampled_from([1, 3]))
    shapes = draw(st.lists(sizes, min_size=1, max_size=4))
    shapes = shapes[:1] * len(shapes) if draw(st.booleans()) else shapes
    kinds = draw(st.lists(st.sampled_from(DTYPES), min_size=len(shapes), max_size=len(shapes)))
    kinds = kinds[:1] * len(kinds) if draw(st.booleans()) else kinds
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    images = [
        torch.randint(0, 256, (channels, *shape), generator=seed).to(kind)
        for shape, kind in zip(shapes, kinds, strict=True)
    ]
    if draw(st.booleans()):
        images = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    return images, {
        "mean": mean,
        "std": std,
        "pad_size_divisor": draw(st.integers(1, 5)),
        "pad_value": draw(st.sampled_from([0, -2.5, 114.0])),
        "bgr_to_rgb": swaps,
    }


def reference(images: list[Tensor], given: dict[str, Any], dtype: Any = np.float32) -> np.ndarray:
    """What comes out, computed in `dtype`."""
    done = []
    for image in images:
        array = (image.numpy()[::-1] if given["bgr_to_rgb"] else image.numpy()).astype(np.float32).astype(dtype)
        if given["mean"] is not None:
            mean, std = (np.float32(given[name])[:, None, None].astype(dtype) for name in ("mean", "std"))
            array = (array - mean) / std
        done.append(array)
    divisor = given["pad_size_divisor"]
    height, width = (-(-max(a.shape[axis] for a in done) // divisor) * divisor for axis in (1, 2))
    batch = np.full((len(done), done[0].shape[0], height, width), given["pad_value"], dtype)
    for row, array in zip(batch, done, strict=True):
        row[:, : array.shape[1], : array.shape[2]] = array
    return batch


def steps_apart(one: Tensor, other: Tensor) -> int:
    """How many numbers of their dtype lie between two tensors, at most."""
    places = [t.contiguous().view(torch.int16).to(torch.int32) for t in (one, other)]
    ordered = [torch.where(place < 0, -(place & 0x7FFF), place) for place in places]
    return int((ordered[0] - ordered[1]).abs().max())


def as_given(images: list[Tensor]) -> list[Any]:
    """All that a loader may make of these images."""
    forms: list[Any] = [images, tuple(images)]
    if len({image.dtype for image in images}) == 1:
        forms.append(PackedList.pack(images))
        if len({image.shape for image in images}) == 1:
            forms.append(torch.stack(images))
    return forms


def recipe_of(preprocessor: ImgDataPreprocessor) -> Recipe:
    return preprocessor._recipe()


@given(cases(), st.booleans(), pieces)
def test_float32_is_bit_equal_to_numpy_whatever_form_the_images_have(
    case: Any, channels_last: bool, piece: int
) -> None:
    images, given = case
    expected = torch.from_numpy(reference(images, given))
    preprocessor = ImgDataPreprocessor(**given, channels_last=channels_last)
    for inputs in as_given(images):
        before = copy.deepcopy(inputs)
        with cut(piece):
            batch = preprocessor({"inputs": inputs})["inputs"]
        assert batch.dtype is torch.float32 and torch.equal(batch, expected)
        assert not channels_last or batch.is_contiguous(memory_format=torch.channels_last)
        assert all(map(torch.equal, inputs, before))


@given(cases(), st.sampled_from(HALVES), st.booleans(), pieces)
def test_halves_are_within_one_step_of_the_rounded_exact_result(
    case: Any, dtype: Any, channels_last: bool, piece: int
) -> None:
    images, given = case
    exact = torch.from_numpy(reference(images, given, np.float64)).to(dtype)
    preprocessor = ImgDataPreprocessor(**given, output_dtype=dtype, channels_last=channels_last)
    for inputs in as_given(images):
        with cut(piece):
            batch = preprocessor({"inputs": inputs})["inputs"]
        assert batch.dtype is dtype and steps_apart(batch, exact) <= 1


@given(cases(), st.sampled_from([torch.float32, *HALVES]), st.booleans())
def test_a_device_and_a_compiler_get_the_same_as_the_cpu(case: Any, dtype: Any, channels_last: bool) -> None:
    images, given = case
    recipe = recipe_of(ImgDataPreprocessor(**given, output_dtype=dtype, channels_last=channels_last))
    for inputs in as_given(images):
        batch = ImgDataPreprocessor(**given, output_dtype=dtype, channels_last=channels_last)({"inputs": inputs})
        composed = compose(inputs, recipe)
        assert torch.equal(composed, batch["inputs"])
        if len({image.dtype for image in inputs}) == 1:
            canvas = _image_device.assemble(inputs, recipe, composed.shape[1])
            assert torch.equal(canvas, composed) and canvas.dtype is dtype


def test_large_pieces_are_cut_and_give_the_same() -> None:
    images = torch.randint(0, 256, (5, 3, 300, 310), dtype=torch.uint8)
    given = {"mean": MEAN, "std": STD, "pad_size_divisor": 32, "pad_value": 1.5, "bgr_to_rgb": True}
    expected = torch.from_numpy(reference(list(images), given))
    for inputs in (images, list(images), [image[:, : 300 - i] for i, image in enumerate(images)]):
        batch = ImgDataPreprocessor(**given)({"inputs": inputs})["inputs"]
        wanted = expected if inputs[-1].shape[1] == 300 else torch.from_numpy(reference(inputs, given))
        assert torch.equal(batch, wanted)


def test_a_batch_that_came_channels_last_stays_so() -> None:
    images = torch.zeros(2, 4, 5, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for piece in (1, _image_host.PIECE):
        with cut(piece):
            out = ImgDataPreprocessor(MEAN, STD)({"inputs": images})["inputs"]
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_what_a_run_compiles_of_it_takes_every_form_in_one_graph() -> None:
    images = [torch.randint(0, 256, (3, 5, 6 + i), dtype=torch.uint8) for i in range(2)]
    given = {"mean": MEAN, "std": STD, "pad_size_divisor": 4, "bgr_to_rgb": True, "output_dtype": "bf16"}
    plan = CompilePlan({"backend": "eager", "fullgraph": True})
    for inputs in (images, PackedList.pack(images), torch.stack(images[:1])):
        net = Net(nn.Identity())
        net.data_preprocessor = ImgDataPreprocessor(**given, channels_last=True)
        with compiled_calls(net, plan):
            batch = net.data_preprocessor({"inputs": inputs, "names": ["a"]}, True)
        expected = ImgDataPreprocessor(**given)({"inputs": inputs})["inputs"]
        assert torch.equal(batch["inputs"], expected) and batch["names"] == ["a"]
        assert batch["inputs"].is_contiguous(memory_format=torch.channels_last)
    torch._dynamo.reset()


def test_grey_and_colour_may_be_mixed_and_of_four_channels_a_swap_takes_three() -> None:
    grey, colour = torch.full((1, 2, 2), 5, dtype=torch.uint8), torch.full((3, 2, 1), 5, dtype=torch.uint8)
    out = ImgDataPreprocessor([1, 2, 3], [1, 1, 1])({"inputs": [grey, colour]})["inputs"]
    assert out[:, :, 0, 0].tolist() == [[4, 3, 2]] * 2
    recipe = recipe_of(ImgDataPreprocessor(rgb_to_bgr=True))
    four, three = torch.arange(4).view(4, 1, 1).to(torch.uint8), torch.arange(3).view(3, 1, 1).to(torch.uint8)
    for batch in (
        ImgDataPreprocessor(rgb_to_bgr=True)({"inputs": [four, three]})["inputs"],
        _image_device.assemble([four, three], recipe, 3),
    ):
        assert batch.flatten(1).tolist() == [[2, 1, 0]] * 2


def test_gradients_flow_to_images_that_want_them() -> None:
    image = torch.ones(1, 3, 2, 2, requires_grad=True)
    for inputs in (image, [image[0], image[0, :, :1]]):
        image.grad = None
        ImgDataPreprocessor([0, 0, 0], [2, 2, 2])({"inputs": inputs})["inputs"].sum().backward()
        assert image.grad is not None and image.grad[0, 0, 1, 1] == 0.5


def test_a_model_cast_to_double_gets_double_images_as_before() -> None:
    preprocessor = ImgDataPreprocessor(MEAN, STD).double()
    image = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    out = preprocessor({"inputs": [image]})["inputs"]
    assert out.dtype is torch.float64 and torch.equal(out[0], (image.float() - preprocessor.mean) / preprocessor.std)
    assert (
        ImgDataPreprocessor(MEAN, STD, output_dtype="bf16").double()({"inputs": [image]})["inputs"].dtype.itemsize == 2
    )


def test_images_that_nothing_is_done_to_are_not_copied() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert ImgDataPreprocessor()({"inputs": images})["inputs"] is images


@pytest.mark.parametrize("name", ["bf16", "bfloat16", "torch.bfloat16", torch.bfloat16])
def test_the_output_dtype_has_several_names(name: Any) -> None:
    assert ImgDataPreprocessor(output_dtype=name).output_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("wrong", "hint"), [("bf61", "'bf16'"), (torch.uint8, "torch.uint8"), ("flaot16", "'float16'")]
)
def test_a_wrong_output_dtype_is_refused_with_the_nearest_name(wrong: Any, hint: str) -> None:
    with pytest.raises(ArgumentError, match="output_dtype must be None") as caught:
        ImgDataPreprocessor(output_dtype=wrong)
    assert hint in str(caught.value)


class Counted(TorchDispatchMode):
    """Names of what is computed, views and allocations left out, and the bytes that go from the host to a device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "_to_copy" and args[0].device.type != out.device.type:
            self.bytes += args[0].numel() * args[0].element_size()
        elif not func.is_view and not name.startswith(("empty", "_to_copy", "lift", "detach")):
            self.names.append(name)
        return out


def counted(inputs: Any, **given: Any) -> Counted:
    preprocessor = ImgDataPreprocessor(MEAN, STD, **given).to("meta")
    with Counted() as count:
        preprocessor({"inputs": inputs})
    return count


def test_on_a_device_there_is_one_normalisation_for_all_and_of_each_image_a_copy() -> None:
    unequal = [torch.zeros(3, 8, 9 + i, dtype=torch.uint8) for i in range(6)]
    assert sorted(set(counted(unequal).names)) == ["copy_", "div_", "fill_", "sub"]
    names = counted(unequal).names
    assert names.count("copy_") == 6 and names.count("sub") == names.count("div_") == 1
    assert counted(torch.zeros(6, 3, 8, 8, dtype=torch.uint8)).names == ["sub", "div_"]
    assert counted(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), output_dtype="bf16").names == ["sub", "div"]
    assert counted(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), pad_size_divisor=5).names == [
        "sub",
        "div_",
        *["fill_"] * 2,
    ]


def test_equal_images_of_a_packed_list_are_normalised_where_they_lie() -> None:
    packed = PackedList.pack([torch.zeros(3, 5, 5, dtype=torch.uint8) for _ in range(4)])
    assert counted(packed).names == ["sub", "div_"]
    batch = _image_device.view_as_batch(packed)
    assert torch.is_tensor(batch) and batch.data_ptr() == packed.buffer.data_ptr() and batch.stride(0) == 80


def test_equal_images_that_lie_anywhere_are_no_batch() -> None:
    base = torch.arange(4 * 12, dtype=torch.uint8).view(4, 3, 2, 2)
    for images in ([base[0], base[2], base[3]], [base[1], base[0]], [base[0], base[0]], [base[0], base[1].clone()]):
        assert _image_device.view_as_batch(images) is images
    assert torch.equal(torch.as_tensor(_image_device.view_as_batch([base[1], base[3]])), base[[1, 3]])


def test_a_quarter_of_the_bytes_crosses() -> None:
    images = [torch.zeros(3, 60, 80 + i, dtype=torch.uint8) for i in range(4)]
    for inputs in (images, PackedList.pack(images), torch.zeros(4, 3, 60, 80, dtype=torch.uint8)):
        of_floats = counted([image.float() for image in inputs]).bytes
        assert 0 < counted(inputs).bytes <= 0.26 * of_floats


def test_large_batches_lie_in_memory_that_goes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    mapped = _large_pages._mapped

    def noted(size: int, advice: int) -> Any:
        memory = mapped(size, advice)
        made.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(_large_pages, "_LARGE", 1000)
    monkeypatch.setattr(_large_pages, "_mapped", noted)
    monkeypatch.setattr(_large_pages, "_ON_REQUEST", _large_pages._ON_REQUEST or 0)
    images = torch.randint(0, 256, (2, 3, 30, 31), dtype=torch.uint8)
    for channels_last in (False, True):
        with cut(100):
            out = ImgDataPreprocessor(MEAN, STD, channels_last=channels_last)({"inputs": images})["inputs"]
        assert torch.equal(out, (images.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
        view = out[0, 0]
        del out
        gc.collect()
        assert made[-1]() is not None and view.isfinite().all()
        del view
        gc.collect()
        assert made[-1]() is None
    assert len(made) == 2


def test_a_system_without_large_pages_gives_memory_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_large_pages, "_LARGE", 1)
    for advice in (None, 10**6):  # such advice is refused by every kernel
        monkeypatch.setattr(_large_pages, "_ON_REQUEST", advice)
        assert _large_pages.empty((2, 3), torch.float32, torch.contiguous_format).fill_(1).sum() == 6


@pytest.fixture
def log(tmp_path: Path) -> Path:
    MMLogger.get_instance("img-preprocessor", log_file=str(tmp_path / "log"))
    return tmp_path / "log"


def fallbacks(log: Path) -> int:
    return log.read_text().count("normalises with torch's kernels")


def test_why_the_kernel_is_not_used_is_said_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("no compiler here\nat all")

    kernel, recipe = _image_device._Kernel(), recipe_of(ImgDataPreprocessor())
    kernel._launch = broken
    for _ in range(2):
        assert not kernel.writes(torch.zeros(1, 3, 2, 2, dtype=torch.bool), recipe, torch.empty(1, 3, 2, 2))
    assert fallbacks(log) == 1 and "does not read torch.bool" in log.read_text()
    for _ in range(2):
        assert not kernel.writes(torch.zeros(1, 3, 2, 2), recipe, torch.empty(1, 3, 2, 2))
    assert fallbacks(log) == 2 and "RuntimeError: no compiler here." in log.read_text()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the look at the first batch had to say. (The log itself leaves out what it has said before.)"""
    messages: list[str] = []
    monkeypatch.setattr(_first_look, "print_log", lambda message, *_: messages.append(message))
    return messages


def warnings_of(said: list[str], *batches: Any, **given: Any) -> int:
    preprocessor = ImgDataPreprocessor(**{"mean": MEAN, "std": STD, **given})
    said.clear()
    for batch in batches:
        preprocessor(batch)
    return len(said)


def test_images_that_were_normalised_or_scaled_before_warn_once(said: list[str]) -> None:
    normal, scaled = torch.randn(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    for images in (normal, list(normal), PackedList.pack(list(normal)), normal.double()):
        assert warnings_of(said, {"inputs": images}, {"inputs": images}) == 1
        assert "been normalised before" in said[0] and "lie between -" in said[0]
    assert warnings_of(said, {"inputs": scaled}) == 1 and "been scaled before" in said[0]
    assert warnings_of(said, {"inputs": scaled * 255 - 124}) == 1


def test_images_that_fit_do_not_warn_and_only_the_first_batch_is_looked_at(said: list[str]) -> None:
    normal, fine = {"inputs": torch.randn(2, 3, 40, 40)}, {"inputs": torch.rand(2, 3, 40, 40) * 255}
    assert warnings_of(said, fine, normal) == 0
    overshot = fine["inputs"].clone()
    overshot[0, 0, 0] = -7.0
    for images in (overshot, torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4), normal["inputs"].to(torch.uint8)):
        assert warnings_of(said, {"inputs": images}) == 0
    assert warnings_of(said, normal, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]) == 0
    assert warnings_of(said, normal, mean=None, std=None) == 0


def test_of_a_batch_on_a_device_nothing_is_read(said: list[str]) -> None:
    preprocessor = ImgDataPreprocessor(MEAN, STD).to("meta")
    preprocessor({"inputs": torch.randn(2, 3, 4, 4, device="meta")})
    preprocessor({"inputs": torch.randn(2, 3, 4, 4)})
    assert not said


def test_after_the_first_batch_no_plain_attribute_has_changed() -> None:
    # What steps in graphs take for granted; a change would have them recorded anew.
    preprocessor = ImgDataPreprocessor(MEAN, STD)
    before = {key: value for key, value in vars(preprocessor).items() if type(value) in PLAIN}
    preprocessor({"inputs": torch.randn(2, 3, 4, 4)})
    assert {key: value for key, value in vars(preprocessor).items() if type(value) in PLAIN} == before


class Net(BaseModel):
    """Gives bytes to a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Any:  # type: ignore[override]
        return self.layer(inputs)


LAYERS = {
    "conv": (nn.Conv2d(3, 4, 1), (2, 3, 4, 4)),
    "conv without bias": (nn.Conv2d(3, 4, 1, bias=False), (2, 3, 4, 4)),
    "transposed conv": (nn.ConvTranspose2d(3, 4, 1), (2, 3, 4, 4)),
    "linear": (nn.Linear(4, 2), (2, 4)),
    "linear without bias": (nn.Linear(4, 2, bias=False), (2, 4)),
    "batch norm": (nn.BatchNorm2d(3), (2, 3, 4, 4)),
    "layer norm": (nn.LayerNorm(4), (2, 4)),
    "group norm": (nn.GroupNorm(1, 3), (2, 3, 4, 4)),
    "pooling": (nn.AdaptiveAvgPool2d(1), (2, 3, 4, 4)),
    "activation": (nn.GELU(), (2, 4)),
    "recurrent": (nn.LSTM(4, 4), (2, 2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_that_meets_bytes_says_what_is_missing(name: str) -> None:
    layer, shape = LAYERS[name]
    with pytest.raises(BatchDtypeError, match="ImgDataPreprocessor"):
        Net(layer).val_step({"inputs": torch.zeros(*shape, dtype=torch.uint8)})


@pytest.mark.parametrize("name", ["conv", "linear"])
def test_a_compiled_layer_that_meets_bytes_says_so_too(name: str) -> None:
    layer, shape = LAYERS[name]
    net = Net(torch.compile(copy.deepcopy(layer), backend="eager"))  # type: ignore[arg-type]
    with pytest.raises(BatchDtypeError, match="ImgDataPreprocessor"):
        net.val_step({"inputs": torch.zeros(*shape, dtype=torch.uint8)})


def test_bytes_as_indices_keep_torchs_own_words() -> None:
    with pytest.raises(RuntimeError, match="indices") as caught:
        Net(nn.Embedding(4, 2)).val_step({"inputs": torch.zeros(2, 4, dtype=torch.uint8)})
    assert not issubclass(caught.type, BatchError)


class Adapted(ImgDataPreprocessor):
    """As subclasses are written: another format in, and something added after."""

    def cast_data(self, data: Any) -> Any:
        return super().cast_data({"inputs": data["img"], "data_samples": data.get("label")})

    def forward(self, data: Any, training: bool = False) -> dict[str, Any]:
        out = super().forward(data, training)
        out["shape"] = tuple(out["inputs"].shape[-2:])
        return out


def test_subclasses_that_change_cast_data_and_call_super_work() -> None:
    out = Adapted(MEAN, STD, 8)({"img": [torch.zeros(3, 5, 9, dtype=torch.uint8)], "label": [torch.ones(1)]}, True)
    assert out["shape"] == (8, 16) and out["data_samples"][0] == 1 and "img" not in out


@dataclasses.dataclass
class Pair:
    """A batch of one's own."""

    image: Tensor
    name: str


def test_a_quantity_of_everything_is_moved_and_what_is_no_tensor_stays() -> None:
    from collections import OrderedDict, defaultdict, namedtuple

    Point = namedtuple("Point", "x y")
    tensor, marker = torch.ones(2), object()
    batch = {
        "named": Point(tensor, 3),
        "data": Pair(tensor, "a"),
        "deep": [(tensor, {"k": [tensor]})],
        "ordered": OrderedDict(a=tensor),
        "default": defaultdict(list, a=[tensor]),
        "element": BaseDataElement(metainfo={"scale": 2.0}, box=tensor),
        "plain": ["s", 1, 2.5, True, None, b"b", marker],
        "packed": PackedList.pack([tensor, tensor]),
    }
    out = BaseDataPreprocessor().to("meta")(batch)
    assert type(out["named"]) is Point and out["named"].x.is_meta and out["named"].y == 3
    assert type(out["data"]) is Pair and out["data"].image.is_meta and out["data"].name == "a"
    assert out["deep"][0][0].is_meta and out["deep"][0][1]["k"][0].is_meta
    assert type(out["ordered"]) is OrderedDict and out["default"]["b"] == [] and out["default"]["a"][0].is_meta
    assert out["element"].box.is_meta and out["element"].scale == 2.0
    assert out["plain"] == batch["plain"] and out["plain"][-1] is marker
    assert type(out["packed"]) is PackedList and out["packed"][1].is_meta
    assert batch["data"].image is tensor and batch["named"].x is tensor


def test_what_is_there_already_is_not_copied_in_any_nest() -> None:
    tensor = torch.ones(2)
    packed = PackedList.pack([tensor])
    out = BaseDataPreprocessor()({"a": (tensor,), "b": Pair(tensor, ""), "c": packed})
    assert out["a"][0] is tensor and out["b"].image is tensor and out["c"] is packed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_every_accelerator_is_a_device() -> None:
    device = torch.accelerator.current_accelerator()
    preprocessor = ImgDataPreprocessor(MEAN, STD, 4).to(device)
    images = [torch.randint(0, 256, (3, 5, 6 + i), dtype=torch.uint8) for i in range(3)]
    on_host = ImgDataPreprocessor(MEAN, STD, 4)({"inputs": images})["inputs"]
    for inputs in (images, PackedList.pack(images)):
        assert torch.equal(preprocessor({"inputs": inputs})["inputs"].cpu(), on_host)
