"""Numbers, tables and structure of a model in one dict."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drivetrain.analysis import (
    FlopAnalyzer,
    _format_size,
    complexity_stats_str,
    complexity_stats_table,
    get_model_complexity_info,
    parameter_count,
    parameter_count_table,
)
from drivetrain.errors import ArgumentError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.stem = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 4))))
        self.head = nn.Linear(4, 200)
        self.tied = self.head
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.stem(x * self.scale))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivetrain.analysis._analyzer._warn", lambda message: None)


def test_info_has_numbers_and_their_texts() -> None:
    info = get_model_complexity_info(Net(), (3,))
    assert {key: info[key] for key in list(info)[:6]} == {
        "flops": 9 + 12 + 800, "flops_str": "0.821K", "activations": 3 + 4 + 200, "activations_str": "0.207K",
        "params": 3 + 12 + 16 + 1000 + 6, "params_str": "1.037K",
    }  # fmt: skip
    assert list(info)[6:] == ["out_table", "out_arch"]


def test_table_shows_three_levels_and_only_the_part_of_a_module_that_has_one() -> None:
    rows = [line.split("|")[1:-1] for line in get_model_complexity_info(Net(), (3,))["out_table"].splitlines()[2:]]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 4]
    assert cells[1:4] == [
        ["model", "1.037K", "0.821K", "0.207K"], ["scale", "(3,)", "", ""], ["stem.0", "28", "21", "7"],
    ]  # fmt: skip
    assert [row[0] for row in cells[4:]] == [
        "stem.0.0", "stem.0.0.weight", "stem.0.0.bias", "stem.0.2.0", "stem.0.2.0.weight", "stem.0.2.0.bias",
        "head", "head.weight", "head.bias", "spare", "spare.weight", "spare.bias",
    ]  # fmt: skip
    assert ["spare", "6", "", ""] in cells


def test_table_can_be_shallow_and_without_shapes() -> None:
    table = complexity_stats_table(FlopAnalyzer(Net(), torch.ones(1, 3)), max_depth=1, show_param_shapes=False)
    assert table == (
        "+---------+----------------------+--------+\n"
        "| module  | #parameters or shape | #flops |\n"
        "+---------+----------------------+--------+\n"
        "| model   | 1.037K               | 0.821K |\n"
        "|  stem.0 |  28                  |  21    |\n"
        "|  head   |  1K                  |  0.8K  |\n"
        "|  spare  |  6                   |        |\n"
        "+---------+----------------------+--------+\n"
    )


def test_structure_is_what_torch_prints_with_the_numbers_of_each_module() -> None:
    assert complexity_stats_str(FlopAnalyzer(Net(), torch.ones(1, 3))) == (
        "N/A: the module did not run by itself; what was done with its weights counts for its parent.\n"
        """Net(
  #params: 1.04K, #flops: 0.82K
  (stem): Sequential(
    #params: 28, #flops: 21
    (0): Sequential(
      #params: 28, #flops: 21
      (0): Linear(
        in_features=3, out_features=3, bias=True
        #params: 12, #flops: 9
      )
      (1): ReLU()
      (2): Sequential(
        #params: 16, #flops: 12
        (0): Linear(
          in_features=3, out_features=4, bias=True
          #params: 16, #flops: 12
        )
      )
    )
  )
  (head): Linear(
    in_features=4, out_features=200, bias=True
    #params: 1K, #flops: 0.8K
  )
  (tied): Linear(in_features=4, out_features=200, bias=True)
  (spare): Linear(
    in_features=2, out_features=2, bias=True
    #params: 6, #flops: N/A
  )
)"""
    )


def test_model_without_parts_is_one_line() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w

    info = get_model_complexity_info(Bare(), (2,))
    assert info["out_arch"] == "\nBare(#params: 4, #flops: 4, #acts: 2)"
    assert "|  w     |  (2, 2) " in info["out_table"]


def test_what_is_not_asked_for_is_empty() -> None:
    info = get_model_complexity_info(Net(), (3,), show_table=False, show_arch=False)
    assert info["out_table"] == info["out_arch"] == ""


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor, y: Any) -> Any:
        return self.a(x) + self.b(y["b"] if type(y) is dict else y)


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_shape": ((4,), (6,))},
        {"inputs": (torch.ones(1, 4), torch.ones(1, 6))},
        {"inputs": (torch.ones(1, 4), {"b": torch.ones(1, 6)})},
    ],
)
def test_inputs_are_one_or_several_shapes_or_values(arguments: dict[str, Any]) -> None:
    assert get_model_complexity_info(Two(), **arguments)["flops"] == 16 + 24


def test_made_inputs_have_the_dtype_of_the_model() -> None:
    assert get_model_complexity_info(nn.Linear(4, 2).double(), (4,))["flops"] == 8


def test_shape_beside_a_batch_of_that_shape_is_taken() -> None:
    assert get_model_complexity_info(nn.Linear(4, 2), (4,), inputs=torch.ones(3, 4))["flops"] == 24


def test_patched_forward_is_counted() -> None:
    model = Net()
    model.forward = model.stem.forward  # type: ignore[method-assign]
    assert get_model_complexity_info(model, (3,))["flops"] == 21


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "got neither"),
        ({"input_shape": (4,), "inputs": torch.ones(1, 3)}, "got both, and they differ"),
        ({"input_shape": (3,), "inputs": (torch.ones(1, 3),)}, "got both"),
        ({"input_shape": 3}, "got 3"),
        ({"input_shape": (3, (2,))}, "tuple of int"),
    ],
)
def test_wrong_inputs_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        get_model_complexity_info(Net(), **arguments)


def test_parameters_are_counted_once_below_every_module() -> None:
    counts = parameter_count(Net())
    assert list(counts.items())[:4] == [("", 1037), ("scale", 3), ("stem", 28), ("stem.0", 28)]
    assert counts["head"] == 1000 and "tied" not in dict(counts) and counts["nothing"] == 0


def test_parameter_table_shows_counts_and_shapes() -> None:
    assert parameter_count_table(nn.Sequential(nn.Linear(20, 6), nn.BatchNorm1d(6))) == (
        "   parameter count of Sequential\n"
        "+------------+--------------------+\n"
        "| name       | #elements or shape |\n"
        "+------------+--------------------+\n"
        "| model      | 0.1K               |\n"
        "|  0         |  0.1K              |\n"
        "|   0.weight |   (6, 20)          |\n"
        "|   0.bias   |   (6,)             |\n"
        "|  1         |  12                |\n"
        "|   1.weight |   (6,)             |\n"
        "|   1.bias   |   (6,)             |\n"
        "+------------+--------------------+\n"
    )
    assert "0.weight" not in parameter_count_table(nn.Sequential(nn.Linear(20, 6)), max_depth=1)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (12, "12"), (100, "100"), (101, "0.101K"), (1000, "1K"), (12345, "12.345K"), (100000, "100K"),
        (123456, "0.123M"), (999999, "1M"), (1.2e9, "1.2G"), (3.456e12, "3.456T"), (1e15, "1P"), (5e17, "500P"),
        (-500, "-0.5K"),
    ],
)  # fmt: skip
def test_size_has_a_unit_from_a_tenth_of_it(count: int, text: str) -> None:
    assert _format_size(count) == text


def test_size_can_hide_zero_and_show_more_digits() -> None:
    assert (_format_size(0, hide_zero=True), _format_size(123456, sig_figs=5)) == ("", "0.12346M")
