"""Mutated checkpoints and capsules, each read in this process under limits of memory and time; prints verdicts as JSON.

Usage: python fuzz_files.py FOLDER FIRST COUNT. FOLDER has `checkpoint.pth`, `capsule.pth` and `legacy.pth`; mutation number i is a
function of i alone.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from drivetrain.checkpoint import CheckpointLoader, save_checkpoint
from drivetrain.errors import DrivetrainError
from drivetrain.runner import load_capsule

SOURCES = ("checkpoint.pth", "capsule.pth", "legacy.pth")
EXTRA_MEMORY = 768 * 2**20
MOST_SECONDS = 10


def flipped(data: bytes, rng: random.Random, folder: str) -> bytes:
    """One to eight bits turned round."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncated(data: bytes, rng: random.Random, folder: str) -> bytes:
    """Cut off at the end, or at the beginning."""
    cut = rng.randrange(len(data))
    return data[:cut] if rng.random() < 0.8 else data[cut:]


def spliced(data: bytes, rng: random.Random, folder: str) -> bytes:
    """A piece doubled, left out, zeroed, or replaced by one of another file."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 4, 64, 512, 4096)))
    with open(os.path.join(folder, rng.choice(SOURCES)), "rb") as file:
        other = file.read()
    place = rng.randrange(len(other))
    pieces = (data[start:end] * 2, b"", bytes(end - start), other[place : place + end - start], rng.randbytes(4))
    return data[:start] + rng.choice(pieces) + data[end:]


def repickled(data: bytes, rng: random.Random, folder: str) -> bytes:
    """An archive whose pickle is mutated and whose checksums are right: only the reader of pickles can refuse it."""
    return with_pickle(data, rng.choice((flipped, truncated, spliced))(pickle_of(data), rng, folder))


def crafted(data: bytes, rng: random.Random, folder: str) -> bytes:
    """A pickle that would run something, or claims to be huge, or never ends."""
    ran = os.path.join(folder, "it_ran")
    programs: list[Callable[[], bytes]] = [
        lambda: pickle.dumps(Calling(rng.choice((os.mkdir, open, exec, eval, getattr, print)), ran), 2),
        lambda: pickle.dumps({"state_dict": {}, "meta": Calling(os.system, f"touch {ran}")}, 2),
        lambda: b"\x80\x02cposix\nsystem\nX" + len(ran).to_bytes(4, "little") + ran.encode() + b"\x85R.",
        lambda: b"\x80\x02cbuiltins\ngetattr\n(cbuiltins\ndict\nX\x0b\x00\x00\x00__getattr__tR.",
        lambda: b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc.",
        lambda: b"\x80\x04\x8d" + rng.choice((2**31, 2**62)).to_bytes(8, "little") + b"abc.",
        lambda: b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc.",
        lambda: b"\x80\x02" + b"(" * 10**5 + b"l" * 10**5 + b".",
        lambda: b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
        lambda: b"\x80\x02]q\x00" + b"h\x00h\x00\x86q\x00" * rng.choice((30, 5000)) + b".",
        lambda: b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
        lambda: b"\x80\x02cbuiltins\nrange\nK\x00J\xff\xff\xff\x7f\x86R.",
        lambda: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00(J\xff\xff\xff\x7ft(K\x01tNNtR.",
        lambda: b"\x80\x02ctorch\nzeros\nJ\xff\xff\xff\x7f\x85R.",
        lambda: b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",
        lambda: b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        lambda: b"\x80\x02ccollections\nCounter\n]\x85R.",
        lambda: b"\x80\x02" + rng.randbytes(rng.randrange(200)) + b".",
    ]
    made = rng.choice(programs)()
    return with_pickle(data, made) if rng.random() < 0.6 and is_archive(data) else made


def with_wrong_types(data: bytes, rng: random.Random, folder: str) -> bytes:
    """A well-formed file with something else under one of its keys, deep or not; also under the keys of our tags."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    places = list(holders(content))
    for _ in range(rng.choice((1, 1, 3))):
        holder, key = rng.choice(places)
        wrong = (
            None,
            0,
            -1,
            2**40,
            float("nan"),
            "text",
            b"",
            [],
            {},
            (),
            torch.zeros(0),
            torch.ones(2, 2),
            [[]],
            True,
        )
        wrong += ([2**40], {"shape": [2**40], "items": []}, {"shape": [2**62, 8], "dtype": "<f8", "raw": torch.ones(2)})
        wrong += (laughter(),)
        wrong += ("0x" + "f" * 10**5, [0, 2**62, 1], {0: 2**62}, [[1], -1], ["nothing", {}], [1e308, 1e308])
        holder[key] = rng.choice((*wrong, {"__drivetrain__": rng.choice(TAGS), "value": rng.choice(wrong)}))
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


TAGS = (
    *("bytes", "bytearray", "int", "complex", "set", "range", "slice", "deque", "Counter", "defaultdict", "path"),
    *("torch.dtype", "torch.device", "torch.Size", "ndarray", "numpy_scalar", "numpy_dtype", "HistoryBuffer", "dict"),
    *("OrderedDict", "new in a later version", 7),
)
MUTATIONS = (flipped, truncated, spliced, repickled, crafted, with_wrong_types)


