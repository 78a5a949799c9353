"""What a batch costs the main process on its way out of a worker, by collate function; on a GPU, up to the network.

    python benchmarks/datapath.py [--reference-python PYTHON] [--rounds 5] [--steps 20] [--device cuda]

Two kinds of batch: 64 samples of 3 tensors (an image, a label, a box), and 16 detection samples of unequal images, with
boxes, labels and masks in data elements. One worker makes them and is always ahead: each `next(iterator)` is timed when
a batch has been waiting, so that what is timed is receiving it and letting go of the one before. CPU time is that of
the thread that trains. The collate functions take turns, round by round; the table shows medians over the rounds, and
the smallest and the largest ratio of a round.

The yardstick is a collate function of one line in a plain loader of torch, `{key: [sample[key] ...]}`, which runs
beside the others in every round. PYTHON is an interpreter with mmengine and the same torch; its `pseudo_collate`, data
elements and the yardstick run in a process of their own, and MMEngine's ratio is to the yardstick of that process.

`--device cuda` adds: 256 equal and 16 unequal uint8 images in batches that wait in pinned memory, to the device,
through `ImgDataPreprocessor`, to the end of the device's work, beside one copy of as many bytes from pinned memory.
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
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import default_collate as torch_collate

Collate = Callable[[list[Any]], Any]
Times = dict[str, list[tuple[float, float]]]
"""By row: CPU and wall seconds of each round."""


class Tensors(Dataset[dict[str, Any]]):
    """An image (3, 32, 32), a label and a box."""

    batch_size = 64

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.full((3, 32, 32), index % 255, dtype=torch.uint8)
        return {"img": image, "label": torch.tensor(index % 10), "box": torch.full((4,), float(index))}


class Detections(Tensors):
    """Unequal images, and a data element with boxes, labels and masks of up to ten objects."""

    batch_size = 16

    def __init__(self, length: int, structures: Any) -> None:
        super().__init__(length)
        self.structures = structures

    def __getitem__(self, index: int) -> dict[str, Any]:
        height, width, objects = 150 + index % 7 * 10, 200 + index % 5 * 12, index % 11
        sample = self.structures.BaseDataElement(
            metainfo={"img_shape": (height, width), "img_path": "a/b.jpg", "scale_factor": (0.5, 0.5), "flip": False}
        )
        sample.gt_instances = self.structures.InstanceData(
            bboxes=torch.full((objects, 4), 7.0),
            labels=torch.zeros(objects, dtype=torch.int64),
            masks=torch.zeros(objects, height // 4, width // 4, dtype=torch.bool),
        )
        return {"inputs": torch.full((3, height, width), 9, dtype=torch.uint8), "data_samples": sample}


def yardstick(samples: list[Any]) -> Any:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def received(data: Tensors, collate: Collate, steps: int) -> tuple[float, float]:
    """Median CPU and wall seconds of `next(iterator)` with a batch waiting."""
    loader = DataLoader(data, batch_size=data.batch_size, num_workers=1, collate_fn=collate, prefetch_factor=2)
    iterator: Any = iter(loader)
    batch = next(iterator)
    spent = []
    for _ in range(steps):
        while iterator._worker_result_queue.empty():
            time.sleep(0.001)
        time.sleep(0.005)  # the worker makes the next one meanwhile, and is quiet again
        cpu, wall = time.thread_time(), time.perf_counter()
        batch = next(iterator)
        spent.append((time.thread_time() - cpu, time.perf_counter() - wall))
    del batch, iterator
    return statistics.median(cpu for cpu, _ in spent), statistics.median(wall for _, wall in spent)


def rounds_of(data: Tensors, collates: dict[str, Collate], options: argparse.Namespace) -> Times:
    found: Times = {name: [] for name in collates}
    for _ in range(options.rounds):
        for name, collate in collates.items():
            found[name].append(received(data, collate, options.steps))
    return found


def both(structures: Any, plain: dict[str, Collate], stacking: dict[str, Collate], options: Any) -> dict[str, Times]:
    length = Tensors.batch_size * (options.steps + 8)
    return {
        "64 samples of 3 tensors": rounds_of(Tensors(length), {**plain, **stacking}, options),
        "16 detection samples": rounds_of(Detections(length, structures), plain, options),
    }


def reference(options: argparse.Namespace) -> dict[str, Times]:
    import mmengine.structures
    from mmengine.dataset import pseudo_collate

    return both(mmengine.structures, {"yardstick": yardstick, "MMEngine's pseudo_collate": pseudo_collate}, {}, options)


def ours(options: argparse.Namespace) -> dict[str, Times]:
    import drivetrain.structures
    from drivetrain.dataset import pack_collate, pseudo_collate

    plain = {"yardstick": yardstick, "pseudo_collate": pseudo_collate, "pack_collate": pack_collate}
    return both(drivetrain.structures, plain, {"torch's default_collate, stacked": torch_collate}, options)


def other_process(options: argparse.Namespace) -> dict[str, Times]:
    command = [options.reference_python, __file__, "--engine", "mmengine"]
    command += ["--rounds", str(options.rounds), "--steps", str(options.steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir())
    if done.returncode:
        sys.exit(f"the reference failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Times] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rows(times: Times) -> Iterator[str]:
    for name, measured in times.items():
        cpu, wall = (statistics.median(column) * 1e3 for column in zip(*measured, strict=True))
        ratios = [one[0] / unit[0] for one, unit in zip(measured, times["yardstick"], strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        yield f"| {name} | {cpu:.2f} | {wall:.2f} | {spread} |"


def table(found: dict[str, Times], other: dict[str, Times] | None) -> str:
    lines: list[str] = []
    for kind, times in found.items():
        lines += [f"| {kind} | CPU ms | wall ms | CPU, of the yardstick |", "|---|---|---|---|", *rows(times)]
        if other is not None:
            lines += [line.replace("yardstick", "yardstick, MMEngine's process") for line in rows(other[kind])]
        packed, plain = (statistics.median(cpu for cpu, _ in times[f"{name}_collate"]) for name in ("pack", "pseudo"))
        lines += ["", f"pseudo_collate / pack_collate, CPU: {plain / packed:.1f}", ""]
    return "\n".join(lines)


def equal_images(index: int) -> torch.Tensor:
    return torch.full((3, 224, 224), index % 255, dtype=torch.uint8)


def unequal_images(index: int) -> torch.Tensor:
    return torch.full((3, 600 + index * 37 % 200, 900 + index * 53 % 433), index % 255, dtype=torch.uint8)


def device_rows(options: argparse.Namespace) -> Iterator[str]:
    """From batches in pinned memory to normalised images; the limit is one copy of the same bytes."""
    from drivetrain.dataset import pack_collate, pseudo_collate
    from drivetrain.model import ImgDataPreprocessor
    from drivetrain.tensors import map_tensors

    yield "| from pinned memory to a normalised batch | collate | output | ms | of one copy of the bytes |"
    yield "|---|---|---|---|---|"
    for make, count in ((equal_images, 256), (unequal_images, 16)):
        samples = [{"inputs": make(index)} for index in range(count)]
        content = torch.empty(sum(sample["inputs"].nbytes for sample in samples), dtype=torch.uint8).pin_memory()
        copy = device_time(lambda content=content: content.to(options.device, non_blocking=True), options)
        for collate in (pseudo_collate, pack_collate):
            batch = collate(samples)
            inputs = batch["inputs"]
            pinned = (
                inputs.pin_memory() if hasattr(inputs, "pin_memory") else map_tensors(inputs, torch.Tensor.pin_memory)
            )
            for output in ("fp32", "bf16"):
                preprocessor = ImgDataPreprocessor(
                    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32,
                    non_blocking=True, output_dtype=output,
                ).to(options.device)  # fmt: skip
                spent = device_time(lambda pre=preprocessor, held=pinned: pre({"inputs": held}), options)
                name = f"{count} {'equal' if make is equal_images else 'unequal'} images"
                yield f"| {name} | {collate.__name__} | {output} | {spent * 1e3:.2f} | {spent / copy:.2f} |"


def device_time(call: Callable[[], Any], options: argparse.Namespace) -> float:
    """Median seconds from call to the end of the device's work."""
    spent = []
    for step in range(options.steps + 5):
        torch.accelerator.synchronize()
        start = time.perf_counter()
        call()
        torch.accelerator.synchronize()
        if step >= 5:  # the first ones get their memory from the driver, and compile
            spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reference-python", help="an interpreter with mmengine and the same torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", choices=["ours", "mmengine"], default="ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.engine == "mmengine":
        print(json.dumps(reference(options)))
        return
    found = ours(options)
    other = other_process(options) if options.reference_python else None
    print(
        f"torch {torch.__version__}, {platform.machine()}, one thread, {options.rounds} rounds of {options.steps} "
        f"batches, load of the machine {os.getloadavg()[0]:.1f}\n"
    )
    print(table(found, other))
    if options.device != "cpu":
        print("\n".join(device_rows(options)))


if __name__ == "__main__":
    main()
