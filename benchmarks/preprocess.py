"""Milliseconds and memory from uint8 images to one normalised batch, against others and against what the memory allows.

    python benchmarks/preprocess.py --reference-python PYTHON [--timm-python PYTHON] [--device cuda]

Two batches: 16 images of a detector (600-800 x 900-1333, unequal, padded to a multiple of 32) and 256 of a classifier
(224 x 224, equal), RGB from BGR, `(x - mean) / std`. Each side takes each in a process of its own, on 1 thread and on
all; sides take turns by rounds. A figure is the median over rounds of a process's median call; what a call returned is
gone before the next begins, as in training.

- drivetrain: a plain list, a packed one (packed before, as workers do), and the stacked batch.
- MMEngine: list and stacked. PYTHON is an interpreter with mmengine==0.10.7 and the same torch.
- timm's PrefetchLoader and torchvision.transforms.v2: the stacked batch. They do the same arithmetic there, but swap no
  channels: mean and std are given to them in BGR order.
- limit: bytes that are read and written, over the bandwidth of a copy between tensors of that process that exist
  already. On a GPU: the bytes of the images, over the bandwidth of one copy from pinned memory.

`times ours` is against drivetrain's plain list in float32. Memory is the growth of the process's peak (VmHWM, reset
before; it counts what tensors really touch) over what it had with its inputs; on a GPU what torch allocated beyond the
inputs. Last, whether the values are those of drivetrain's list, bit by bit.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CASES = ("16 unequal", "256 equal")
SIDES = {
    "16 unequal": ("drivetrain list", "drivetrain packed", "mmengine list"),
    "256 equal": ("drivetrain list", "drivetrain packed", "drivetrain stacked", "mmengine list", "mmengine stacked",
                  "timm stacked", "torchvision stacked"),
}  # fmt: skip


def images_of(case):
    seed = torch.Generator().manual_seed(0)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=seed))

    sizes = [(draw(600, 800), draw(900, 1333)) for _ in range(16)] if case == CASES[0] else [(224, 224)] * 256
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=seed) for size in sizes]


def inputs_of(images, form, device):
    if form == "packed":
        from drivetrain.tensors import PackedList

        packed = PackedList.pack(images)
        return packed.pin_memory() if device == "cuda" else packed
    if form == "stacked":
        images = torch.stack(images)
    if device != "cuda":
        return images
    return images.pin_memory() if form == "stacked" else [image.pin_memory() for image in images]


def by_engine(engine, case, dtype, device):
    model = importlib.import_module(f"{engine}.model")
    importlib.import_module(f"{engine}.logging").MMLogger.get_instance("benchmark", log_level="ERROR")
    extra = {"output_dtype": dtype} if engine == "drivetrain" and dtype != "fp32" else {}
    divisor = 32 if case == CASES[0] else 1
    preprocessor = model.ImgDataPreprocessor(
        MEAN, STD, pad_size_divisor=divisor, bgr_to_rgb=True, non_blocking=device == "cuda", **extra
    ).to(device)
    return lambda inputs: preprocessor({"inputs": inputs}, True)["inputs"]


def by_timm(device):
    from timm.data.loader import PrefetchLoader

    unit = [value / 255 for value in MEAN[::-1]], [value / 255 for value in STD[::-1]]
    where = torch.device(device)

    def run(inputs):
        loader = PrefetchLoader([(inputs, torch.zeros(1))], *unit, device=where)
        return next(iter(loader))[0]

    return run


def by_torchvision(device):
    from torchvision.transforms import v2

    steps = v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(MEAN[::-1], STD[::-1])])
    return lambda inputs: steps(inputs.to(device, non_blocking=True))


def function_of(side, case, dtype, device):
    name = side.split()[0]
    if name == "timm":
        return by_timm(device)
    return by_torchvision(device) if name == "torchvision" else by_engine(name, case, dtype, device)


def median_call(call, device, seconds):
    """Seconds of a call whose result the one before it has freed."""
    taken = []
    end = time.perf_counter() + seconds
    while len(taken) < 7 or time.perf_counter() < end:
        start = time.perf_counter()
        out = call()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        del out
    return statistics.median(taken[2:])


def bandwidth(device):
    """Bytes a second of a copy: read and written on the CPU, moved from pinned memory to a GPU."""
    source, target = torch.zeros(2**25), torch.zeros(2**25)
    if device == "cuda":
        source, target = source.pin_memory(), target.cuda()
    size = source.numel() * 4 * (1 if device == "cuda" else 2)
    return size / median_call(lambda: target.copy_(source, non_blocking=True), device, 0.3)


def resident(name):
    """VmRSS or VmHWM of this process in bytes; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def peak_of(call, device):
    """Bytes that a call takes beyond what is there, its result included."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return 0
    call()
    return max(0, resident("VmHWM") - before)


def is_silent(call):
    """Whether torch finds no wait for the device in a call."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "silent"


