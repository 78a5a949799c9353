"""What a time split says: the numbers of a stretch of training, as scalars, as a line and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BESIDES = ("validation", "save")
"""Parts that come now and then, and are no share of a step."""

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


@dataclass(frozen=True)
class TimeSplit:
    """Where the time of a stretch of training went.

    Attributes:
        steps: training steps made.
        wall: seconds on the host; the sum of `parts`.
        parts: seconds by part, without the parts inside.
        validation: seconds by part of a validation, whose sum is `parts['validation']`.
        device: seconds by part on the device's clock; empty where there is none.
        device_steps: steps to which `device` belongs: those whose events the device had passed.
        behind: of how many steps the device had not begun when the host was done with them.
    """

    steps: int
    wall: float
    parts: Mapping[str, float]
    validation: Mapping[str, float]
    device: Mapping[str, float] = field(default_factory=dict)
    device_steps: int = 0
    behind: int = 0

    def since(self, earlier: TimeSplit) -> TimeSplit:
        """What came after `earlier`."""
        return TimeSplit(
            self.steps - earlier.steps,
            self.wall - earlier.wall,
            _difference(self.parts, earlier.parts),
            _difference(self.validation, earlier.validation),
            _difference(self.device, earlier.device),
            self.device_steps - earlier.device_steps,
            self.behind - earlier.behind,
        )

    def of_step(self, part: str) -> float:
        """Milliseconds a step of a part, on the host."""
        return 1e3 * self.parts[part] / max(self.steps, 1)

    def device_of_step(self) -> dict[str, float]:
        """Milliseconds a step by part, on the device."""
        return {part: 1e3 * time / max(self.device_steps, 1) for part, time in self.device.items()}

    @property
    def device_bound(self) -> bool:
        """Whether the host was ahead of the device in most steps."""
        return 2 * self.behind > self.steps


def scalars_of(split: TimeSplit) -> dict[str, float]:
    """`time_split/<part>` in milliseconds a step, and `time_split/device/<part>` where a device has its own clock."""
    host = {
        f"time_split/{part}": split.of_step(part) for part, time in split.parts.items() if time or part not in _RARE
    }
    return {**host, **{f"time_split/device/{part}": time for part, time in split.device_of_step().items()}}


def facts_of(split: TimeSplit) -> dict[str, Any]:
    """The split as plain containers, in seconds."""
    return asdict(split)


def bottleneck_of(split: TimeSplit, among: Mapping[str, float]) -> str:
    """The part that takes the most, among those given; on a device that lags behind the host, by its clock."""
    times = split.device if split.device_bound else among
    return max(times, key=lambda part: times[part])


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
    inside = {part: time for part, time in split.parts.items() if part not in BESIDES}
    total = sum(inside.values()) or 1.0
    shares = [f"{part} {100 * time / total:.0f} %" for part, time in _sorted(inside) if 200 * time >= total]
    besides = [f"{part} {split.parts[part]:.2f} s" for part in BESIDES if split.parts[part]]
    device = [f"{part} {_ms(time)}" for part, time in _sorted(split.device_of_step()) if time > 0]
    found = bottleneck_of(split, inside)
    line = "; ".join(
        [
            f"time split: {', '.join(shares)} of {_ms(1e3 * total / max(split.steps, 1))} ms a step",
            *([f"on the device {', '.join(device)} ms a step"] if device else []),
            *([f"besides {', '.join(besides)}"] if besides else []),
            f"bottleneck: {found}",
        ]
    )
    return line, found


def table_of(split: TimeSplit, workers: int | None) -> str:
    """A table of all parts, the largest first, with the bottleneck and one sentence on it below."""
    device = split.device_of_step()
    head = f"    {'part':<12}{'ms a step':>12}{'share':>9}{'total':>12}" + ("    on the device" if device else "")
    rows = [_row(part, time, split, device) for part, time in _sorted(split.parts) if time]
    found = bottleneck_of(split, split.parts)
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
    row = f"    {part:<12}{_ms(split.of_step(part)):>12}{time / split.wall:>9.1%}{time:>10.3f} s"
    return f"{row}{_ms(device[part]):>14} ms" if part in device else row


def _validation_rows(split: TimeSplit) -> list[str]:
    parts = [f"{part} {time:.3f} s" for part, time in _sorted(split.validation) if time]
    return [f"    of validation: {', '.join(parts)}"] if parts else []


def _sorted(times: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(times.items(), key=lambda item: -item[1])


def _difference(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    return {part: time - earlier.get(part, 0) for part, time in later.items()}


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 3}f}"
