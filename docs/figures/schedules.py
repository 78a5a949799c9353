"""Makes the pictures of docs/schedules.md: `python docs/figures/schedules.py` (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from drivetrain.optim import draw_schedules, schedule_values

HERE = Path(__file__).parent
STEPS = 60

CURVES: list[dict[str, Any]] = [
    {"type": "LinearLR", "start_factor": 0.1, "end": 20},
    {"type": "ConstantLR", "factor": 0.3, "end": 20},
    {"type": "MultiStepLR", "milestones": [20, 40], "gamma": 0.4},
    {"type": "StepLR", "step_size": 12, "gamma": 0.6},
    {"type": "ExponentialLR", "gamma": 0.95},
    {"type": "PolyLR", "power": 2.0},
    {"type": "CosineAnnealingLR", "T_max": 60},
    {"type": "CosineRestartLR", "periods": [20, 20, 20], "restart_weights": [1, 0.7, 0.5]},
    {"type": "OneCycleLR", "eta_max": 1.0},
    {"type": "ReduceOnPlateauLR", "monitor": "loss", "factor": 0.5, "patience": 8},
]
LOSSES = [{"loss": max(1.0 - step / 15, 0.3 if step < 40 else 0.2)} for step in range(STEPS)]


def draw_overview(path: Path) -> None:
    """Every curve, with a base value of 1, in one picture."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(2, 5, sharex=True, sharey=True)
    for panel, curve in zip(panels.flat, CURVES, strict=True):
        values = schedule_values(curve, max_epochs=STEPS, optimizer={"lr": 1.0}, metrics=LOSSES)["lr"]
        panel.plot(values, drawstyle="steps-post", color="#2a6fbb")
        panel.set_title(curve["type"].removesuffix("LR"), fontsize=9)
        panel.set_ylim(0, 1.05)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Write all pictures beside this file."""
    draw_overview(HERE / "schedules-curves.png")
    draw_schedules(
        [
            {"type": "LinearLR", "start_factor": 0.001, "end": 1, "by_epoch": True, "convert_to_iter_based": True},
            {"type": "CosineAnnealingLR", "begin": 1, "by_epoch": True, "convert_to_iter_based": True},
        ],
        HERE / "schedules-warmup-cosine.png",
        max_epochs=12,
        epoch_length=400,
    )
    draw_schedules(
        [
            {"type": "OneCycleLR", "eta_max": 0.4, "by_epoch": False},
            {
                "type": "OneCycleMomentum",
                "eta_max": 0.85,
                "div_factor": 0.85 / 0.95,
                "final_div_factor": 1,
                "by_epoch": False,
            },
        ],
        HERE / "schedules-one-cycle.png",
        max_epochs=12,
        epoch_length=400,
    )


if __name__ == "__main__":
    main()
