"""The hook that writes down what each training step saw and did."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivetrain.dataset import DataLoader
from drivetrain.hooks import Hook

from . import _digest
from ._plan import Plan

_SECONDS_TO_BE_KILLED = 600.0


class StepRecorder(Hook):
    """Appends a line for each step to the record, and ends the run behind the last step asked for.

    Args:
        plan: what this start is to do.
    """

    priority = "LOWEST"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._indices: dict[tuple[int, int, int], list[Any]] = {}
        self._last = plan.steps

    def watch_loaders(self) -> None:
        """Let every loader of this process tell which samples it fetches."""

        def note(loader: DataLoader, number: int, batch: int, indices: list[Any]) -> None:
            plain = [int(index) if issubclass(type(index), int) else index for index in indices]
            self._indices[id(loader), number, batch] = plain

        # On the class, since an endless loop starts its loader before any hook is called; as a method, to know whose.
        setattr(DataLoader, "watch_indices", note)  # noqa: B010

    def before_train(self, runner: Any) -> None:
        """Find out how many steps there will be."""
        loader = runner.train_dataloader
        self._last = min(self._plan.steps or default_steps(runner), runner.max_iters)
        self._write({"steps": self._last, "per_epoch": len(loader), "from": runner.iter, "seed": runner.seed})

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the step down; wait or end where that was asked for."""
        done = runner.iter + 1
        self._write({"step": done, **self._seen(runner, data_batch, outputs)})
        if done == self._plan.wait_at:
            time.sleep(_SECONDS_TO_BE_KILLED)
        if done == self._last and done < runner.max_iters:
            self._write({"ended": done})
            raise SystemExit(0)

    def after_train(self, runner: Any) -> None:
        """Note that training came to its own end."""
        self._write({"ended": runner.iter})

    def _seen(self, runner: Any, data_batch: Any, outputs: Any) -> dict[str, Any]:
        samples = self._samples_of(runner)
        model = runner.strategy.unwrap(runner.model)
        return {
            "samples": {} if samples is None else {"order": repr(samples)},
            "indices": samples,
            "batch": dict(_digest.leaves(data_batch)),
            "rows": {} if not samples else _digest.rows(data_batch, len(samples)),
            "outputs": dict(_digest.leaves(outputs)),
            "values": {name: _number(value) for name, value in dict(outputs or {}).items()},
            "weights": dict(_digest.leaves(dict(model.state_dict()))),
            "averages": dict(_averages(runner)),
            "optimizer": dict(_digest.leaves(_optimizer_states(runner))),
            "settings": dict(_digest.leaves(_optimizer_settings(runner))),
            "random": _digest.of_generators(),
            "attributes": _digest.of_attributes(model),
            "hooks": dict(_counters(runner)),
        }

    def _samples_of(self, runner: Any) -> list[Any] | None:
        """Indices of the batch in use; None where the loader does not know them."""
        loop, loader = runner.train_loop, runner.train_dataloader
        used = loop.batches_used or {
            "pass_index": getattr(loader, "pass_index", 0), "consumed": getattr(loader, "consumed", 0)
        }  # fmt: skip
        return self._indices.pop((id(loader), used["pass_index"], used["consumed"] - 1), None)

    def _write(self, row: dict[str, Any]) -> None:
        with Path(self._plan.record).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def default_steps(runner: Any) -> int:
    """An epoch and a little more where epochs are short, else what shows a few saves and kills."""
    loop = runner.train_loop
    per_epoch = len(loop.dataloader) if hasattr(loop.dataloader, "__len__") else 0
    return per_epoch + 12 if 0 < per_epoch <= 200 else 30


def _optimizers(runner: Any) -> Iterator[tuple[str, Any]]:
    wrapper = runner.optim_wrapper
    members = dict(wrapper.items()) if hasattr(wrapper, "items") else {"": wrapper}
    for name, member in members.items():
        yield name, member.optimizer


def _optimizer_states(runner: Any) -> dict[str, Any]:
    return {
        f"{name}{place}": state
        for name, optimizer in _optimizers(runner)
        for place, state in enumerate(optimizer.state.values())
    }


def _optimizer_settings(runner: Any) -> dict[str, Any]:
    return {
        f"{name}{place}": {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for name, optimizer in _optimizers(runner)
        for place, group in enumerate(optimizer.param_groups)
    }


def _averages(runner: Any) -> Iterator[tuple[str, str]]:
    for hook in runner.hooks:
        average = getattr(hook, "ema_model", None)
        if average is not None:
            yield from _digest.leaves(dict(average.state_dict()))


def _counters(runner: Any) -> Iterator[tuple[str, str]]:
    """Whole numbers and switches that hooks of the user's keep."""
    for hook in runner.hooks:
        kind = type(hook)
        if not kind.__module__.startswith("drivetrain."):
            yield from (
                (f"{kind.__name__}.{name}", repr(value))
                for name, value in vars(hook).items()
                if type(value) in (int, bool)
            )


def _number(value: Any) -> Any:
    """What a loss is called in the report; exact equality is judged by its checksum."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return repr(value)[:80]
