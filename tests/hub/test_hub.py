"""Configs and models that packages ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from drivetrain.checkpoint import save_checkpoint
from drivetrain.errors import ArgumentError, CheckpointError, MissingFileError, MissingPackageError
from drivetrain.hub import get_config, get_model
from drivetrain.registry import DefaultScope

_REGISTRY = """
import torch
from drivetrain.model import BaseModel
from drivetrain.registry import MODELS as PARENT, Registry

MODELS = Registry("model", parent=PARENT, scope="{name}")

@MODELS.register_module()
class Net(BaseModel):
    def __init__(self, width=1, depth=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))
        self.depth = depth

    def forward(self, *args, **kwargs): ...
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"hub_{tmp_path.name.replace('-', '_')}"
    configs = tmp_path / name / ".mim" / "configs" / "net"
    configs.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "registry.py").write_text(_REGISTRY.format(name=name))
    save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, str(tmp_path / "net.pth"))
    (configs / "wide.py").write_text("model = dict(type='Net', width=2)\n")
    (configs / "bare.py").write_text("_base_ = './wide.py'\n")
    (configs.parents[1] / "model-index.yml").write_text("Import:\n- configs/net/metafile.yml\n")
    (configs / "metafile.yml").write_text(
        f"Models:\n- Name: wide\n  Config: configs/net/wide.py\n  Weights: {tmp_path / 'net.pth'}\n"
        "- Name: bare\n  Config: configs/net/bare.py\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_config_is_that_of_the_package(zoo: str) -> None:
    cfg = get_config(f"{zoo}::net/wide.py")
    assert cfg.model == {"type": "Net", "width": 2} and "model_path" not in cfg
    assert get_config(f"{zoo}::net/wide.py", pretrained=True).model_path.endswith("net.pth")


def test_model_is_built_in_the_scope_of_the_package(zoo: str) -> None:
    model = get_model(f"{zoo}::net/wide.py", depth=5, width=9)
    assert model.weight.tolist() == [0, 0] and model.depth == 5 and model.training
    assert get_model(f"{zoo}::net/wide.py", pretrained=True).weight.tolist() == [1, 1]
    assert DefaultScope.get_current_instance() is None


def test_wrong_paths_say_what_is_there(zoo: str) -> None:
    with pytest.raises(ArgumentError, match="mmdet::"):
        get_config("net/wide.py")
    with pytest.raises(MissingFileError, match=r"Did you mean 'wide.py'"):
        get_config(f"{zoo}::net/wid.py")
    with pytest.raises(MissingPackageError, match="pip install"):
        get_config("no_such_package_at_all::net/wide.py")
    with pytest.raises(CheckpointError, match=r"names no weights for bare\.py"):
        get_config(f"{zoo}::net/bare.py", pretrained=True)


def test_distribution_name_stands_for_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPackageError, match='pip install "mmsegmentation"'):
        get_config("mmsegmentation::fcn/fcn.py")
