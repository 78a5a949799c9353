"""What operators and modules cost: by hand, by torch's own counter, and for numbers known from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from drivetrain.analysis import (
    ActivationAnalyzer,
    FlopAnalyzer,
    activation_count,
    conv_flop_count,
    elementwise_flop_counter,
    flop_count,
    get_shape,
)
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError


class Calls(nn.Module):
    """A model that calls a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def flops(function: Callable[..., Any], *inputs: Tensor) -> Counter[str]:
    return FlopAnalyzer(Calls(function), inputs).unsupported_ops_warnings(False).by_operator()


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (F.linear, [(3, 7, 4), (5, 4)], {"linear": 3 * 7 * 4 * 5}),
        (F.linear, [(4,), (5, 4)], {"linear": 20}),
        (torch.matmul, [(3, 4), (4, 5)], {"matmul": 60}),
        (torch.matmul, [(2, 1, 3, 4), (6, 4, 5)], {"matmul": 12 * 60}),
        (torch.matmul, [(3, 4), (4,)], {"matmul": 12}),
        (torch.matmul, [(4,), (4,)], {"matmul": 4}),
        (torch.mm, [(3, 4), (4, 5)], {"mm": 60}),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)], {"bmm": 120}),
        (torch.addmm, [(3, 5), (3, 4), (4, 5)], {"addmm": 60}),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], {"baddbmm": 120}),
        (torch.mv, [(3, 4), (4,)], {"mv": 12}),
        (torch.addmv, [(3,), (3, 4), (4,)], {"addmv": 12}),
        (lambda x, y: torch.einsum("nct,ncp->ntp", x, y), [(2, 3, 4), (2, 3, 5)], {"einsum": 120}),
        (lambda x, y, z: torch.einsum("ij,jk,kl->il", x, y, z), [(2, 3), (3, 4), (4, 5)], {"einsum": 24 + 40}),
        (F.conv1d, [(2, 4, 8), (6, 4, 3)], {"conv": 2 * 6 * 6 * 12}),
        (F.conv2d, [(4, 8, 8), (6, 4, 3, 3)], {"conv": 6 * 36 * 36}),
        (lambda x, w: F.conv2d(x, w, padding="same"), [(1, 4, 8, 8), (6, 4, 3, 3)], {"conv": 6 * 64 * 36}),
        (lambda x, w: F.conv2d(x, w, groups=4), [(1, 4, 8, 8), (4, 1, 3, 3)], {"conv": 36 * 36}),
        (F.conv3d, [(2, 4, 4, 4, 4), (6, 4, 3, 3, 3)], {"conv": 2 * 6 * 8 * 108}),
        (lambda x, w: F.conv_transpose2d(x, w, stride=2), [(2, 4, 4, 4), (4, 6, 3, 3)], {"conv": 2 * 16 * 216}),
        (lambda x, w: F.conv_transpose2d(x, w, groups=2), [(2, 4, 4, 4), (4, 3, 3, 3)], {"conv": 2 * 16 * 108}),
        (F.scaled_dot_product_attention, [(2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 5)], {
            "scaled_dot_product_attention": 6 * 7 * 9 * (4 + 5)}),
        (lambda x: F.layer_norm(x, (3,)), [(1, 4, 3, 3)], {"layer_norm": 36 * 4}),
        (lambda x, w: F.layer_norm(x, (3,), w), [(1, 4, 3, 3), (3,)], {"layer_norm": 36 * 5}),
        (lambda x: F.group_norm(x, 2), [(1, 4, 3, 3)], {"group_norm": 36 * 4}),
        (F.instance_norm, [(1, 4, 3, 3)], {"instance_norm": 36 * 4}),
        (lambda x: F.adaptive_avg_pool2d(x, 1), [(1, 4, 3, 3)], {"adaptive_avg_pool2d": 36}),
        (lambda x: F.interpolate(x, scale_factor=2), [(1, 4, 3, 3)], {"upsample_nearest2d": 144}),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), [(1, 4, 3, 3)], {"upsample_bilinear2d": 576}),
        (lambda x, g: F.grid_sample(x, g, align_corners=False), [(1, 4, 3, 3), (1, 5, 5, 2)], {"grid_sampler": 400}),
        (lambda x: x.relu().flatten().reshape(-1, 1).clone(), [(2, 3)], {}),
    ],
)  # fmt: skip
def test_operator_costs_one_flop_a_multiply_add(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], expected: dict[str, int]
) -> None:
    assert flops(function, *(rand(*shape) for shape in shapes)) == Counter(expected)


