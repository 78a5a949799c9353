from __future__ import annotations

import pytest

from drivetrain.registry import OPTIONAL_OPTIMIZERS, Registry, packages_of


def test_a_late_finder_is_asked_for_names_that_are_not_registered() -> None:
    asked: list[str] = []

    def find(name: str) -> type | None:
        asked.append(name)
        return int if name == "Late" else None

    registry = Registry("thing", scope="latescope")
    child = Registry("thing", parent=registry, scope="latechild")
    registry.register_module(name="Early", module=float)
    registry.set_late_finder(find)
    assert registry.get("Early") is float and asked == []
    assert registry.get("Late") is child.get("Late") is registry.get("latescope.Late") is int
    assert registry.get("Never") is None and "Never" not in registry
    assert registry.build({"type": "Late"}) == 0
    registry.set_late_finder(None)
    assert registry.get("Late") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Lion", ["lion", "bitsandbytes"]),
        ("DAdaptAdan", ["dadaptation"]),
        ("PagedAdam32bit", ["bitsandbytes"]),
        ("SGD", []),
        ("lion", []),
    ],
)
def test_packages_are_known_by_the_names_they_bring(name: str, expected: list[str]) -> None:
    assert [package.name for package in packages_of(name)] == expected


def test_no_pattern_of_an_optional_package_covers_an_optimizer_of_torch() -> None:
    torch = pytest.importorskip("torch")
    names = [name for name in vars(torch.optim) if name[0].isupper() and name != "Adafactor"]
    assert [name for name in names if packages_of(name)] == []
    assert len({package.module for package in OPTIONAL_OPTIMIZERS}) == len(OPTIONAL_OPTIMIZERS)
