from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain.logging import MessageHub
from drivetrain.optim import OptimWrapper

COUNTS = st.integers(min_value=1, max_value=6)


def wrapped(counts: int, seed: int = 0, max_counts: int | None = None) -> tuple[nn.Linear, OptimWrapper]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2, dtype=torch.float64)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), accumulative_counts=counts)
    if max_counts is not None:
        wrapper.initialize_count_status(model, 0, max_counts)
    return model, wrapper


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@given(counts=COUNTS, losses=st.integers(min_value=1, max_value=20), size=st.integers(min_value=1, max_value=4))
def test_windows_equal_big_batches_the_last_partial_one_included(counts: int, losses: int, size: int) -> None:
    model, wrapper = wrapped(counts, max_counts=losses)
    big_model, big = wrapped(1)
    data = torch.randn(losses, size, 3, dtype=torch.float64)
    for batch in data:
        wrapper.update_params(model(batch).pow(2).mean())
    for start in range(0, losses, counts):
        big.update_params(big_model(data[start : start + counts].flatten(0, 1)).pow(2).mean())
    torch.testing.assert_close(weights(model), weights(big_model), rtol=1e-12, atol=1e-13)


@given(counts=COUNTS, losses=st.integers(min_value=1, max_value=30))
def test_every_window_has_weights_that_sum_to_one_and_ends_in_an_update(counts: int, losses: int) -> None:
    model, wrapper = wrapped(counts, max_counts=losses)
    share, shares = 0.0, []
    for _ in range(losses):
        share += float(wrapper.scale_loss(torch.ones((), dtype=torch.float64)))
        syncs = wrapper.should_sync()
        wrapper.backward(model(torch.ones(1, 3, dtype=torch.float64)).sum())
        assert wrapper.should_update() is syncs
        if syncs:
            shares.append(share)
            share = 0.0
    assert share == 0.0
    assert len(shares) == -(-losses // counts)
    assert shares == pytest.approx([1.0] * len(shares))


@given(counts=COUNTS, losses=st.integers(min_value=2, max_value=20), data=st.data())
def test_a_run_that_goes_on_inside_a_window_with_its_gradients_is_bitwise_the_same(
    counts: int, losses: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(min_value=1, max_value=losses - 1))
    batches = torch.randn(losses, 2, 3, dtype=torch.float64)
    model, wrapper = wrapped(counts, max_counts=losses)
    other, resumed = wrapped(counts)
    for index, batch in enumerate(batches):
        if index == cut:
            resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
            other.load_state_dict(model.state_dict())
            for ours, theirs in zip(other.parameters(), model.parameters(), strict=True):
                ours.grad = None if theirs.grad is None else theirs.grad.clone()
            resumed.initialize_count_status(other, cut, losses)
        wrapper.update_params(model(batch).pow(2).mean())
        if index >= cut:
            resumed.update_params(other(batch).pow(2).mean())
    assert torch.equal(weights(model), weights(other))
    assert resumed.inner_count == wrapper.inner_count == losses


def test_past_the_announced_end_windows_have_their_full_length() -> None:
    model, wrapper = wrapped(3, max_counts=2)
    scaled = []
    for _ in range(6):
        scaled.append(float(1 / wrapper.scale_loss(torch.ones(()))))
        wrapper.update_params(model(torch.ones(1, 3, dtype=torch.float64)).sum())
    assert scaled == pytest.approx([2, 2, 3, 3, 3, 3])


def test_without_a_known_end_every_window_has_its_full_length() -> None:
    _, wrapper = wrapped(3)
    assert float(wrapper.scale_loss(torch.ones(()))) == pytest.approx(1 / 3)
    wrapper.initialize_count_status(nn.Identity(), 0, -1)
    assert float(wrapper.scale_loss(torch.ones(()))) == pytest.approx(1 / 3)


def test_a_run_says_how_many_updates_its_iterations_make(logged: list[tuple[str, str]]) -> None:
    model, wrapper = wrapped(3)
    wrapper.initialize_count_status(model, 0, 10)
    wrapper.initialize_count_status(model, 0, -1)
    assert [line for _, line in logged] == [
        "accumulation: an update every 3 losses: 10 iterations make 4 updates.",
        "accumulation: an update every 3 losses.",
    ]


def test_updates_are_logged_with_accumulation_only() -> None:
    for counts, logs in ((1, False), (2, True)):
        model, wrapper = wrapped(counts)
        wrapper.message_hub = MessageHub(f"updates-{counts}")
        for _ in range(4):
            wrapper.update_params(model(torch.ones(1, 3, dtype=torch.float64)).sum())
        assert ("train/updates" in wrapper.message_hub.log_scalars) is logs
        assert not logs or wrapper.message_hub.get_scalar("train/updates").data[0].tolist() == [1, 2]


def test_batch_norm_under_accumulation_is_warned_of(logged: list[tuple[str, str]]) -> None:
    _, wrapper = wrapped(2)
    wrapper.initialize_count_status(nn.BatchNorm1d(2), 0, 10)
    assert [level for level, line in logged if "batch norm" in line] == ["WARNING"]


def test_a_resume_that_lost_the_gradients_of_its_window_is_warned_of(logged: list[tuple[str, str]]) -> None:
    model, wrapper = wrapped(3)
    wrapper.initialize_count_status(model, 3, 10)
    assert [line for level, line in logged if level == "WARNING"] == []
    wrapper.initialize_count_status(model, 4, 10)
    assert [level for level, line in logged if "1 of its 3 losses were seen before" in line] == ["WARNING"]