@pytest.mark.parametrize(
    ("layer", "per_element"),
    [
        (nn.BatchNorm2d(4).eval(), 2),
        (nn.BatchNorm2d(4, affine=False).eval(), 1),
        (nn.BatchNorm2d(4), 5),
        (nn.BatchNorm2d(4, affine=False), 4),
        (nn.RMSNorm(3), 4),
    ],
)
def test_normalisation_costs_more_where_it_computes_statistics(layer: nn.Module, per_element: int) -> None:
    assert FlopAnalyzer(layer, rand(2, 4, 3, 3)).total() == per_element * 72


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layer_costs_its_matrices_at_every_step(kind: Any, gates: int) -> None:
    layer = kind(5, 6, num_layers=2, bidirectional=True)
    per_step = 2 * gates * (5 * 6 + 6 * 6) + 2 * gates * (12 * 6 + 6 * 6)
    assert FlopAnalyzer(layer, rand(7, 3, 5)).total() == 7 * 3 * per_step


def test_transformer_layer_is_counted_where_torch_would_fuse_it() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    counts = FlopAnalyzer(layer, rand(1, 5, 8)).unsupported_ops_warnings(False)
    assert counts.by_operator()["scaled_dot_product_attention"] == 2 * 5 * 5 * 8
    assert counts.by_operator()["linear"] == 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16)
    assert torch.backends.mha.get_fastpath_enabled()


@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2),
    st.integers(3, 7),
)  # fmt: skip
def test_convolutions_and_products_are_half_of_what_torch_counts(
    batch: int, channels: int, filters: int, kernel: int, stride: int, padding: int, size: int
) -> None:
    model = nn.Sequential(
        nn.Conv2d(channels, filters, kernel, stride, padding), nn.ConvTranspose2d(filters, 2, kernel, stride),
        nn.Flatten(2), nn.LazyLinear(3),
    )  # fmt: skip
    images = rand(batch, channels, size, size)
    model(images)
    with FlopCounterMode(display=False) as torch_counts, torch.no_grad():
        model(images)
    assert FlopAnalyzer(model, images).total() == torch_counts.get_total_flops() // 2


@given(st.integers(1, 5), st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans())
def test_convolution_by_shapes_is_the_operators_count(
    channels: int, filters: int, kernel: list[int], transposed: bool
) -> None:
    image = rand(2, channels, *(6 for _ in kernel))
    weight = rand(*((channels, filters) if transposed else (filters, channels)), *kernel)
    name = f"conv{'_transpose' if transposed else ''}{len(kernel)}d"
    out = getattr(F, name)(image, weight)
    counted = flops(getattr(F, name), image, weight)["conv"]
    assert counted == conv_flop_count(image.shape, weight.shape, out.shape, transposed)


def test_resnet_18_has_the_published_numbers() -> None:
    models = pytest.importorskip("torchvision.models")
    model, image = models.resnet18().eval(), rand(1, 3, 224, 224)
    counts = FlopAnalyzer(model, image).unsupported_ops_warnings(False)
    assert counts.by_operator() == {
        "conv": 1813561344, "linear": 512000, "batch_norm": 4967424, "adaptive_avg_pool2d": 25088,
    }  # fmt: skip
    assert ActivationAnalyzer(model, image).total() == 2484712


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.b = nn.Linear(3, 2)
        self.again = self.b
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(x) + self.again(x) + F.linear(x, self.b.weight)


