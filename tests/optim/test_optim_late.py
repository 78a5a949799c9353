"""Optimizers of other packages are loaded by name on first use; small modules stand in for the packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import nn

import drivetrain.optim
from drivetrain.errors import BuildError, NotFoundError
from drivetrain.optim import OPTIMIZERS, build_optim_wrapper
from drivetrain.optim.optimizer import _late
from drivetrain.registry import Registry


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing stays registered, and no package is there but those of the test."""
    before = dict(OPTIMIZERS.module_dict)
    monkeypatch.setattr(_late, "_registered", {})
    for package in _late.OPTIONAL_OPTIMIZERS:
        monkeypatch.setitem(sys.modules, package.module.partition(".")[0], None)
        OPTIMIZERS.module_dict.pop("Lion", None)
    yield
    OPTIMIZERS.module_dict.clear()
    OPTIMIZERS.module_dict.update(before)


def put(monkeypatch: pytest.MonkeyPatch, path: str, *names: str) -> dict[str, type]:
    """A module of that path with optimizers of these names, and torch's own Optimizer, as such modules have it."""
    classes = {name: type(name, (torch.optim.SGD,), {}) for name in names}
    for end in range(1, path.count(".") + 2):
        part = ".".join(path.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    vars(sys.modules[path]).update(classes, Optimizer=torch.optim.Optimizer, Other=nn.Linear)
    return classes


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lion_pytorch", "Lion"),
        ("dadaptation", "DAdaptAdam"),
        ("Sophia", "SophiaG"),
        ("bitsandbytes.optim", "PagedAdamW8bit"),
        ("transformers.optimization", "Adafactor"),
        ("torch_npu.optim", "NpuFusedSGD"),
    ],
)
def test_a_name_loads_its_package_on_first_use(monkeypatch: pytest.MonkeyPatch, path: str, name: str) -> None:
    assert OPTIMIZERS.get(name) is None
    found = put(monkeypatch, path, name)
    assert name not in OPTIMIZERS.module_dict
    assert OPTIMIZERS.get(name) is found[name] is OPTIMIZERS.module_dict[name]
    wrapper = build_optim_wrapper(nn.Linear(1, 1), {"optimizer": {"type": name, "lr": 0.1}})
    assert type(wrapper.optimizer) is found[name]


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("Lion", "lion-pytorch"),
        ("DAdaptSGD", "dadaptation"),
        ("SophiaG", "Sophia-Optimizer"),
        ("AdamW8bit", "bitsandbytes"),
        ("bnb_SGD", "bitsandbytes"),
        ("LARS", "bitsandbytes"),
        ("Adafactor", "transformers"),
        ("NpuFusedAdam", "torch-npu"),
    ],
)
def test_a_missing_package_is_named_with_its_install_line(name: str, install: str) -> None:
    with pytest.raises(NotFoundError, match=f"{name!r} is there when .* Install it with: pip install {install}$"):
        OPTIMIZERS.build({"type": name, "params": []})


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"'AdmW' is not in the registry.*Did you mean 'AdamW'"):
        OPTIMIZERS.build({"type": "AdmW"})


def test_a_package_that_lacks_the_name_is_not_offered_for_installing(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "bitsandbytes.optim", "AdamW8bit")
    with pytest.raises(NotFoundError, match=r"'AdamV8bit' is not in the registry.*Did you mean 'AdamW8bit'"):
        OPTIMIZERS.build({"type": "AdamV8bit"})


def test_names_that_are_taken_get_a_prefix_and_the_users_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "bitsandbytes.optim", "AdamW", "Lion", "Lion8bit")
    lion = put(monkeypatch, "lion_pytorch", "Lion")["Lion"]
    assert sorted(drivetrain.optim.BITSANDBYTES_OPTIMIZERS) == ["Lion8bit", "bnb_AdamW", "bnb_Lion"]
    assert OPTIMIZERS.get("Lion") is lion and OPTIMIZERS.get("AdamW") is torch.optim.AdamW
    assert OPTIMIZERS.get("bnb_AdamW") is sys.modules["bitsandbytes.optim"].AdamW


def test_without_lion_pytorch_the_lion_of_bitsandbytes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    lion = put(monkeypatch, "bitsandbytes.optim", "Lion")["Lion"]
    assert OPTIMIZERS.get("Lion") is lion


def test_a_class_of_the_users_own_wins_over_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "lion_pytorch", "Lion")
    mine = type("Lion", (torch.optim.SGD,), {})
    OPTIMIZERS.register_module(module=mine)
    assert OPTIMIZERS.get("Lion") is mine
    assert drivetrain.optim.LION_OPTIMIZERS == ["Lion"] and OPTIMIZERS.get("Lion") is mine


def test_a_child_registry_finds_them_through_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    lion = put(monkeypatch, "lion_pytorch", "Lion")["Lion"]
    child = Registry("optimizer", parent=OPTIMIZERS, scope="latetests")
    try:
        assert child.get("Lion") is lion
    finally:
        del OPTIMIZERS.children["latetests"]


@pytest.mark.parametrize("room", [drivetrain.optim, drivetrain.optim.optimizer])
def test_the_lists_are_what_the_packages_have(monkeypatch: pytest.MonkeyPatch, room: ModuleType) -> None:
    assert room.DADAPTATION_OPTIMIZERS == room.SOPHIA_OPTIMIZERS == room.NPU_OPTIMIZERS == []
    put(monkeypatch, "dadaptation", "DAdaptSGD", "DAdaptAdam", "Helper")
    put(monkeypatch, "transformers.optimization", "Adafactor", "AdamWeightDecay")
    assert room.DADAPTATION_OPTIMIZERS == ["DAdaptSGD", "DAdaptAdam"] == room.register_dadaptation_optimizers()
    assert room.TRANSFORMERS_OPTIMIZERS == ["Adafactor"]
    assert "SGD" in room.TORCH_OPTIMIZERS and room.register_torch_optimizers() == room.TORCH_OPTIMIZERS
    with pytest.raises(AttributeError, match=r"has no attribute 'LION_OPTIMIZER'. Did you mean 'LION_OPTIMIZERS'"):
        _ = room.LION_OPTIMIZER


def test_a_package_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "bitsandbytes")

    def fail(name: str) -> None:
        raise RuntimeError(f"no CUDA for {name}")

    monkeypatch.setattr(_late.importlib, "import_module", fail)
    with pytest.raises(
        BuildError, match=r"importing 'bitsandbytes.optim' .* RuntimeError: no CUDA .* repair it or remove"
    ):
        OPTIMIZERS.get("AdamW8bit")


def test_importing_the_room_loads_none_of_them_nor_the_compiler_behind_zero() -> None:
    names = ["lion_pytorch", "bitsandbytes", "transformers", "dadaptation", "Sophia", "torch.distributed.optim"]
    code = f"import sys, drivetrain.optim; print([name for name in {names} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
