"""What a time split says: the numbers of a stretch of training, as scalars, as a line and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from ._stopwatch import PARTS

BESIDES = ("validation", "save")
"""Parts that come now and then, and are no share of a step."""

_NOTHING: Mapping[str, float] = MappingProxyType({})
_SCALARS = {part: f"time_split/{part}" for part in (*PARTS, "other")}
_RARE = ("step", "metric")
_ADVICE = {
    "wait": "the loop waits for the loader: more workers (num_workers=) or cheaper transforms in the dataset",
    "copy": "copies hold up the step: keep images uint8 until they are on the device, and use pin_memory=True",
    "preprocess": "the data preprocessor holds up the step: let it work on whole batches, on the device",
    "forward": "the network is the limit: try AmpOptimWrapper, channels_last=True or compile=True",
    "backward": "the gradients are the limit: try AmpOptimWrapper, channels_last=True or compile=True",
    "optimizer": "the update is the limit: try fused=True or foreach=True of the optimizer, or accumulative_counts",
    "hooks": "hooks hold up the step: look for work or reads of the device in custom hooks, and log less often",
    "step": "the step runs as one piece whose inside is not seen: switch graph and compile off to see it",
    "metric": "a metric is computed outside validation",
    "other": "the time is in the loop itself, or in a train_step of the model's own, beside forward and update",
    "validation": "validation takes the most: validate less often (val_interval=), or fewer samples",
    "save": "saving takes the most: save less often (CheckpointHook(interval=)), or to a faster disk",
}
_NO_WORKERS = "the loop waits for the loader, which works in this process: give it workers (num_workers=)"
_LAUNCHES = "the device waits for the host to launch its kernels: compile=True or graph=True, or larger batches"


class TimeSplit(NamedTuple):
    """Where the time of a stretch of training went.

    Attributes:
        steps: training steps made.
        wall: seconds on the host; the sum of `parts`.
        parts: seconds by part, without the parts inside.
        validation: seconds by part of the run's validations, whose sum is `parts['validation']`.
        device: seconds by part on the device's clock; empty where there is none.
        device_steps: steps to which `device` belongs: those whose events the device had passed.
        behind: of how many steps the device had not begun when the host was done with them.
    """

    steps: int
    wall: float
    parts: Mapping[str, float]
    validation: Mapping[str, float] = _NOTHING
    device: Mapping[str, float] = _NOTHING
    device_steps: int = 0
    behind: int = 0

    def since(self, earlier: TimeSplit) -> TimeSplit:
        """What came after `earlier`; of validations only their sum."""
        return TimeSplit(
            self.steps - earlier.steps,
            self.wall - earlier.wall,
            {part: time - earlier.parts[part] for part, time in self.parts.items()},
            _NOTHING,
            {part: time - earlier.device[part] for part, time in self.device.items()},
            self.device_steps - earlier.device_steps,
            self.behind - earlier.behind,
        )

    @property
    def scale(self) -> float:
        """What makes milliseconds a step of seconds."""
        return 1e3 / max(self.steps, 1)

    def device_of_step(self) -> dict[str, float]:
        """Milliseconds a step by part, on the device."""
        return {part: 1e3 * time / max(self.device_steps, 1) for part, time in self.device.items()}

    @property
    def device_bound(self) -> bool:
        """Whether the host was ahead of the device in most steps."""
        return 2 * self.behind > self.steps


def add_scalars(split: TimeSplit, tag: dict[str, Any]) -> None:
    """Add `time_split/<part>` to `tag`, in ms a step, and `time_split/device/<part>` where a device has a clock."""
    scale = split.scale
    for part, time in split.parts.items():
        if time or part not in _RARE:
            tag[_SCALARS[part]] = time * scale
    for part, time in split.device_of_step().items():
        tag[f"time_split/device/{part}"] = time


def advice_on(part: str, split: TimeSplit, workers: int | None) -> str:
    """One sentence on what makes the bottleneck `part` wider.

    Args:
        part: the bottleneck.
        split: where it was found.
        workers: of the training loader; None when that is not known.
    """
    if part == "wait" and workers == 0:
        return _NO_WORKERS
    launching = split.device_steps and not split.device_bound and part in ("forward", "backward", "optimizer")
    return _LAUNCHES if launching else _ADVICE[part]


def line_of(split: TimeSplit) -> tuple[str, str]:
    """One line (shares of a step, its length, what came besides, the bottleneck), and the bottleneck."""
    ranked = [item for item in _sorted(split.parts) if item[0] not in BESIDES]
    total = split.wall - split.parts["validation"] - split.parts["save"]
    percent, least = 100 / total, total / 200
    shares = ", ".join([f"{part} {percent * time:.0f} %" for part, time in ranked if time >= least])
    found = _bottleneck(split, ranked)
    return f"time split: {shares} of {_ms(total * split.scale)} ms a step{_besides(split)}; bottleneck: {found}", found


def _bottleneck(split: TimeSplit, ranked: list[tuple[str, float]]) -> str:
    """The first of `ranked`, or of the device's parts where the device lags behind the host."""
    return (_sorted(split.device) if split.device_bound else ranked)[0][0]


def _besides(split: TimeSplit) -> str:
    device = [f"{part} {_ms(time)}" for part, time in _sorted(split.device_of_step()) if time > 0]
    besides = [f"{part} {split.parts[part]:.2f} s" for part in BESIDES if split.parts[part]]
    on_device = f"; on the device {', '.join(device)} ms a step" if device else ""
    return f"{on_device}; besides {', '.join(besides)}" if besides else on_device


def table_of(split: TimeSplit, workers: int | None) -> str:
    """A table of all parts, the largest first, with the bottleneck and one sentence on it below."""
    device = split.device_of_step()
    head = f"    {'part':<12}{'ms a step':>12}{'share':>9}{'total':>12}" + ("    on the device" if device else "")
    ranked = _sorted(split.parts)
    rows = [_row(part, time, split, device) for part, time in ranked if time]
    found = _bottleneck(split, ranked)
    return "\n".join(
        [
            f"Time split of {split.steps} steps, {split.wall:.2f} s on the host:",
            head,
            *rows,
            *_validation_rows(split),
            f"    bottleneck: {found}: {advice_on(found, split, workers)}.",
        ]
    )


def _row(part: str, time: float, split: TimeSplit, device: Mapping[str, float]) -> str:
    row = f"    {part:<12}{_ms(time * split.scale):>12}{time / split.wall:>9.1%}{time:>10.3f} s"
    return f"{row}{_ms(device[part]):>14} ms" if part in device else row


def _validation_rows(split: TimeSplit) -> list[str]:
    parts = [f"{part} {time:.3f} s" for part, time in _sorted(split.validation) if time]
    return [f"    of validation: {', '.join(parts)}"] if parts else []


def _sorted(times: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(times.items(), key=itemgetter(1), reverse=True)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 3}f}"
