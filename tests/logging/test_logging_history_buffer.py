"""HistoryBuffer: windows, running statistics, state."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, DuplicateError, NotFoundError
from drivetrain.logging import HistoryBuffer

VALUES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 9)), min_size=1, max_size=60)


def filled(pairs: list[tuple[float, int]], **kwargs: int) -> HistoryBuffer:
    buffer = HistoryBuffer(**kwargs)
    for value, count in pairs:
        buffer.update(value, count)
    return buffer


@given(VALUES, st.integers(1, 70))
def test_a_window_is_the_sum_of_its_values_by_the_sum_of_its_counts(
    pairs: list[tuple[float, int]], window: int
) -> None:
    buffer = filled(pairs)
    newest = pairs[-window:]
    values = np.array([value for value, _ in newest])
    assert buffer.mean(window) == values.sum() / sum(count for _, count in newest)
    assert buffer.max(window) == values.max()
    assert buffer.min(window) == values.min()
    assert buffer.current() == pairs[-1][0]


@given(VALUES, st.integers(0, 60))
def test_epoch_and_global_windows_need_no_entries(pairs: list[tuple[float, int]], begin: int) -> None:
    buffer = HistoryBuffer(max_length=2)
    for index, (value, count) in enumerate(pairs):
        if index == begin:
            buffer.begin_epoch()
        buffer.update(value, count)
    epoch = pairs[begin:] if begin < len(pairs) else pairs
    for window, part in (("global", pairs), ("epoch", epoch)):
        expected = sum(value for value, _ in part) / sum(count for _, count in part)
        assert buffer.mean(window) == pytest.approx(expected, rel=1e-9, abs=1e-6)
        assert buffer.max(window) == max(value for value, _ in part)
        assert buffer.statistics("min", window_size=window) == min(value for value, _ in part)
    assert len(buffer.data[0]) == min(2, len(pairs))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 40))
def test_the_newest_max_length_entries_stay_in_order(bursts: list[int], max_length: int) -> None:
    buffer, expected = HistoryBuffer(max_length=max_length), []
    for burst in bursts:
        for _ in range(burst):
            expected.append(float(len(expected)))
            buffer.update(expected[-1], len(expected))
        assert buffer.data[0].tolist() == expected[-max_length:]
        assert buffer.data[1].tolist() == [value + 1 for value in expected][-max_length:]


def test_entries_counts_the_forgotten_ones_too() -> None:
    buffer = HistoryBuffer(max_length=3)
    for value in range(10):
        buffer.update(value)
    assert buffer.entries == 10 and len(buffer.data[0]) == 3


def test_memory_is_taken_as_it_is_needed_and_bounded() -> None:
    assert HistoryBuffer()._tail._values.size == 0
    buffer = filled([(float(index), 1) for index in range(5000)], max_length=100)
    assert buffer.current() == 4999
    assert buffer._tail._values.size <= 3 * 512 + 200


def test_integers_stay_integers_until_a_float_comes() -> None:
    buffer = HistoryBuffer([1, 2], [1, 1])
    assert buffer.current().dtype == np.int64
    buffer.update(0.5)
    assert buffer.data[0].tolist() == [1.0, 2.0, 0.5]


def test_nan_is_not_hidden() -> None:
    buffer = filled([(1.0, 1), (float("nan"), 1), (0.0, 1)])
    for window in (None, "global", 3):
        assert np.isnan(buffer.mean(window))
        assert np.isnan(buffer.max(window))
        assert np.isnan(buffer.min(window))
    assert buffer.mean(1) == 0.0


def test_an_empty_buffer_has_no_newest_value_and_no_mean() -> None:
    assert np.isnan(HistoryBuffer().mean())
    for method in ("current", "max", "min"):
        with pytest.raises(ArgumentError, match="empty"):
            HistoryBuffer().statistics(method)


def test_zero_counts_give_infinity_without_a_warning() -> None:
    assert HistoryBuffer([1.0, 2.0], [0, 0]).mean() == np.inf


@pytest.mark.parametrize("window", [-1, 2.0, "epochs", [1]])
def test_a_window_that_is_none_is_refused(window: object) -> None:
    with pytest.raises((ArgumentTypeError, TypeError)):
        HistoryBuffer([1.0], [1]).mean(window)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1", None, [1.0], np.ones(1)])
def test_update_takes_numbers_only(value: object) -> None:
    with pytest.raises(ArgumentTypeError, match="number"):
        HistoryBuffer().update(value)  # type: ignore[arg-type]


def test_history_and_counts_must_match() -> None:
    with pytest.raises(ArgumentError, match="2 values and 1 counts"):
        HistoryBuffer([1, 2], [1])


def test_a_history_longer_than_max_length_loses_its_oldest_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="max_length=2"):
        buffer = HistoryBuffer([1, 2, 3], [1, 1, 1], max_length=2)
    assert buffer.data[0].tolist() == [2, 3]


def test_a_registered_statistic_sees_the_entries_and_named_windows_as_numbers() -> None:
    try:

        @HistoryBuffer.register_statistics
        def spread(buffer: HistoryBuffer, window_size: int | None = None, scale: float = 1.0) -> float:
            values = buffer._log_history[-(window_size or 0) :]
            return float(values.max() - values.min()) * scale

        buffer = filled([(5.0, 1), (1.0, 1), (2.0, 1)])
        assert buffer.statistics("spread") == 4.0
        assert buffer.statistics("spread", 2, scale=2.0) == 2.0
        assert buffer.statistics("spread", window_size="global") == 4.0
        buffer.begin_epoch()
        buffer.update(7.0)
        buffer.update(8.0)
        assert buffer.statistics("spread", window_size="epoch") == 1.0
        assert "spread" in HistoryBuffer.statistics_names()
        with pytest.raises(DuplicateError, match="spread"):
            HistoryBuffer.register_statistics(spread)
    finally:
        HistoryBuffer._statistics_methods.pop("spread", None)


def test_an_unknown_statistic_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'mean'"):
        HistoryBuffer([1], [1]).statistics("maen")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_state_holds_entries_and_running_statistics(copied: object) -> None:
    buffer = filled([(float(index), 1 + index % 3) for index in range(50)], max_length=10)
    buffer.begin_epoch(3)
    buffer.update(7.0)
    twin = copied(buffer)  # type: ignore[operator]
    for each in (buffer, twin):
        each.update(1.0)
        each.begin_epoch(3)  # the epoch goes on
    for window in (None, 4, "epoch", "global"):
        assert twin.mean(window) == buffer.mean(window)
    assert twin.mean("epoch") == 4.0
    assert twin.data[0].tolist() == buffer.data[0].tolist()


def test_state_is_made_of_plain_numbers_and_arrays() -> None:
    state = filled([(1.0, 1)]).__getstate__()
    assert {type(value) for value in state.values()} == {int, np.ndarray}


def test_a_state_of_mmengine_is_read() -> None:
    buffer = HistoryBuffer.__new__(HistoryBuffer)
    buffer.__setstate__(
        {
            "max_length": 1000000,
            "_log_history": np.array([1.0, 3.0]),
            "_count_history": np.array([1, 1]),
            "statistics_methods": {"min": min},
        }
    )
    buffer.update(5.0)
    assert (buffer.mean(), buffer.mean("global"), buffer.mean(1)) == (3.0, 3.0, 5.0)


def test_an_epoch_with_another_key_starts_anew() -> None:
    buffer = HistoryBuffer()
    for key, value in ((0, 1.0), (0, 3.0), (1, 5.0)):
        buffer.begin_epoch(key)
        buffer.update(value)
    assert buffer.mean("epoch") == 5.0
    assert buffer.mean("global") == 3.0
