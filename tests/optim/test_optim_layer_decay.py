from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from drivetrain.registry import FUNCTIONS

SGD = {"type": "SGD", "lr": 1.0, "weight_decay": 0.5}


def depth_of_stages(name: str) -> int | None:
    return {"first": 0, "second": 1, "third": 4}.get(name.partition(".")[0])


class Vit(nn.Module):
    def __init__(self, blocks: int = 3, block: str = "blocks") -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.patch_embed = nn.Linear(2, 2)
        mlp = [
            nn.ModuleDict({"norm": nn.LayerNorm(2), "layers": nn.Sequential(nn.Linear(2, 2))}) for _ in range(blocks)
        ]
        self.add_module(block, nn.ModuleList(mlp))
        self.norm = nn.LayerNorm(2)


class Res(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Linear(2, 2)
        self.layer1 = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.layer2 = nn.Sequential(nn.Linear(2, 2))
        self.fc = nn.Linear(2, 2)


class Classifier(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))
        self.backbone = backbone
        self.head = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2)])})


def rates(model: nn.Module, **paramwise_cfg: Any) -> dict[str, float]:
    wrapper = build_optim_wrapper(model, {"optimizer": dict(SGD), "paramwise_cfg": paramwise_cfg})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in wrapper.optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("block", ["blocks", "layers", "resblocks"])
@pytest.mark.parametrize("depth", ["auto", "vit"])
def test_a_vit_decays_from_the_head_through_its_blocks_to_the_patches(block: str, depth: str) -> None:
    found = rates(Classifier(Vit(block=block)), layer_decay={"rate": 0.5, "depth": depth})
    expected = {"cls_token": 1 / 16, "patch_embed.weight": 1 / 16, "norm.weight": 1.0}
    expected |= {f"{block}.{i}.layers.0.weight": 2.0 ** (i - 3) for i in range(3)}
    assert expected == {name: found[f"backbone.{name}"] for name in expected}
    assert found["head.layers.0.weight"] == found["temperature"] == 1.0


def test_lists_are_found_below_a_plain_sequence() -> None:
    found = rates(nn.Sequential(Res(), nn.Linear(2, 2)), layer_decay=0.5)
    assert [found[f"{name}.weight"] for name in ("0.conv1", "0.layer1.0", "0.fc", "1")] == [1 / 16, 1 / 8, 1.0, 1.0]


def test_a_resnet_decays_block_by_block_over_its_stages() -> None:
    found = {name: rate for name, rate in rates(Res(), layer_decay=0.5).items() if name.endswith("weight")}
    assert found == {
        "conv1.weight": 1 / 16,
        "layer1.0.weight": 1 / 8,
        "layer1.1.weight": 1 / 4,
        "layer2.0.weight": 1 / 2,
        "fc.weight": 1.0,
    }


def test_what_stands_between_the_blocks_of_a_stage_goes_with_them() -> None:
    stages = nn.ModuleList(
        nn.ModuleDict({"downsample": nn.Linear(1, 1), "blocks": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])})
        for _ in range(2)
    )
    stages[0]["end"] = nn.Linear(1, 1)
    found = rates(nn.ModuleDict({"stem": nn.Linear(1, 1), "stages": stages}), layer_decay=0.5)
    assert found["stages.1.downsample.weight"] == found["stages.1.blocks.0.weight"] == 1 / 4
    assert found["stages.0.end.weight"] == found["stages.0.blocks.1.weight"] == 1 / 8
    assert found["stem.weight"] == 1 / 32


def test_real_networks_of_torchvision_are_read() -> None:
    from torchvision.models import resnet18, vit_b_16

    with torch.device("meta"):
        vit, resnet = vit_b_16(), resnet18()
    found = rates(vit, layer_decay=0.5)
    assert found["conv_proj.weight"] == found["encoder.pos_embedding"] == found["class_token"] == 2.0**-13
    assert found["encoder.layers.encoder_layer_11.mlp.0.weight"] == 0.5
    assert found["heads.head.weight"] == found["encoder.ln.weight"] == 1.0
    found = rates(resnet, layer_decay=0.5)
    assert found["bn1.weight"] == 2.0**-9 and found["layer2.0.downsample.0.weight"] == 2.0**-6


