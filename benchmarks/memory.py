"""Memory: annotations in a loader's workers, and validation of many samples.

    PYTHONPATH=. python benchmarks/memory.py [--annotations 2000000] [--start fork spawn] [--samples 1000000]
        [--only annotations validation]

Annotations: a `BaseDataset` read by 4 workers for 3 epochs, started by fork and by spawn. PSS (proportional set size:
each page divided by the number of processes that map it) of the process and its workers after each epoch, over that of
the same processes reading 100 annotations repeated as often; as a ratio to one serialised copy.

Validation: the Runner's own loop with a streaming metric over few and many samples, in processes of their own: the
difference of their peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.dataset import BaseDataset, RepeatDataset, build_dataloader
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

WORKERS, EPOCHS, BATCH = 4, 3, 2000
TINY = 100
ALL, OWN = ("Pss:",), ("Pss_Anon:", "Pss_Shmem:")
MB = 1e6


class Boxes(BaseDataset):
    """So many annotations of images with a label, a box and a few words."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [
            {
                "img_path": f"data/images/train/{place % 1000:04d}/{place:08d}.jpg",
                "label": place % 1000,
                "score": place / 7,
                "bbox": [place % 640, place % 480, place % 640 + 10.5, place % 480 + 20.5],
                "crowd": False,
                "words": [place % 50] * (place % 4),
            }
            for place in range(self.filter_cfg["count"])  # type: ignore[index]
        ]

    def prepare_data(self, idx: int) -> Tensor:
        return torch.tensor(self.get_data_info(idx)["label"])


def pss_mb(pid: int, kinds: tuple[str, ...] = ("Pss:",)) -> float:
    """PSS of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds)) * 1024 / MB


def measure_loading(count: int, start: str, form: Any) -> dict[str, Any]:
    """PSS of this process and its workers after each epoch over `count` annotations; below 0 over few, repeated."""
    begin = time.perf_counter()
    tiny = count < 0  # the same work over as many samples, with annotations that weigh nothing
    dataset: Any = Boxes(filter_cfg={"count": TINY if tiny else count}, serialize_data=form)
    copy = (dataset.data_bytes.nbytes + dataset.data_address.nbytes) / MB
    dataset = RepeatDataset(dataset, -count // TINY) if tiny else dataset
    loader = build_dataloader(
        {
            "dataset": dataset, "batch_size": BATCH, "num_workers": WORKERS, "persistent_workers": True,
            "sampler": {"type": "DefaultSampler", "shuffle": True}, "multiprocessing_context": start,
            "collate_fn": torch.stack, "pin_memory": False,
        },
        seed=0,
    )  # fmt: skip
    epochs = []
    for _ in range(EPOCHS):
        for _batch in loader:
            pass
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)]
        epochs.append([sum(pss_mb(pid, kinds) for pid in pids) for kinds in (ALL, OWN)])
    return {"pss": epochs, "copy": copy, "seconds": time.perf_counter() - begin}


def show_loading(count: int, starts: list[str]) -> None:
    """The table of the annotations."""
    print(f"{count} annotations, {WORKERS} workers; MB; PSS of all processes over that with a tiny dataset,")
    print("and in brackets without files, which are libraries that other programs of the machine map, too")
    epochs = "".join(f"{f'epoch {number + 1}':>16}" for number in range(EPOCHS))
    print(f"{'':18}{'one copy':>9}{epochs}{'worst ratio':>15}{'s':>6}")
    for start in starts:
        tiny = in_process("measure_loading", -count, start, True)
        for form in (True, "columns"):
            whole = in_process("measure_loading", count, start, form)
            over = [
                [ours - base for ours, base in zip(*pair, strict=True)]
                for pair in zip(whole["pss"], tiny["pss"], strict=True)
            ]
            ratios = [max(values) / whole["copy"] for values in zip(*over, strict=True)]
            cells = "".join(f"{f'{total:.1f} ({own:.1f})':>16}" for total, own in over)
            name = f"{start}, {'pickled' if form is True else form}"
            ratio = f"{ratios[0]:.2f} ({ratios[1]:.2f})"
            print(f"{name:18}{whole['copy']:9.1f}{cells}{ratio:>15}{whole['seconds']:6.0f}", flush=True)


class Labels(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Small samples that need no memory."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": torch.full((4,), float(index % 3)), "labels": torch.tensor(index % 3)}


class Scores(BaseModel):
    """A model that returns scores and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Any, labels: Any, mode: str = "tensor") -> Any:
        return self.linear(torch.stack(tuple(inputs))), torch.stack(tuple(labels))


def measure_validation(count: int) -> dict[str, Any]:
    """Peak resident memory of a process that validated `count` samples."""
    import torchmetrics

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            Scores(), folder, val_dataloader={"dataset": Labels(count), "batch_size": 100, "sampler": {
                "type": "DefaultSampler", "shuffle": False}}, val_cfg={},
            val_evaluator=torchmetrics.Accuracy(task="multiclass", num_classes=3, validate_args=False),
        )  # fmt: skip
        runner.val()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    return {"peak": peak, "seconds": time.perf_counter() - begin}


def show_validation(count: int) -> None:
    """The table of validation."""
    few, many = in_process("measure_validation", 1000), in_process("measure_validation", count)
    print(
        f"validation with a streaming metric: peak memory {few['peak']:.1f} MB after 1000 samples, "
        f"{many['peak']:.1f} MB after {count}: {many['peak'] - few['peak']:+.1f} MB ({many['seconds']:.0f} s)"
    )


def in_process(function: str, *args: Any) -> dict[str, Any]:
    """What a function of this file returns in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--call", json.dumps([function, args])]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return json.loads(lines[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=2_000_000)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=["annotations", "validation"])
    parser.add_argument("--start", nargs="+", choices=["fork", "spawn"], default=["fork", "spawn"])
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        function, args = json.loads(options.call)
        print(json.dumps(globals()[function](*args)))
        return
    if not options.only or "annotations" in options.only:
        show_loading(options.annotations, options.start)
    if not options.only or "validation" in options.only:
        show_validation(options.samples)


if __name__ == "__main__":
    main()
