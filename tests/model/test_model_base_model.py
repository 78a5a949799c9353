"""BaseModel: unpacking of batches, losses, devices, and errors that name the culprit."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.errors import ArgumentTypeError, BatchDtypeError, BatchError, LossError
from drivetrain.model import BaseDataPreprocessor, BaseModel

Pair = namedtuple("Pair", "x y")


class Model(BaseModel):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = nn.Linear(2, 1)
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, x: Tensor, y: Tensor | None = None, mode: str = "tensor") -> Any:
        self.calls.append((x, y, mode))
        out = self.layer(x)
        return {"loss": (out - y).square().mean(), "acc": out.detach().mean()} if mode == "loss" else out


class Wrapper:
    """The least that `train_step` asks of an optimizer wrapper."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        self.losses: list[Tensor] = []

    def optim_context(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def update_params(self, loss: Tensor) -> None:
        self.losses.append(loss)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


X, Y = torch.ones(3, 2), torch.zeros(3, 1)


@pytest.mark.parametrize("batch", [[X, Y], (X, Y), Pair(X, Y), {"x": X, "y": Y}, OrderedDict(y=Y, x=X)])
def test_a_batch_is_unpacked_by_its_kind(batch: Any) -> None:
    model = Model()
    model.val_step(batch)
    model.test_step(batch)
    assert [(x is X, y is Y, mode) for x, y, mode in model.calls] == [(True, True, "predict")] * 2


def test_train_step_equals_the_step_written_by_hand() -> None:
    torch.manual_seed(3)
    model, twin = Model(), nn.Linear(2, 1)
    twin.load_state_dict(model.layer.state_dict())
    wrapper, optimizer = Wrapper(model), torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(5):
        logs = model.train_step({"x": X, "y": Y}, wrapper)
        loss = (twin(X) - Y).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(logs["loss"], loss) and list(logs) == ["loss", "acc"]
    assert torch.equal(model.layer.weight, twin.weight)


def test_steps_tell_the_preprocessor_whether_they_train() -> None:
    seen = []

    class Pre(BaseDataPreprocessor):
        def forward(self, data: Any, training: bool = False) -> Any:
            seen.append(training)
            return data

    model = Model(data_preprocessor=Pre())
    model.train_step((X, Y), Wrapper(model))
    model.val_step((X, Y))
    model.test_step((X, Y))
    assert seen == [True, False, False]


@pytest.mark.parametrize("batch", [X, 3, "text", None])
def test_a_batch_of_another_kind_says_how_to_adapt(batch: Any) -> None:
    with pytest.raises(BatchError, match=r"BaseDataPreprocessor returned .*subclass BaseDataPreprocessor") as caught:
        Model().val_step(batch)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({"xs": X, "y": Y}, r"'xs' is unknown. Did you mean 'x'\? Rename"),
        ({"y": Y}, "missing a required argument: 'x'"),
        ([X, Y, Y, Y], "4 items"),
        ({"x": X, "mode": 1}, "a key 'mode'"),
    ],
)
def test_a_batch_that_does_not_fit_forward_names_both_sides(batch: Any, says: str) -> None:
    with pytest.raises(BatchError, match=says) as caught:
        Model().val_step(batch)
    assert type(caught.value.__cause__) is TypeError


def test_a_forward_without_mode_is_told_to_add_it() -> None:
    class NoMode(BaseModel):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return x

    with pytest.raises(BatchError, match="forward needs a parameter `mode`"):
        NoMode().val_step([X])


@pytest.mark.parametrize("make", [dict, list])
def test_a_type_error_from_inside_forward_keeps_its_face(make: type) -> None:
    class Broken(BaseModel):
        def forward(self, x: Tensor, mode: str = "tensor") -> Tensor:  # type: ignore[override]
            return x + "a"  # type: ignore[operator]

    with pytest.raises(TypeError) as caught:
        Broken().val_step({"x": X} if make is dict else [X])
    assert not isinstance(caught.value, BatchError)


def test_bytes_that_nobody_normalised_are_named() -> None:
    class Net(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)

        def forward(self, inputs: Tensor, mode: str = "tensor") -> Tensor:  # type: ignore[override]
            return self.conv(inputs)

    with pytest.raises(BatchDtypeError, match="ImgDataPreprocessor") as caught:
        Net().val_step({"inputs": torch.zeros(1, 3, 2, 2, dtype=torch.uint8)})
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(RuntimeError) as other:
        Net().val_step({"inputs": torch.zeros(1, 4, 2, 2)})
    assert type(other.value) is RuntimeError


tensors = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=5).map(torch.tensor)
scalars = st.floats(-10, 10, width=32).map(torch.tensor)
losses = st.dictionaries(
    st.sampled_from(["loss", "loss_a", "b_loss", "losses.c", "acc", "top1"]),
    st.one_of(tensors, scalars, st.lists(tensors, min_size=1, max_size=3)),
    min_size=1,
).filter(lambda d: any("loss" in key for key in d))


