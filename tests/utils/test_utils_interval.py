import math
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.utils import Interval, Ticker, parse_duration

parts = st.fractions(min_value=Fraction(1, 100), max_value=3, max_denominator=100)
lengths = st.integers(1, 60)


def steps_at(interval, length, last):
    ticker = Ticker(interval, length)
    return [step for step in range(1, last + 1) if ticker.due(step)]


@given(every=parts, length=lengths, last=st.integers(1, 50))
def test_parts_of_an_epoch_come_at_the_rounded_multiples_and_never_drift(every, length, last):
    wanted = {math.floor(k * every * length + Fraction(1, 2)) for k in range(1, 101 * last)}
    assert steps_at(Interval(every, "ep"), length, last) == sorted(step for step in wanted if 1 <= step <= last)


@given(parts_of_one=st.integers(1, 20), length=lengths, epochs=st.integers(1, 4))
def test_the_last_part_of_each_epoch_ends_with_it(parts_of_one, length, epochs):
    steps = steps_at(Interval(Fraction(1, parts_of_one), "ep"), length, epochs * length)
    assert {length * epoch for epoch in range(1, epochs + 1)} <= set(steps)
    assert len(steps) == epochs * min(parts_of_one, length)


@given(every=parts, length=lengths, cut=st.integers(0, 100), last=st.integers(100, 200))
def test_steps_and_epochs_need_no_state(every, length, cut, last):
    interval = Interval(every, "ep")
    resumed = Ticker(interval, length)
    rest = [step for step in range(cut + 1, last + 1) if resumed.due(step)]
    assert rest == [step for step in steps_at(interval, length, last) if step > cut]


@given(every=st.integers(1, 40), length=lengths)
def test_iterations_and_whole_epochs_are_the_numbers_of_the_contract(every, length):
    steps = range(1, 300)
    assert steps_at(Interval.parse("interval", f"{every}it"), length, 299) == [s for s in steps if s % every == 0]
    assert steps_at(Interval.parse("interval", f"{every}ep"), length, 299) == [
        s for s in steps if s % (every * length) == 0
    ]
    assert Interval.parse("interval", f"{every}it").iterations == every
    assert Interval.parse("interval", f"{every}ep").epochs == every


@given(st.sampled_from(["it", "ep", "s"]), st.integers(1, 10**6))
def test_its_text_reads_back_as_itself(unit, every):
    interval = Interval(Fraction(every), unit)
    assert Interval.parse("interval", str(interval)) == interval


@given(
    seconds=st.integers(1, 50),
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    cut=st.integers(0, 60),
)
def test_time_passes_alike_with_a_resume_in_between(seconds, steps, cut):
    now = [1000.0]
    interval = Interval(Fraction(seconds), "s")
    whole = Ticker(interval, clock=lambda: now[0])
    part = Ticker(interval, clock=lambda: now[0])
    whole.start()
    part.start()
    for number, took in enumerate(steps):
        now[0] += took
        if number == cut:
            state = part.state_dict()
            part = Ticker(interval, clock=lambda: now[0] + 12345.0)
            part.load_state_dict(state)
            part.start()
        assert whole.due(number + 1) == part.due(number + 1)


def test_a_time_comes_at_the_first_step_after_it_and_counts_anew_from_there():
    now = [0.0]
    ticker = Ticker(Interval.parse("interval", "10min"), clock=lambda: now[0])
    ticker.start()
    seen = []
    for minute in (4, 9, 13, 22, 23, 60):
        now[0] = 60.0 * minute
        seen.append(ticker.due(1))
    assert seen == [False, False, True, False, True, True]


def test_what_was_due_and_not_done_is_due_again():
    now = [0.0]
    ticker = Ticker(Interval.parse("interval", "10s"), clock=lambda: now[0])
    ticker.start()
    now[0] = 11.0
    assert ticker.due(1)
    ticker.undo()
    assert ticker.state_dict() == {"elapsed": 11.0}
    assert ticker.due(2)


@pytest.mark.parametrize(
    ("text", "every", "unit"),
    [
        ("500it", 500, "it"),
        ("1ep", 1, "ep"),
        ("0.25ep", Fraction(1, 4), "ep"),
        ("0.1ep", Fraction(1, 10), "ep"),
        (" 10 min ", 600, "s"),
        ("1h30min", 5400, "s"),
        ("1.5h", 5400, "s"),
        ("2d", 172800, "s"),
        ("90s", 90, "s"),
    ],
)
def test_a_text_is_read(text, every, unit):
    assert Interval.parse("interval", text) == Interval(Fraction(every), unit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10mins", "Did you mean '10min'?"),
        ("5 epochs", "Did you mean '5ep'?"),
        ("300iters", "Did you mean '300it'?"),
        ("2H", "Did you mean '2h'?"),
        ("often", "write '500it'"),
        ("", "write '500it'"),
        ("-3it", "write '500it'"),
        ("1ep2h", "write '500it'"),
        ("0.5it", "iterations are whole"),
        ("0ep", "above zero"),
        ("0min", "above zero"),
        ("30min1h", "greatest first"),
        ("1h1h", "each unit comes once"),
    ],
)
def test_a_wrong_text_is_told_with_the_nearest_right_one(text, said):
    with pytest.raises(ArgumentError, match=r"^interval='") as caught:
        Interval.parse("interval", text)
    assert said in str(caught.value)


def test_a_number_in_quotes_is_of_a_wrong_type():
    with pytest.raises(ArgumentTypeError, match=r"Did you mean 10\?"):
        Interval.parse("interval", "10")


def test_epochs_need_a_length():
    with pytest.raises(ArgumentError, match=r"0\.5ep needs to know how long an epoch is"):
        Ticker(Interval.parse("interval", "0.5ep"))


@pytest.mark.parametrize(
    ("value", "seconds"), [("11h50min", 42600), (90, 90), (0.5, 0.5), (timedelta(minutes=2), 120), ("1d", 86400)]
)
def test_a_duration_is_text_a_number_or_a_timedelta(value, seconds):
    assert parse_duration("max_time", value) == seconds


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "3ep", "soon", timedelta(0)])
def test_a_wrong_duration_is_refused(value):
    with pytest.raises(ArgumentError, match="max_time"):
        parse_duration("max_time", value)


@pytest.mark.parametrize("value", [True, None, [1]])
def test_a_duration_of_another_kind_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="max_time takes"):
        parse_duration("max_time", value)
