"""What every test stands on: one thread (for bit-equality), no state left in the process, quick property tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def fresh_process_state() -> Iterator[None]:
    """Give each test its own "current" instances (logger, hub, visualizer, scope) and random state."""
    from drivetrain.utils import ManagerMixin

    def managed(root: type) -> list[type]:
        return [root, *(leaf for child in root.__subclasses__() for leaf in managed(child))]

    torch.manual_seed(0)
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