def laughter() -> list[Any]:
    """A thousand bytes in a file, and a walk that never ends."""
    laugh: list[Any] = []
    for _ in range(50):
        laugh = [laugh, laugh]
    return laugh


class Calling:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def holders(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container inside that can be changed, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from holders(value[key])
    if isinstance(value, tuple):
        for item in value:
            yield from holders(item)


def is_archive(data: bytes) -> bool:
    return data.startswith(b"PK")


def pickle_of(data: bytes) -> bytes:
    if not is_archive(data):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    """The archive with another pickle, as torch itself would lay it out but for the padding."""
    if not is_archive(data):
        return pickled
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as made:
        for name in archive.namelist():
            made.writestr(name, pickled if name.endswith("data.pkl") else archive.read(name))
    return out.getvalue()


def mutated(number: int, folder: str) -> tuple[str, str, bytes]:
    """The name of the mutation, of its source, and the bytes."""
    rng = random.Random(number)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    source = SOURCES[number // len(MUTATIONS) % len(SOURCES)]
    with open(os.path.join(folder, source), "rb") as file:
        return mutation.__name__, source, mutation(file.read(), rng, folder)


def same(a: Any, b: Any) -> bool:
    """Whether two files hold equal content."""
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "to_dict"):
        return same(a.to_dict(), b.to_dict())
    if hasattr(a, "data") and hasattr(a, "statistics"):  # a HistoryBuffer
        return all(map(same, a.data, b.data))
    return bool(a == b) or a != a


def read(path: str, source: str) -> Any:
    return load_capsule(path) if source == "capsule.pth" else CheckpointLoader.load_checkpoint(path, "cpu", "silent")


def verdict(number: int, folder: str, originals: dict[str, Any]) -> str:
    """'refused', 'same', 'other content', or what went wrong."""
    name, source, data = mutated(number, folder)
    path = os.path.join(folder, "mutated.pth")
    with open(path, "wb") as file:
        file.write(data)
    signal.alarm(MOST_SECONDS)
    try:
        content = read(path, source)
        equal = name in ("flipped", "truncated", "spliced") and same(content, originals[source])
    except DrivetrainError as error:
        return "refused" if str(error) else "refused without a word"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    return "same" if equal else "other content"


def too_late(*_: Any) -> None:
    raise TimeoutError(f"not read after {MOST_SECONDS} seconds")


def write_sources(folder: str) -> None:
    """Files with everything that a run and the codec write."""
    from pathlib import Path

    from drivetrain.logging import HistoryBuffer
    from drivetrain.runner._capsule_batch import pack
    from drivetrain.structures import InstanceData

    weights = OrderedDict((f"layer{i}.weight", torch.randn(3, 4)) for i in range(3))
    run = {
        "meta": {"epoch": 1, "iter": 7, "cfg": "model = dict(type='ToyNet')\n", "seed": 7, "time": "20260101_000000"},
        "state_dict": weights,
        "message_hub": {"log_scalars": {"train/loss": HistoryBuffer([1.0, 2.0], [1, 1])}, "runtime_info": {"iter": 7}},
        "optimizer": {
            "state": {0: {"momentum_buffer": torch.ones(3, 4)}},
            "param_groups": [{"lr": 0.1, "params": [0]}],
        },
        "param_schedulers": [{"last_step": 3, "base_values": [0.1]}],
        "drivetrain": {
            "format": 1,
            "random": {
                "python": random.getstate(),
                "numpy": np.random.get_state(legacy=False),
                "torch": torch.get_rng_state(),
            },
            "odd": [np.float64(2.5), np.arange(3), Path("a/b"), {1, 2}, slice(1, 2), torch.float16, 2**4000, range(3)],
        },
    }
    facts = {
        "format": 1, "error": "ValueError", "message": "boom", "traceback": "", "step": 8, "moment": "before the update",
        "random": "at the crash", "left_out": [], "checkpoint": None, "max_iters": 15, "batch_idx": 2,
    }  # fmt: skip
    batch = {"inputs": torch.randn(2, 3), "samples": [InstanceData(boxes=torch.ones(2, 4))]}
    save_checkpoint(run, os.path.join(folder, "checkpoint.pth"))
    save_checkpoint({**run, "capsule": facts, "batch": pack(batch, [])}, os.path.join(folder, "capsule.pth"))
    legacy = os.path.join(folder, "legacy.pth")
    torch.save(
        {"meta": {"epoch": 1, "iter": 7}, "state_dict": dict(weights)}, legacy, _use_new_zipfile_serialization=False
    )


def main(folder: str, first: int, count: int) -> None:
    """Judge mutations and print the verdicts as JSON: number -> verdict."""
    torch.set_num_threads(1)
    write_sources(folder)
    originals = {source: read(os.path.join(folder, source), source) for source in SOURCES}
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + EXTRA_MEMORY, used + EXTRA_MEMORY))
    signal.signal(signal.SIGALRM, too_late)
    print(json.dumps({number: verdict(number, folder, originals) for number in range(first, first + count)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
