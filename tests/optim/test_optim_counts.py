"""Windows weighed by counts equal the big batch whose loss is normalised over all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError
from drivetrain.model import BaseModel
from drivetrain.optim import AmpOptimWrapper, OptimWrapper

TOKENS = st.lists(st.integers(0, 7), min_size=1, max_size=12)


class Tagger(BaseModel):
    """A loss for each token, normalised by the tokens that count; `num_tokens` says how many these were."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def forward(self, inputs: Tensor, mask: Tensor, mode: str = "tensor") -> Any:
        errors = self.net(inputs).squeeze(-1).pow(2) * mask
        return {"loss": errors.sum() / mask.sum().clamp(min=1), "num_tokens": mask.sum()}


def tokens(count: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(8, dtype=torch.float64)
    mask[:count] = 1
    return {"inputs": torch.randn(8, 3, dtype=torch.float64, generator=generator), "mask": mask}


def wrapped(counts: int, **settings: Any) -> tuple[Tagger, OptimWrapper]:
    model = Tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, OptimWrapper(optimizer, accumulative_counts=counts, **settings)


def train(model: Tagger, batch: dict[str, Tensor], wrapper: OptimWrapper) -> None:
    """A step as the runner takes it under `normalise_by`."""
    with wrapper.optim_context(model):
        losses = model(**batch, mode="loss")
    loss, log_vars = model.parse_losses(losses)
    wrapper.take_count(log_vars)
    wrapper.update_params(loss)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@given(counts=st.integers(1, 5), lengths=TOKENS)
def test_windows_equal_the_big_batch_normalised_over_all_of_its_tokens(counts: int, lengths: list[int]) -> None:
    model, wrapper = wrapped(counts, normalise_by="num_tokens")
    wrapper.initialize_count_status(model, 0, len(lengths))
    big_model, big = wrapped(1)
    batches = [tokens(length, seed) for seed, length in enumerate(lengths)]
    for batch in batches:
        train(model, batch, wrapper)
    for start in range(0, len(batches), counts):
        window = batches[start : start + counts]
        train(big_model, {name: torch.cat([batch[name] for batch in window]) for name in ("inputs", "mask")}, big)
    torch.testing.assert_close(weights(model), weights(big_model), rtol=1e-12, atol=1e-13)
    assert wrapper.updates == big.updates


@given(counts=st.integers(2, 5), lengths=TOKENS, clip=st.sampled_from([None, {"max_norm": 0.1}]))
def test_counts_handed_over_by_a_step_of_the_users_do_the_same_as_numbers_or_tensors(
    counts: int, lengths: list[int], clip: Any
) -> None:
    named_model, named = wrapped(counts, normalise_by="num_tokens", clip_grad=clip)
    named.initialize_count_status(named_model, 0, len(lengths))
    for kind in (int, float, torch.tensor):
        model, wrapper = wrapped(counts, normalise_by="num_tokens", clip_grad=clip)
        wrapper._max_counts = len(lengths)
        for seed, length in enumerate(lengths):
            batch = tokens(length, seed)
            wrapper.update_params(model(**batch)["loss"], count=kind(length))
            if kind is int:
                train(named_model, batch, named)
        torch.testing.assert_close(weights(model), weights(named_model), rtol=1e-12, atol=1e-13)


def test_equal_counts_weigh_as_no_counts_do() -> None:
    (model, wrapper), (plain_model, plain) = wrapped(3, normalise_by="num_tokens"), wrapped(3)
    wrapper.initialize_count_status(model, 0, 7)
    plain.initialize_count_status(plain_model, 0, 7)
    for seed in range(7):
        train(model, tokens(4, seed), wrapper)
        train(plain_model, tokens(4, seed), plain)
    torch.testing.assert_close(weights(model), weights(plain_model), rtol=1e-12, atol=1e-13)


def test_a_function_of_the_log_variables_may_make_the_count() -> None:
    (named_model, named), (model, wrapper) = (
        wrapped(2, normalise_by="num_tokens"),
        wrapped(2, normalise_by=lambda log_vars: log_vars["num_tokens"] * 1),
    )
    for each, its in ((named_model, named), (model, wrapper)):
        its.initialize_count_status(each, 0, 4)
        for seed in range(4):
            train(each, tokens(seed + 1, seed), its)
    assert torch.equal(weights(model), weights(named_model))


def test_counts_survive_the_loss_scale_of_float16() -> None:
    torch.manual_seed(0)
    net, plain_net = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    plain_net.load_state_dict(net.state_dict())
    inputs = torch.randn(2, 4, 3)
    plain = OptimWrapper(torch.optim.SGD(plain_net.parameters(), lr=0.1))
    plain.update_params((plain_net(inputs[0]).mean() * 3 + plain_net(inputs[1]).mean() * 5) / 8)
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        dtype="float16",
        loss_scale={"init_scale": 64.0},
        accumulative_counts=2,
        normalise_by="n",
    )
    for part, count in zip(inputs, (3, 5), strict=True):
        with wrapper.optim_context(net):
            loss = net(part).float().mean()
        wrapper.update_params(loss, count=torch.tensor(count))
    torch.testing.assert_close(net.weight, plain_net.weight, rtol=2e-3, atol=2e-3)
    assert wrapper.updates == 1


def test_no_count_is_read_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    model, wrapper = wrapped(2, normalise_by="num_tokens", clip_grad={"max_norm": 1.0})
    wrapper.initialize_count_status(model, 0, 5)
    batches = [tokens(3, seed) for seed in range(5)]

    def forbidden(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a device value was read on the host")

    for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, method, forbidden)
    for batch in batches:
        train(model, batch, wrapper)


def test_gradients_are_exchanged_once_a_window_under_counts_too() -> None:
    class Replica(nn.Linear):
        entered = 0

        def no_sync(self) -> Any:
            type(self).entered += 1
            return torch.enable_grad()

    model = Replica(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3, normalise_by="n")
    wrapper.initialize_count_status(model, 0, 7)
    for _ in range(7):
        with wrapper.optim_context(model):
            wrapper.update_params(model(torch.ones(1, 1)).sum(), count=2)
    assert Replica.entered == 4


def test_windows_of_one_loss_need_no_count() -> None:
    model, wrapper = wrapped(1, normalise_by="num_boxes")
    wrapper.initialize_count_status(model, 0, 4)
    train(model, tokens(2, 0), wrapper)
    assert wrapper.normalise_by is None and wrapper.updates == 1


def test_a_count_that_does_not_come_is_asked_for_by_name() -> None:
    model, wrapper = wrapped(2, normalise_by="num_token")
    wrapper.initialize_count_status(model, 0, 4)
    with pytest.raises(ArgumentError, match=r"'num_token': forward.*Did you mean 'num_tokens'.*mask\.sum"):
        train(model, tokens(2, 0), wrapper)
    with pytest.raises(NotReadyError, match=r"without a count.*count=mask\.sum\(\)"):
        wrapper.update_params(model(**tokens(2, 0))["loss"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, ArgumentTypeError, "or be a function of the log variables, got 3"),
        ("loss_count", ArgumentError, "has 'loss' in its name is minimised"),
    ],
)
def test_what_cannot_count_is_refused_at_once(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrapped(1, normalise_by=given)
