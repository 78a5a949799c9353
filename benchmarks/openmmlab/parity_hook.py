"""The hook that writes down what an engine computed. A case's config imports it by `custom_imports`.

It is written for MMEngine, as a user's hook would be, and runs under both engines unchanged.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

torch.set_num_threads(1)


def exact(value: Any) -> Any:
    """`value` with every float as its hexadecimal text, tensors as a digest of their bytes where they are large."""
    if isinstance(value, torch.Tensor):
        return exact(value.item()) if value.numel() == 1 else digest(value)
    if isinstance(value, dict):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    return float(value).hex() if hasattr(value, "__float__") else str(value)


def digest(value: Any) -> str:
    """A hash over every bit of a nested structure of tensors and plain values."""
    hasher = hashlib.sha256()
    _feed(hasher, value)
    return hasher.hexdigest()[:16]


def _feed(hasher: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        hasher.update(f"{value.dtype} {tuple(value.shape)}".encode())
        hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key, item in value.items():
            hasher.update(str(key).encode())
            _feed(hasher, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _feed(hasher, item)
    else:
        hasher.update(repr(value).encode())


@HOOKS.register_module()
class ParityHook(Hook):
    """Appends one JSON line per event to ``parity.jsonl`` of the work directory."""

    priority = "LOWEST"

    def _write(self, runner: Any, **event: Any) -> None:
        with open(Path(runner.work_dir) / "parity.jsonl", "a") as file:
            file.write(json.dumps(event) + "\n")

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        rates = {**{f"lr {k}": v for k, v in runner.optim_wrapper.get_lr().items()}}
        rates.update({f"momentum {k}": v for k, v in runner.optim_wrapper.get_momentum().items()})
        self._write(runner, event="step", step=runner.iter + 1, outputs=exact(outputs), rates=exact(rates))

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self._write(runner, event="val", step=runner.iter, metrics=exact(metrics))

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        self._write(runner, event="test", metrics=exact(metrics))

    def after_train(self, runner: Any) -> None:
        averages = [hook.ema_model.state_dict() for hook in runner.hooks if hasattr(hook, "ema_model")]
        self._write(
            runner,
            event="end",
            step=runner.iter,
            model=digest(runner.model.state_dict()),
            optimizer=digest(runner.optim_wrapper.optimizer.state_dict()["state"]),
            schedules=[schedule.last_step for schedule in runner.param_schedulers],
            averages=[{name: digest(value) for name, value in average.items()} for average in averages],
            tied=[_tied(average) for average in averages],
        )


def _tied(state: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that stand in the state under several names."""
    names: dict[int, list[str]] = {}
    for name, value in state.items():
        names.setdefault(value.data_ptr(), []).append(name)
    return [name for several in names.values() if len(several) > 1 for name in several]