def digest_of(batch, side):
    if side.split()[0] in ("timm", "torchvision"):
        batch = batch.flip(1)  # they were given BGR numbers and leave the order alone
    return hashlib.sha256(batch.contiguous().float().cpu().numpy()).hexdigest()


def run_side(options):
    """Measure one side in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    side, case, device = options.side, options.case, options.device
    try:
        function = function_of(side, case, options.dtype, device)
        form = side.split()[1]
        inputs = inputs_of(images_of(case), form, device)
    except ImportError as error:
        return {"missing": str(error)}
    first = peak_of(lambda: function(inputs), device)  # the first call: heaps are as empty as a run finds them
    batch = function(inputs)
    batch_bytes = batch.numel() * batch.element_size()
    read = sum(image.numel() for image in inputs)
    digest = digest_of(batch, side)
    del batch
    seconds = median_call(lambda: function(inputs), device, options.seconds)
    moved = read if device == "cuda" else read + batch_bytes
    result = {"ms": seconds * 1e3, "limit": moved / bandwidth(device) * 1e3, "peak": first / 1e6, "digest": digest}
    result["peak"] = max(first, peak_of(lambda: function(inputs), device)) / 1e6
    if device == "cuda":
        result["sync"] = is_silent(lambda: function(inputs))
    return result


def start(side, case, threads, dtype, python, options, folder):
    """One round of a side in a process of its own."""
    out = Path(folder) / "result.json"
    out.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    if side.startswith("drivetrain"):
        environment["PYTHONPATH"] = str(HERE.parent)
    command = [python, str(HERE / "preprocess.py"), "--side", side, "--case", case, "--threads", str(threads)]
    command += ["--dtype", dtype, "--device", options.device, "--seconds", str(options.seconds), "--out", str(out)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        return {"missing": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    return json.loads(out.read_text(encoding="utf-8"))


def rows_of(options):
    """What to measure: case, threads, side and dtype."""
    threads = [1] if options.device == "cuda" else sorted({1, os.cpu_count() or 1})
    for case in CASES:
        for count in threads:
            for side in SIDES[case]:
                dtypes = ("fp32", "bf16") if side.startswith("drivetrain") else ("fp32",)
                for dtype in dtypes:
                    yield case, count, side, dtype


def table(results, options):
    last = " sync |" if options.device == "cuda" else ""
    columns = "| batch | threads | side | output | ms | times the limit | times ours | peak MB | same values |"
    print(columns + last)
    print("|---|---|---|---|---|---|---|---|---|" + ("---|" if last else ""))
    for key, rounds in results.items():
        case, threads, side, dtype = key
        if "missing" in rounds[0]:
            print(f"| {case} | {threads} | {side} | {dtype} | not run: {rounds[0]['missing'][:80]} |||||{last and '|'}")
            continue
        ours = results[case, threads, "drivetrain list", "fp32"]
        mid = {name: statistics.median(r[name] for r in rounds) for name in ("ms", "limit", "peak")}
        share = statistics.median(r["ms"] / o["ms"] for r, o in zip(rounds, ours, strict=True))
        limit = statistics.median(r["ms"] / r["limit"] for r in rounds)
        same = ("yes" if rounds[0]["digest"] == ours[0]["digest"] else "no") if dtype == "fp32" else "-"
        figures = [f"{mid['ms']:.2f}", f"{limit:.2f}", f"{share:.2f}", f"{mid['peak']:.0f}"]
        cells = [case, threads, side, dtype, *figures, same]
        print(f"| {' | '.join(map(str, cells))} |" + (f" {rounds[0]['sync']} |" if last else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", help="interpreter with mmengine==0.10.7")
    parser.add_argument("--timm-python", help="interpreter with timm")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each side in a round")
    for name in ("side", "case", "dtype"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        options.out.write_text(json.dumps(run_side(options)), encoding="utf-8")
        return 0
    pythons = {"mmengine": options.reference_python, "timm": options.timm_python or sys.executable}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for key in rows_of(options):
                case, threads, side, dtype = key
                python = pythons.get(side.split()[0], sys.executable)
                rounds = results.setdefault(key, [])
                if not python:
                    rounds.append({"missing": "no --reference-python"})
                elif not (rounds and "missing" in rounds[0]):
                    rounds.append(start(side, case, threads, dtype, python, options, folder))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores{load}, Python {platform.python_version()}, torch "
          f"{torch.__version__}, {options.device}; medians of {options.rounds} rounds\n")  # fmt: skip
    table(results, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
