"""The hooks that every run has unless the user says otherwise."""

from __future__ import annotations

from typing import Any

from .progress_hook import progress_is_useful


def default_hooks() -> dict[str, dict[str, Any]]:
    """Configs of the default hooks by the key under which `default_hooks=` of the runner changes them.

    The progress bar is among them only where somebody can see it: on a terminal.
    """
    hooks: dict[str, dict[str, Any]] = {
        "runtime_info": {"type": "RuntimeInfoHook"},
        "timer": {"type": "IterTimerHook"},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
        "logger": {"type": "LoggerHook"},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "interval": 1},
    }
    if progress_is_useful():
        hooks["progress"] = {"type": "ProgressHook"}
    return hooks