def test_modules_are_counted_with_their_parts_and_under_their_first_name() -> None:
    analysis = FlopAnalyzer(Shared(), rand(1, 3)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert analysis.by_module() == {"": 27, "a": 9, "a.0": 9, "a.1": 0, "b": 12, "unused": 0}
    assert analysis.total("again") == analysis.total("b") == 12
    assert analysis.canonical_module_name("again") == "b"
    assert analysis.by_module_and_operator()["a"] == {"linear": 9}
    assert analysis.uncalled_modules() == {"unused"}
    assert analysis.unsupported_ops() == {"aten::add": 2}


class Reaches(nn.Module):
    """Runs a part of another part: `outer` itself is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.ModuleDict({"inner": nn.Linear(2, 2)})

    def forward(self, x: Tensor) -> Tensor:
        return self.outer["inner"](x)


def test_ancestors_are_those_by_name_or_those_that_run() -> None:
    analysis = FlopAnalyzer(Reaches(), rand(1, 2))
    assert analysis.by_module()["outer"] == 4
    assert analysis.uncalled_modules() == set()
    assert analysis.ancestor_mode("caller").by_module()["outer"] == 0


def test_composite_operator_without_a_known_part_is_listed_by_its_own_name() -> None:
    analysis = FlopAnalyzer(Calls(lambda x: x.softmax(-1).sum()), rand(2, 3)).unsupported_ops_warnings(False)
    assert analysis.unsupported_ops() == {"aten::softmax": 1, "aten::sum": 1}
    assert analysis.total() == 0


def test_handles_replace_add_and_remove_counts() -> None:
    analysis = FlopAnalyzer(Calls(lambda x: x.softmax(-1) @ x), rand(3, 3)).unsupported_ops_warnings(False)
    assert analysis.total() == 27
    analysis.set_op_handle("aten::softmax", elementwise_flop_counter(5, 0))
    assert analysis.by_operator() == {"matmul": 27, "softmax": 45}
    analysis.set_op_handle({"aten::matmul": lambda inputs, outputs: Counter({"product": len(get_shape(inputs[0]))})})
    assert analysis.by_operator() == {"product": 2, "softmax": 45}
    assert analysis.set_op_handle("aten::softmax", None).by_operator() == {"product": 2}
    assert analysis.clear_op_handles().total() == 0


def test_handle_sees_every_argument_of_the_schema() -> None:
    seen: list[Any] = []
    analysis = FlopAnalyzer(Calls(lambda x: F.avg_pool2d(x, 2)), rand(1, 1, 4, 4))
    analysis.set_op_handle("aten::avg_pool2d", lambda inputs, outputs: seen.append((inputs[1:], outputs)) or 0)
    analysis.total()
    assert seen[0][0][0] == [2, 2] and seen[0][0][3:] == [False, True, None]
    assert get_shape(seen[0][1][0]) == [1, 1, 2, 2]


def test_formula_registered_with_torch_is_used_and_halved() -> None:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    @register_flop_formula(torch.ops.aten.cumsum)
    def cumsum_flops(shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return 2 * shape[0]

    try:
        assert flops(lambda x: x.cumsum(0), rand(7)) == {"cumsum": 7}
    finally:
        del flop_registry[torch.ops.aten.cumsum]


def test_copy_keeps_the_settings_and_not_the_result() -> None:
    analysis = FlopAnalyzer(nn.Linear(2, 3), rand(1, 2)).ancestor_mode("caller")
    analysis.set_op_handle("aten::linear", lambda inputs, outputs: 1)
    assert analysis.total() == 1
    twin = analysis.copy(new_model=nn.Linear(4, 5), new_inputs=rand(2, 4))
    assert type(twin) is FlopAnalyzer
    assert twin.total() == 1
    assert twin.clear_op_handles().set_op_handle("aten::linear", lambda inputs, outputs: 7).total() == 7
    assert analysis.total() == 1


def test_analysis_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    before, images = {name: value.clone() for name, value in model.state_dict().items()}, rand(2, 3, 5, 5)
    random_state = torch.get_rng_state()
    FlopAnalyzer(model, images).total()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    assert model.training and model(images).requires_grad


def test_what_a_model_caches_in_the_run_can_be_trained_with() -> None:
    class Caches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.cache: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = torch.ones(2) * 2
            return self.linear(x * self.cache)

    model = Caches()
    FlopAnalyzer(model, rand(1, 2)).unsupported_ops_warnings(False).total()
    model(rand(1, 2)).sum().backward()
    assert model.linear.weight.grad is not None


@pytest.fixture
def without_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delattr(torch._C, "_AutoDispatchBelowAutograd")
    yield


@pytest.mark.usefixtures("without_guard")
def test_products_are_counted_where_torch_shows_only_the_parts() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(2), nn.Linear(9, 2)).eval()
    counts = FlopAnalyzer(model, rand(1, 3, 5, 5)).unsupported_ops_warnings(False)
    assert counts.by_module()["0"] == 9 * 4 * 27
    assert counts.by_module()["3"] == 4 * 9 * 2


def test_activations_are_outputs_of_products_and_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5)).eval()
    assert ActivationAnalyzer(model, rand(2, 3, 5, 5)).by_operator() == {"conv": 72, "linear": 10}


def test_counts_in_billions_and_millions_come_with_what_was_left_out() -> None:
    function = Calls(lambda x: (x @ x).softmax(-1))
    counts, left_out = flop_count(function, (rand(10, 10),))
    assert counts == {"matmul": 1e-6} and counts["nothing"] == 0.0
    assert left_out == {"aten::softmax": 1}
    counts, left_out = flop_count(function, (rand(10, 10),), {"aten::softmax": lambda inputs, outputs: 1e9})
    assert counts == {"matmul": 1e-6, "softmax": 1.0} and not left_out
    assert activation_count(function, (rand(10, 10),))[0] == {"matmul": 1e-4}


def test_warnings_name_what_is_not_counted_and_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("drivetrain.analysis._analyzer._warn", said.append)
    FlopAnalyzer(Shared(), rand(1, 3)).total()
    ActivationAnalyzer(Shared(), rand(1, 3)).total()
    FlopAnalyzer(Shared(), rand(1, 3)).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    assert len(said) == 2 and "aten::add (2)" in said[0] and said[1].endswith(": unused")


def test_wrong_names_and_modes_are_refused_with_the_nearest() -> None:
    analysis = FlopAnalyzer(Shared(), rand(1, 3))
    with pytest.raises(NotFoundError, match="Did you mean 'unused'"):
        analysis.total("unuse")
    with pytest.raises(ArgumentError, match="'owner', 'caller'"):
        analysis.ancestor_mode("parent")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="'all'"):
        analysis.tracer_warnings("al")
    with pytest.raises(ArgumentTypeError, match="in turn"):
        analysis.set_op_handle("aten::softmax")
    assert analysis.tracer_warnings("none") is analysis
