"""What every test stands on: one thread (for bit-equality), no state left in the process, quick property tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "quick", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("quick")

FASHION_MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion-mnist"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless they are asked for with `-m slow`, alone or in an expression."""
    if "slow" not in config.getoption("markexpr"):
        skip = pytest.mark.skip(reason="slow: -m slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@contextmanager
def own_instances() -> Iterator[None]:
    """Let "current" instances (logger, hub, visualizer, scope) made inside go at the end."""
    from drivetrain.utils import ManagerMixin

    def managed(root: type) -> list[type]:
        return [root, *(leaf for child in root.__subclasses__() for leaf in managed(child))]

    before = {cls: dict(cls._instance_dict) for cls in managed(ManagerMixin)}
    yield
    for cls in managed(ManagerMixin):
        for name, instance in list(cls._instance_dict.items()):
            if name not in before.get(cls, {}):
                del cls._instance_dict[name]
                if isinstance(instance, logging.Logger):
                    for handler in list(instance.handlers):
                        handler.close()
                        instance.removeHandler(handler)


@pytest.fixture(autouse=True, scope="module")
def fresh_process_state_of_the_module() -> Iterator[None]:
    """Nothing that a fixture of a whole module makes outlives it."""
    with own_instances():
        yield


@pytest.fixture(autouse=True)
def fresh_process_state() -> Iterator[None]:
    """Give each test its own "current" instances and random state."""
    torch.manual_seed(0)
    with own_instances():
        yield