@given(losses)
def test_parse_losses_sums_the_means(values: dict[str, Any]) -> None:
    total, logs = Model().parse_losses(values)
    means = {k: sum(t.mean() for t in v) if type(v) is list else v.mean() for k, v in values.items()}
    expected = sum(mean for key, mean in means.items() if "loss" in key)
    assert torch.equal(total, expected)
    assert list(logs) == ["loss", *(key for key in values if key != "loss")]
    assert logs["loss"] is total
    assert all(torch.equal(logs[key], mean) for key, mean in means.items() if key != "loss")


def test_a_single_scalar_loss_costs_no_kernel() -> None:
    class Refuse(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise RuntimeError(f"{func} was called")

    model, loss = Model(), (torch.ones(2, requires_grad=True) * 2).sum()
    with Refuse():
        total, logs = model.parse_losses({"loss": loss})
    assert total is loss and logs["loss"] is loss


def test_parse_losses_never_reads_a_value_on_the_host() -> None:
    class Blind(Tensor):
        def item(self) -> Any:
            raise RuntimeError("host read")

        __float__ = __bool__ = tolist = item

    values = {name: torch.rand(2).as_subclass(Blind) for name in ("loss_a", "loss_b", "acc")}
    total, _ = Model().parse_losses({**values, "loss_c": list(values.values())})
    assert total.dim() == 0


def test_gradients_reach_every_loss() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    total, _ = Model().parse_losses({"loss_a": a, "loss_b": [b, b]})
    total.backward()
    torch.testing.assert_close(a.grad, torch.full((2,), 0.5))
    torch.testing.assert_close(b.grad, torch.full((3,), 2 / 3))


def test_an_empty_list_of_losses_adds_nothing() -> None:
    a = torch.ones((), requires_grad=True)
    total, logs = Model().parse_losses({"loss_aux": [], "loss": a})
    assert total == 1.0 and logs["loss_aux"] == 0.0 and total.requires_grad


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "must return a dict of losses, got None"),
        (torch.ones(2), r"got a tensor of shape \(2,\)"),
        ({}, "nothing to minimise"),
        ({"acc": torch.ones(())}, r"none of the keys \['acc'\]"),
        ({"Loss": torch.ones(())}, "Did you mean 'loss'"),
        ({"loss": 1.0}, r"'loss' .* without .item\(\)"),
        ({"loss": torch.ones(()), "acc": 0.5}, r"'acc' .* torch.tensor\(0.5\)"),
        ({"loss": (torch.ones(()),)}, r"Return list\(loss\)"),
        ({"loss": [1.0]}, "a list of float"),
        ({"loss": None}, "of type NoneType"),
        ({"loss": torch.ones(2, dtype=torch.long)}, r"'loss' has the dtype torch.int64"),
    ],
)
def test_wrong_losses_name_key_type_and_fix(returned: Any, says: str) -> None:
    with pytest.raises(LossError, match=says) as caught:
        Model().parse_losses(returned)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("given", [[1], "BaseDataPreprocessor", lambda x: x])
def test_a_preprocessor_is_a_module_or_a_config(given: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="or a config dict"):
        Model(data_preprocessor=given)


def test_the_preprocessor_is_built_from_a_config() -> None:
    model = Model(data_preprocessor={"type": "BaseDataPreprocessor", "non_blocking": True})
    assert type(model.data_preprocessor) is BaseDataPreprocessor and model.data_preprocessor._non_blocking


@pytest.mark.parametrize("move", [lambda m: m.to("meta"), lambda m: nn.Sequential(m).to(device="meta")])
def test_preprocessors_follow_the_model_wherever_it_is_moved_from(move: Any) -> None:
    class Outer(Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Model()

    model = Outer()
    move(model)
    assert model.data_preprocessor.device.type == model.inner.data_preprocessor.device.type == "meta"


def test_a_change_of_dtype_leaves_the_device() -> None:
    model = Model().to(torch.float64)
    assert model.data_preprocessor.device == torch.device("cpu") and model.layer.weight.dtype is torch.float64
    assert model.cpu() is model


def test_set_device_moves_nothing() -> None:
    model = Model()
    model._set_device(torch.device("meta"))
    assert model.data_preprocessor.device.type == "meta" and model.layer.weight.device.type == "cpu"


@pytest.mark.parametrize("kind", ["npu", "mlu", "musa"])
def test_vendor_devices_go_through_to(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from drivetrain.model.base_model import _vendor

    monkeypatch.setattr(_vendor.torch, "device", lambda *args: args)
    asked: list[Any] = []
    monkeypatch.setattr(BaseModel, "to", lambda self, *args: asked.append(args))
    getattr(Model(), kind)(3)
    assert asked == [((kind, 3),)]


def test_a_model_without_forward_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseModel()  # type: ignore[abstract]
