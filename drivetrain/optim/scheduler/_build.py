"""A schedule from its config, with what the length of the run says filled in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivetrain.errors import ArgumentError
from drivetrain.registry import PARAM_SCHEDULERS
from drivetrain.typing import ConfigType

from ._base import OptimizerType


def build_schedule(
    cfg: ConfigType,
    optimizer: OptimizerType,
    max_epochs: Callable[[], int],
    max_iters: Callable[[], int],
    epoch_length: Callable[[], int],
    window: int | None = None,
) -> Any:
    """Build a schedule. Without an `end` it acts until the run ends; one that waits for validations has no end.

    Args:
        cfg: the config of a schedule.
        optimizer: what it steers.
        max_epochs: gives the epochs of the run; called only if they are needed, as are the others.
        max_iters: gives the iterations of the run.
        epoch_length: gives the iterations of an epoch.
        window: losses to an update; by default as `optimizer` has it, 1 where it does not say.

    Raises:
        ArgumentError: `by` and `by_epoch` contradict each other.
    """
    settings = dict(cfg)
    by = settings.get("by")
    by_epoch = settings.get("by_epoch", True) if by is None else by == "epoch"
    if settings.get("by_epoch", by_epoch) != by_epoch:
        raise ArgumentError(
            f"{settings.get('type')}: by={by!r} and by_epoch={settings['by_epoch']} contradict each other: give one."
        )
    if "end" not in settings and not _waits(settings.get("type")):
        settings["end"] = max_epochs() if by_epoch else max_iters()
        if by == "update":
            settings["end"] = -(-settings["end"] // (window or getattr(optimizer, "_accumulative_counts", 1)))
    defaults: dict[str, Any] = {"optimizer": optimizer}
    if settings.get("convert_to_iter_based"):
        defaults["epoch_length"] = epoch_length()
    return PARAM_SCHEDULERS.build(settings, default_args=defaults)


def _waits(kind: Any) -> bool:
    """Whether a type of schedule, a class or its name, needs the results of validations."""
    cls = PARAM_SCHEDULERS.get(kind) if type(kind) is str else kind
    return bool(getattr(cls, "need_val_args", False))