def test_a_function_from_name_to_depth_decides_and_none_leaves_alone() -> None:
    model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("first", "second", "third", "other")})
    expected = {"first.weight": 1 / 16, "second.weight": 1 / 8, "third.weight": 1.0, "other.weight": 1.0}
    assert rates(model, layer_decay={"rate": 0.5, "depth": depth_of_stages}) == expected
    FUNCTIONS.register_module(name="depth_of_stages", module=depth_of_stages, force=True)
    assert rates(model, layer_decay={"rate": 0.5, "depth": "depth_of_stages"}) == expected
    assert rates(model, layer_decay={"rate": 0.5, "depth": f"{__name__}.depth_of_stages"}) == expected


def test_a_backbone_that_knows_its_depths_is_asked() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Linear(1, 1, bias=False)

        def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
            return (1, 4) if param_name.startswith(f"{prefix}inside") else (3, 4)

    model = nn.ModuleDict({"net": Backbone(), "head": nn.Linear(1, 1, bias=False)})
    assert rates(model, layer_decay=0.5) == {"net.inside.weight": 0.25, "head.weight": 1.0}


def test_it_multiplies_what_other_rules_settled_but_not_a_rate_set_outright() -> None:
    keys = {"conv1": {"lr_mult": 4.0}, "layer2": {"lr": 7.0}}
    found = rates(Res(), layer_decay=0.5, custom_keys=keys, bias_lr_mult=3.0)
    assert found["conv1.bias"] == 4 / 16 and found["layer1.0.bias"] == 3 / 8
    assert found["layer2.0.weight"] == 7.0


def test_a_parameter_of_the_model_itself_is_found_under_its_custom_key() -> None:
    found = rates(Classifier(Vit()), layer_decay=0.5, custom_keys={".temperature": {"lr": 7.0}})
    assert found["temperature"] == 7.0


@pytest.mark.parametrize(
    ("layer_decay", "error", "message"),
    [
        ("half", ArgumentTypeError, "must be a rate such as 0.65.*got 'half'"),
        (1.5, ArgumentError, r"rate must be a number in \(0, 1\], got 1.5"),
        ({"depth": "vit"}, ArgumentError, "rate must be a number .* got None"),
        ({"rate": 0.5, "dpeth": "vit"}, ArgumentError, "no key 'dpeth'.*Did you mean 'depth'"),
        ({"rate": 0.5, "depth": 3}, ArgumentTypeError, "depth must be one of auto, vit, resnet, or a function"),
        ({"rate": 0.5, "depth": "resent"}, ArgumentError, "there is no 'resent'.*Did you mean 'resnet'"),
        ({"rate": 0.5, "depth": len}, None, None),
        ({"rate": 0.5, "depth": str}, ArgumentError, "must return a whole number.*returned 'conv1.weight'"),
    ],
)
def test_wrong_settings_are_refused_with_the_fix(layer_decay: Any, error: Any, message: Any) -> None:
    if error is None:
        rates(Res(), layer_decay=layer_decay)
        return
    with pytest.raises(error, match=message):
        rates(Res(), layer_decay=layer_decay)


def test_names_without_layers_are_refused_with_an_example() -> None:
    with pytest.raises(
        ArgumentError, match=r"finds no layers in the parameters' names.*weight, bias\. Give.*depth=function"
    ):
        rates(nn.Linear(1, 1), layer_decay=0.5)


def test_it_needs_a_rate_to_multiply() -> None:
    with pytest.raises(ArgumentError, match=r"layer_decay=0.5 multiplies the optimizer's lr"):
        DefaultOptimWrapperConstructor({"optimizer": {"type": "SGD"}}, {"layer_decay": 0.5})
