"""Comparisons, and scripts in the process of the test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingFileError
from drivetrain.testing import (
    assert_allclose,
    assert_attrs_equal,
    assert_dict_contains_subset,
    assert_dict_has_keys,
    assert_is_norm_layer,
    assert_keys_equal,
    assert_params_all_zeros,
    check_python_script,
)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([1.0, float("nan")], [1.0, float("nan")]),
        (np.array([1.0]), [1.0]),
        (torch.tensor([1]), torch.tensor([1.0])),
        (torch.tensor([1.0]), torch.tensor([1.0 + 5e-5])),
        (torch.tensor([1.0], dtype=torch.float64), torch.tensor([1.0 + 5e-5])),
        (2, 2),
    ],
)
def test_close_values_pass_whatever_their_types(actual: Any, expected: Any) -> None:
    assert_allclose(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "options"),
    [
        (torch.tensor([1.0]), torch.tensor([1.1]), {}),
        (torch.tensor([1.0]), 1.0, {}),
        (torch.tensor([1.0], dtype=torch.float64), [1.0 + 5e-5], {"rtol": 0, "atol": 1e-6}),
        ([float("nan")], [float("nan")], {"equal_nan": False}),
        ([1], [2], {}),
    ],
)
def test_values_apart_raise(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        assert_allclose(actual, expected, **options)


def test_message_is_ones_own_and_tolerances_come_together() -> None:
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_allclose([1.0], [2.0], msg="mine")
    with pytest.raises(ArgumentError, match="both"):
        assert_allclose([1.0], [1.0], rtol=1.0)


def test_subset_and_attributes_compare_arrays_as_a_whole() -> None:
    held = {"a": 1, "b": np.array([1, 2]), "c": torch.tensor([1.0])}
    assert assert_dict_contains_subset(held, {"a": 1, "b": np.array([1, 2]), "c": torch.tensor([1.0])})
    for other in ({"a": 2}, {"z": 1}, {"b": np.array([1, 3])}, {"b": [1, 2, 3]}, {"c": np.array([1.0])}):
        assert not assert_dict_contains_subset(held, other)
    thing = type("Thing", (), held)()
    assert assert_attrs_equal(thing, {"a": 1, "c": torch.tensor([1.0])})
    assert not assert_attrs_equal(thing, {"missing": 1})


def test_keys_are_compared_as_sets() -> None:
    assert assert_dict_has_keys({"a": 1, "b": 2}, ["a"]) and not assert_dict_has_keys({"a": 1}, ["a", "b"])
    assert assert_keys_equal(["a", "b"], ["b", "a"]) and not assert_keys_equal(["a"], ["a", "b"])


def test_norm_layers_and_zero_parameters_are_told() -> None:
    assert assert_is_norm_layer(nn.LayerNorm(2)) and not assert_is_norm_layer(nn.Linear(2, 2))
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)
    assert not assert_params_all_zeros(layer)
    nn.init.zeros_(layer.bias)
    assert assert_params_all_zeros(layer) and assert_params_all_zeros(nn.ReLU())


def test_script_runs_with_its_arguments_and_its_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "my script.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:])\nif 'bad' in sys.argv: raise ValueError('bad')\n")
    before = sys.argv
    check_python_script(f"python '{script}' --flag 'two words'")
    assert capsys.readouterr().out == "__main__ ['--flag', 'two words']\n"
    with pytest.raises(ValueError, match="bad"):
        check_python_script(f"'{script}' bad")
    assert sys.argv is before
    with pytest.raises(MissingFileError):
        check_python_script("none.py")
    with pytest.raises(ArgumentTypeError):
        check_python_script(["a.py"])  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "fails"), [("0", False), ("None", False), ("3", True)])
def test_script_may_exit_unless_with_an_error(tmp_path: Path, code: str, fails: bool) -> None:
    (tmp_path / "s.py").write_text(f"import sys\nsys.exit({code})\n")
    if not fails:
        return check_python_script(str(tmp_path / "s.py"))
    with pytest.raises(SystemExit):
        check_python_script(str(tmp_path / "s.py"))
    return None
