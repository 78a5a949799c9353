import pytest

from drivetrain.runner import Priority, get_priority


@pytest.mark.parametrize("name", Priority.__members__)
def test_names_in_any_case_give_their_number(name):
    assert get_priority(name) == get_priority(name.lower()) == get_priority(Priority[name]) == Priority[name].value


@pytest.mark.parametrize("number", [0, 1, 50, 100])
def test_numbers_from_0_to_100_stand_for_themselves(number):
    assert get_priority(number) == number


@pytest.mark.parametrize("number", [-1, 101])
def test_a_number_out_of_range_is_refused(number):
    with pytest.raises(ValueError, match="between 0"):
        get_priority(number)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="VERY_HIGH"):
        get_priority("VERYHIGH")


def test_another_type_is_refused():
    with pytest.raises(TypeError, match="float"):
        get_priority(1.5)
