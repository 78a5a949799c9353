"""Find values in the log, and weights in a checkpoint, that are not finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

_PREFIX = "train/"


@dataclass(frozen=True)
class Finding:
    """A value of the log that is not finite.

    Args:
        name: of the value, without 'train/'.
        value: NaN or an infinity.
        step: training step, from 1; None where the value is not written at every step.
    """

    name: str
    value: float
    step: int | None


class LogWatch:
    """Looks through what has been logged since it last looked.

    It reads what a log point has brought to the host already; at other times it makes the message hub bring it over.
    """

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self._step = 0

    def mark(self, hub: Any, step: int) -> None:
        """Take everything up to `step` as seen."""
        self._step = step
        self._marks = {name: buffer.entries for name, buffer in _series_of(hub)}

    def steps_since(self, step: int) -> int:
        """How many steps it has not looked at, when `step` steps have been made."""
        return step - self._step

    def look(self, hub: Any, step: int) -> list[Finding]:
        """What is not finite since the last look, the first of each value, in order of steps; up to `step`."""
        steps, findings = self.steps_since(step), []
        for name, buffer in _series_of(hub):
            new = buffer.entries - self._marks.get(name, 0)
            values = buffer.data[0][-new:] if new > 0 else np.zeros(0)
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                first = int(bad[0])
                at = step - len(values) + 1 + first if new == steps else None
                findings.append(Finding(name.removeprefix(_PREFIX), float(values[first]), at))
        self.mark(hub, step)
        # Of one step losses come first: what else is bad follows from them.
        return sorted(findings, key=lambda found: (found.step or step, not found.name.startswith("loss")))


def bad_weights(states: Iterable[Mapping[str, Any]], known: frozenset[str]) -> list[str]:
    """Names among `known` whose tensors hold NaN or infinity in one of `states`, which are on the CPU."""
    return [
        name
        for state in states
        for name, value in _floats_in(state)
        if name.removeprefix("module.") in known and not bool(torch.isfinite(value).all())
    ]


def finite_names(model: torch.nn.Module) -> frozenset[str]:
    """Names of the weights and buffers that are finite now; some buffers, such as masks, hold infinity by design."""
    return frozenset(
        name.removeprefix("module.")
        for name, value in _floats_in(model.state_dict())
        if bool(torch.isfinite(value).all())
    )


def in_words(findings: Iterable[Finding]) -> str:
    """`loss is nan, grad_norm is inf`."""
    return ", ".join(f"{found.name} is {found.value}" for found in findings)


def _series_of(hub: Any) -> Iterator[tuple[str, Any]]:
    for name, buffer in hub.log_scalars.items():
        if name.startswith(_PREFIX):
            yield name, buffer


def _floats_in(state: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in state.items():
        if torch.is_tensor(value) and value.is_floating_point():
            yield name, value
