"""What a run needs of its process: seeds, limits, start methods, and a record of it all for the log."""

from __future__ import annotations

import math
import operator
import os
import platform
import random
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch

from drivetrain.dist import get_rank, sync_random_seed
from drivetrain.errors import ArgumentTypeError, did_you_mean
from drivetrain.version import __version__

_last_start: list[float] = [0.0]
_ENV_KEYS = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")


def set_random_seed(seed: int | None = None, deterministic: bool = False, diff_rank_seed: bool = False) -> int:
    """Seed `random`, NumPy and torch (every device).

    Args:
        seed: the seed; by default one is drawn, the same on all ranks.
        deterministic: also ask torch for deterministic algorithms; slower, and an operator that has none raises.
        diff_rank_seed: add the rank to the seed, so that ranks draw different numbers.

    Returns:
        The seed before the rank was added.
    """
    if seed is None:
        seed = sync_random_seed()
    if hasattr(seed, "__index__"):
        seed = operator.index(seed)
    if type(seed) is not int:
        raise ArgumentTypeError(f"a seed must be an int or None, got {seed!r} of type {type(seed).__name__}.")
    own = seed + get_rank() if diff_rank_seed else seed
    random.seed(own)
    np.random.seed(own % 2**32)
    torch.manual_seed(own)
    if deterministic:
        if torch.backends.cudnn.benchmark:
            warnings.warn(
                "cudnn_benchmark picks kernels by timing and is switched off for deterministic=True.", stacklevel=2
            )
        torch.backends.cudnn.benchmark = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)
    return seed


def time_of_start() -> float:
    """The time for the name of a new run, in seconds; one second after that of the last run if that is not over.

    A run's log, hub and visualizer are found by its name, which holds the time: two runs must not have the same.
    """
    now = max(time.time(), _last_start[0] + 1)
    _last_start[0] = math.floor(now)
    return now


def setup_process(env_cfg: dict[str, Any], distributed: bool) -> None:
    """Apply `env_cfg`: cuDNN's benchmark mode, start method of workers, threads, limit of open files.

    Args:
        env_cfg: keys `cudnn_benchmark` (bool), `mp_cfg` (dict: `mp_start_method`, `opencv_num_threads`), `dist_cfg`
            (dict, for the strategy), `resource_limit` (open files, 4096 by default). Others are warned about.
        distributed: whether more than one process trains; then each gets one thread unless the environment says so.
    """
    for key in env_cfg:
        if key not in _ENV_KEYS:
            warnings.warn(
                f"env_cfg has the unknown key {key!r}, which has no effect.{did_you_mean(key, _ENV_KEYS)}", stacklevel=4
            )
    if env_cfg.get("cudnn_benchmark"):
        torch.backends.cudnn.benchmark = True
    _setup_workers(dict(env_cfg.get("mp_cfg") or {}), distributed)
    _raise_open_files(int(env_cfg.get("resource_limit", 4096)))


def _setup_workers(mp_cfg: dict[str, Any], distributed: bool) -> None:
    method = mp_cfg.get("mp_start_method")
    if method is not None and torch.multiprocessing.get_start_method(allow_none=True) != method:
        torch.multiprocessing.set_start_method(method, force=True)
    opencv = sys.modules.get("cv2")
    if opencv is not None:
        opencv.setNumThreads(mp_cfg.get("opencv_num_threads", 0))
    if distributed:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("MKL_NUM_THREADS", "1")


def _raise_open_files(wanted: int) -> None:
    """Loaders with many workers run out of file handles at the usual soft limit of 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def describe_environment(facts: dict[str, Any]) -> str:
    """A block for the log: the machine, the versions, and `facts` of this run."""
    rows: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "drivetrain": __version__,
        "torch": torch.__version__,
        "NumPy": np.__version__,
        "CPU threads": f"{torch.get_num_threads()} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')})",
        "interop threads": torch.get_num_interop_threads(),
        "float32 matmul": _float32_matmul(),
    }
    if torch.accelerator.is_available():
        rows["accelerator"] = f"{torch.accelerator.device_count()} x {_accelerator_name()}"
    if torch.cuda.is_available():
        rows["cuDNN benchmark"] = torch.backends.cudnn.benchmark
        rows["TF32"] = _tf32()
    rows.update(facts)
    width = max(map(len, rows))
    return "Environment:\n" + "\n".join(f"    {name:<{width}}  {value}" for name, value in rows.items())


def _float32_matmul() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set through torch's newer switches, which may differ by backend
        cuda, cpu = torch.backends.cuda, torch.backends.mkldnn
        return ", ".join(f"{name} {_setting(part)}" for name, part in (("CUDA", cuda), ("CPU", cpu)))


def _tf32() -> str:
    """Which float32 products CUDA rounds to TF32 inside, with 10 bits of the mantissa's 23."""
    settings = {
        "matrix products": _setting(torch.backends.cuda),
        "convolutions": _setting(torch.backends.cudnn, "conv"),
    }
    return ", ".join(f"{name} {'on' if setting == 'tf32' else 'off'}" for name, setting in settings.items())


def _setting(backend: Any, operation: str = "matmul") -> str:
    return str(getattr(backend, operation).fp32_precision)


def _accelerator_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    device = torch.accelerator.current_accelerator()
    return device.type if device is not None else "none"
