"""BaseModule and its containers: initialised once, in the right order, with notes in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError
from drivetrain.logging import MMLogger
from drivetrain.model import BaseModule, ModuleDict, ModuleList, Sequential, update_init_info
from drivetrain.registry import MODELS


def constant(val: float, **kwargs: Any) -> dict[str, Any]:
    return dict(type="Constant", layer="Linear", val=val, **kwargs)


class Block(BaseModule):
    def __init__(self, init_cfg: Any = None, child: nn.Module | None = None) -> None:
        super().__init__(init_cfg)
        self.fc = nn.Linear(1, 1)
        self.child = child


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def init_weights(self) -> None:
        nn.init.constant_(self.fc.weight, 5.0)


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    MMLogger.get_instance("model-base-module", log_file=str(tmp_path / "run.log"))
    return tmp_path / "run.log"


def value(layer: Any) -> float:
    return layer.weight.flatten()[0].item()


def test_children_come_after_their_parent_and_win() -> None:
    top = Block(constant(1.0), Block(constant(2.0)))
    top.init_weights()
    assert value(top.fc) == 1.0 and value(top.child.fc) == 2.0
    assert top.is_init and top.child.is_init


def test_pretrained_comes_after_all_children(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save(
        {"state_dict": {"fc.weight": torch.full((1, 1), 42.0), "child.fc.weight": torch.full((1, 1), 43.0)}}, file
    )
    top = Block([{"type": "Pretrained", "checkpoint": str(file)}, constant(1.0)], Block(constant(2.0)))
    top.init_weights()
    assert value(top.fc) == 42.0 and value(top.child.fc) == 43.0
    assert top.fc.bias.item() == 0.0


def test_pretrained_with_a_prefix_takes_that_part(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"state_dict": {"backbone.fc.weight": torch.full((1, 1), 7.0), "backbone.fc.bias": torch.ones(1)}}, file)
    top = Block({"type": "Pretrained", "checkpoint": str(file), "prefix": "backbone"})
    top.init_weights()
    assert value(top.fc) == 7.0


def test_a_second_call_warns_and_changes_nothing(log_file: Path) -> None:
    top = Block(constant(1.0))
    top.init_weights()
    nn.init.constant_(top.fc.weight, 9.0)
    top.init_weights()
    assert value(top.fc) == 9.0
    assert "more than once" in log_file.read_text()
    top.is_init = False
    top.init_weights()
    assert value(top.fc) == 1.0


def test_an_initialised_child_is_left_alone(log_file: Path) -> None:
    child = Block(constant(2.0))
    child.init_weights()
    nn.init.constant_(child.fc.weight, 8.0)
    top = Block(None, child)
    top.init_weights()
    assert value(child.fc) == 8.0
    assert "more than once" not in log_file.read_text()


@pytest.mark.parametrize("make", [lambda m: Sequential(m), lambda m: ModuleList([m]), lambda m: ModuleDict({"m": m})])
def test_containers_pass_the_call_on(make: Any) -> None:
    inner = Block(constant(3.0))
    container = make(inner)
    Block(None, container).init_weights()
    assert value(inner.fc) == 3.0 and container.is_init


def test_containers_have_an_init_cfg_of_their_own() -> None:
    container = Sequential(nn.Linear(1, 1), init_cfg=constant(6.0))
    container.init_weights()
    assert value(container[0]) == 6.0
    assert repr(container).endswith(f"init_cfg={constant(6.0)}")


def test_a_module_hidden_in_a_plain_container_is_named(log_file: Path) -> None:
    top = Block(None, nn.Sequential(Block(constant(3.0))))
    top.init_weights()
    assert "child.0 (Block)" in log_file.read_text()


def test_each_parameter_is_noted_in_the_log_file_only(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = Block(constant(1.0, bias=2.0), Custom())
    top.init_weights()
    text = log_file.read_text()
    assert "fc.weight - torch.Size([1, 1]): \nConstantInit: val=1.0, bias=2.0" in text
    assert "child.fc.weight - torch.Size([1, 1]): \nInitialized by user-defined `init_weights` in Custom" in text
    assert not any(hasattr(module, "_params_init_info") for module in top.modules())
    assert "Size([1, 1])" not in "".join(capsys.readouterr())


def test_an_untouched_parameter_is_noted_as_such(log_file: Path) -> None:
    Block().init_weights()
    assert "The value is the same before and after calling `init_weights` of Block" in log_file.read_text()


def test_update_init_info_serves_init_weights_of_ones_own(log_file: Path) -> None:
    class Own(Block):
        def init_weights(self) -> None:
            super().init_weights()

    class Inner(Block):
        def init_weights(self) -> None:
            nn.init.constant_(self.fc.weight, 3.5)
            update_init_info(self, "by hand")

    Own(None, Inner()).init_weights()
    assert "by hand" in log_file.read_text()


def test_a_parameter_added_while_initialising_is_noted(log_file: Path) -> None:
    class Grows(Block):
        def init_weights(self) -> None:
            self.extra = nn.Parameter(torch.ones(2))

    Block(None, Grows()).init_weights()
    assert "child.extra - torch.Size([2])" in log_file.read_text()


def test_update_init_info_outside_of_init_weights_is_refused() -> None:
    with pytest.raises(ArgumentError, match="only while"):
        update_init_info(nn.Linear(1, 1), "x")


def test_notes_are_taken_off_after_an_error() -> None:
    top = Block({"type": "Nope"})
    with pytest.raises(KeyError):
        top.init_weights()
    assert not hasattr(top, "_params_init_info")


@pytest.mark.parametrize(
    "param",
    [
        nn.Parameter(torch.zeros(2, dtype=torch.cfloat)),
        nn.Parameter(torch.zeros(2, dtype=torch.long), requires_grad=False),
        nn.Parameter(torch.zeros(0)),
        nn.Parameter(torch.zeros(2, device="meta")),
        nn.UninitializedParameter(),
    ],
)
def test_parameters_without_a_plain_mean_are_no_obstacle(param: nn.Parameter) -> None:
    module = Block()
    module.odd = param
    module.init_weights()
    assert module.is_init


def test_init_cfg_is_copied() -> None:
    cfg = constant(1.0)
    module = Block(cfg)
    cfg["val"] = 2.0
    assert module.init_cfg == constant(1.0)


def test_a_list_config_builds_our_sequential() -> None:
    MODELS.register_module(name="TestBlock", module=Block, force=True)
    try:
        built = MODELS.build([{"type": "TestBlock"}, {"type": "TestBlock"}])
        assert type(built) is Sequential and len(built) == 2
    finally:
        MODELS.module_dict.pop("TestBlock")
