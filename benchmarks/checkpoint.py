"""How long saving stops the training thread, for a model of 100 million parameters with Adam (1.2 GB of state).

    python benchmarks/checkpoint.py [--reference-python PYTHON] [--folder FOLDER] [--rounds 5] [--device cpu]

One process. Twice as often as there are rounds: a plain copy of the same tensors to host memory that is there already,
with which everything is compared, and `CheckpointHook(async_save=True)`. Then in every round: a plain copy to new
memory, the hook without `async_save`, and `torch.save`. The hook is timed as the training loop calls it, from call to
return. Nothing is written meanwhile: each call waits until the disk is done. The table shows medians; the first save in
the background, which takes its memory from the system, stands beside.

PYTHON is an interpreter with mmengine and the same torch; its `Runner.save_checkpoint` of the same model and optimizer
is timed in a process of its own, with `torch.save` beside it for the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

LAYERS, WIDTH = 24, 2048


class Net(nn.Sequential):
    """24 layers of 2048 x 2048: 100,712,448 parameters."""

    def __init__(self) -> None:
        super().__init__(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))


def with_state(optimizer: torch.optim.Optimizer) -> None:
    """One step with gradients of zero, so that Adam has its two averages."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [*model.state_dict().values(), *(value for value in states if torch.is_tensor(value))]


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def parts() -> dict[str, Any]:
    """What a Runner takes, of either engine: the model, a loader of one batch, and Adam."""
    return {
        "train_dataloader": torch.utils.data.DataLoader([torch.zeros(1)], batch_size=1),
        "train_cfg": {"by_epoch": False, "max_iters": 10**6},
        "optim_wrapper": {"optimizer": {"type": "Adam", "lr": 1e-9}},
        "default_hooks": {"checkpoint": None, "logger": None},
        "log_level": "ERROR",
    }


def reference(folder: Path, rounds: int) -> dict[str, list[float]]:
    """MMEngine's save of the same state, and torch's."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, *inputs: Any, mode: str = "tensor") -> Any:
            raise NotImplementedError

    runner = Runner(Model(), str(folder), **parts())
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    _ = runner.train_loop
    with_state(runner.optim_wrapper.optimizer)
    model, optimizer = runner.model, runner.optim_wrapper.optimizer
    copies = [torch.empty_like(tensor, device="cpu") for tensor in tensors_of(model, optimizer)]
    found: dict[str, list[float]] = {"plain": [], "MMEngine": []}
    for _ in range(rounds):
        found["plain"].append(timed(lambda: copy_into(copies, model, optimizer)))
        found["MMEngine"].append(timed(lambda: runner.save_checkpoint(str(folder), "mmengine.pth", by_epoch=False)))
        os.sync()
    return found


def copy_into(copies: list[torch.Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for copy, tensor in zip(copies, tensors_of(model, optimizer), strict=True):
        copy.copy_(tensor, non_blocking=True)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def ours(folder: Path, rounds: int, device: str) -> dict[str, list[float]]:
    """All rows of drivetrain and of torch."""
    from drivetrain.checkpoint import wait_for_saves
    from drivetrain.hooks import CheckpointHook
    from drivetrain.model import BaseModel
    from drivetrain.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, *inputs: Any, mode: str = "tensor") -> Any:
            raise NotImplementedError

    runner = Runner(Model(), str(folder), **parts())
    runner.model.to(device)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    _ = runner.train_loop
    with_state(runner.optim_wrapper.optimizer)
    model, optimizer = runner.model, runner.optim_wrapper.optimizer
    copies = [
        torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda) for tensor in tensors_of(model, optimizer)
    ]
    copy_into(copies, model, optimizer)
    hooks = {}
    for name in ("background", "at once"):
        options = {"async_save": name == "background", "filename_tmpl": f"{name.replace(' ', '_')}_{{}}.pth"}
        hooks[name] = CheckpointHook(interval=1, by_epoch=False, save_last=False, **options)
        hooks[name].before_train(runner)

    def save(name: str) -> None:
        hooks[name].after_train_iter(runner, 0)

    first = timed(lambda: save("background"))
    wait_for_saves()
    state = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    calls: dict[str, Callable[[], Any]] = {
        "plain": lambda: copy_into(copies, model, optimizer),
        "background": lambda: save("background"),
        "new": lambda: [tensor.to("cpu", copy=True) for tensor in tensors_of(model, optimizer)],
        "at once": lambda: save("at once"),
        "torch.save": lambda: torch.save(state, folder / "torch.pth"),
    }
    found: dict[str, list[float]] = {"first": [first], **{name: [] for name in calls}}
    for names in [("plain", "background")] * 2 * rounds + [tuple(calls)[2:]] * rounds:
        for name in names:
            found[name].append(timed(calls[name]))
            wait_for_saves()
            os.sync()
    return found


def row(label: str, times: list[float], plain: float) -> str:
    median = statistics.median(times)
    return f"| {label} | {median:.3f} | {min(times):.3f} to {max(times):.3f} | {median / plain:.2f} |"


def table(options: argparse.Namespace, found: dict[str, list[float]], other: dict[str, list[float]] | None) -> str:
    plain = statistics.median(found["plain"])
    lines = [
        f"torch {torch.__version__}, {platform.machine()}, one thread, {options.device}, {options.rounds} rounds, "
        f"load of the machine {os.getloadavg()[0]:.1f}",
        "",
        "| the training thread stops for | seconds | spread | of the plain copy |",
        "|---|---|---|---|",
        row("plain copy, memory is there", found["plain"], plain),
        row("plain copy, new memory", found["new"], plain),
        row("CheckpointHook(async_save=True)", found["background"], plain),
        row("the same, first save of a run", found["first"], plain),
        row("CheckpointHook(), flushed", found["at once"], plain),
        row("torch.save, not flushed", found["torch.save"], plain),
    ]
    if other is not None:
        lines.append(
            row("MMEngine's save_checkpoint, not flushed", other["MMEngine"], statistics.median(other["plain"]))
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reference-python", help="an interpreter with mmengine and the same torch")
    parser.add_argument("--folder", type=Path, help="where files are written for the time being; a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", choices=["ours", "mmengine"], default="ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.engine == "mmengine":
            print(json.dumps(reference(Path(folder), options.rounds)))
            return
        found = ours(Path(folder), options.rounds, options.device)
    other = None
    if options.reference_python:
        command = [options.reference_python, __file__, "--engine", "mmengine", "--rounds", str(options.rounds)]
        command += ["--folder", str(options.folder)] if options.folder else []
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir())
        if done.returncode:
            sys.exit(f"the reference failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        other = json.loads(done.stdout.strip().splitlines()[-1])
    print(table(options, found, other))


if __name__ == "__main__":
    main()
