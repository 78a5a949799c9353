import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.runner import calc_dynamic_intervals
from drivetrain.runner.loops.intervals import interval_at


@given(
    st.integers(1, 50), st.lists(st.tuples(st.integers(1, 200), st.integers(1, 50)), max_size=5), st.integers(0, 300)
)
def test_the_interval_at_a_position_is_that_of_the_last_milestone_reached(start, pairs, position):
    pairs = sorted(dict(pairs).items())
    milestones, intervals = calc_dynamic_intervals(start, pairs)
    reached = [interval for milestone, interval in pairs if milestone <= position]
    assert interval_at(position, milestones, intervals) == (reached[-1] if reached else start)


@pytest.mark.parametrize("wrong", [[3], [(1, 2, 3)], ["ab"]])
def test_anything_but_pairs_is_refused(wrong):
    with pytest.raises(TypeError, match="pairs"):
        calc_dynamic_intervals(1, wrong)


def test_falling_milestones_and_intervals_of_zero_are_refused():
    with pytest.raises(ValueError, match="must rise"):
        calc_dynamic_intervals(1, [(5, 1), (3, 1)])
    with pytest.raises(ValueError, match="at least 1"):
        calc_dynamic_intervals(1, [(5, 0)])
