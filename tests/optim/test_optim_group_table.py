from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentTypeError
from drivetrain.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper, group_table


def net() -> nn.ModuleDict:
    backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(4, 2), "frozen": nn.Linear(1, 1)})


def test_groups_of_the_same_settings_share_a_line_with_abbreviated_names() -> None:
    model = net()
    rules = {"custom_keys": {"backbone": {"lr_mult": 0.1}}, "norm_decay_mult": 0.0, "freeze": "frozen"}
    optimizer = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.05}
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": rules})
    assert group_table(wrapper, model).splitlines() == [
        "groups  tensors  numbers     lr  weight decay  momentum  parameters",
        "     6        6       48  0.001          0.05       0.9  backbone.*",
        "     2        2       10   0.01          0.05       0.9  head.*",
        "frozen: 2 tensors, 2 numbers: frozen.*",
    ]


def test_a_prefix_stands_only_for_parameters_that_are_all_in_the_line() -> None:
    model = net()
    optimizer = torch.optim.SGD([{"params": [*model["backbone"][0].parameters(), model["head"].weight]}], lr=0.5)
    lines = group_table(optimizer, model).splitlines()
    assert lines[1].endswith("  backbone.0.*, head.weight")
    assert lines[2] == "in no group: 7 tensors, 32 numbers: backbone.1.*, backbone.2.*, head.bias, frozen.*"


def test_a_long_list_of_names_is_cut() -> None:
    model = nn.ModuleDict({f"a_rather_long_name_{i}": nn.Linear(1, 1) for i in range(9)})
    optimizer = torch.optim.SGD([layer.weight for layer in model.values()], lr=0.5)
    line = group_table(optimizer, model).splitlines()[1]
    assert line.endswith("a_rather_long_name_1.weight, ... (7 more)")


def test_several_optimizers_follow_each_other_under_their_names() -> None:
    model = net()
    parts = {name: OptimWrapper(torch.optim.SGD(model[name].parameters(), lr=0.1)) for name in ("backbone", "head")}
    lines = group_table(OptimWrapperDict(**parts), model).splitlines()
    assert [lines[0], lines[3]] == ["backbone:", "head:"]
    assert lines[-1] == "in no group: 2 tensors, 2 numbers: frozen.*"


def test_without_a_model_and_without_some_settings_there_is_still_a_table() -> None:
    table = group_table(torch.optim.Rprop(net().parameters(), lr=torch.tensor(0.25)))
    assert table.splitlines()[1] == "     1       10       60  0.25             -         -  ?"


def test_something_else_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="takes an optimizer or its wrapper, got a Linear"):
        group_table(nn.Linear(1, 1))
