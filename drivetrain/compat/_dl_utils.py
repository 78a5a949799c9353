"""Helpers of `mmengine.utils.dl_utils` that no room of drivetrain has a use for."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor

from drivetrain.checkpoint import load_from_local
from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentError
from drivetrain.logging import MMLogger, print_log

P = ParamSpec("P")
R = TypeVar("R")

TORCH_VERSION = torch.__version__
"""Version of torch, text that compares as a version."""

_HASH = re.compile(r"-([a-f0-9]{6,})\.")


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Download a checkpoint, unless it was before, and load it. Nothing in the file is run.

    Args:
        url: address of the file.
        model_dir: folder to keep it in; torch.hub's cache by default.
        map_location: device to load tensors to, as for `torch.load`.
        progress: show a bar on stderr.
        check_hash: compare the file's SHA-256 with the one in its name, `<name>-<hash>.pth`.
        file_name: name to keep it under; that in the URL by default.

    Raises:
        CheckpointError: the file holds what must not be loaded, or is damaged.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        expected = _HASH.search(os.path.basename(urlparse(url).path)) if check_hash else None
        torch.hub.download_url_to_file(url, path, expected.group(1) if expected else None, progress=progress)
    return load_from_local(path, map_location)


def set_multi_processing(mp_start_method: str = "fork", opencv_num_threads: int = 0, distributed: bool = False) -> None:
    """Set how worker processes start, and how many threads each process uses.

    Args:
        mp_start_method: 'fork', 'spawn' or 'forkserver'.
        opencv_num_threads: threads of OpenCV, if it is installed; 0 switches its threads off.
        distributed: several processes share the machine: each gets one OpenMP and one MKL thread, unless the
            environment says otherwise.
    """
    if torch.multiprocessing.get_start_method(allow_none=True) != mp_start_method:
        torch.multiprocessing.set_start_method(mp_start_method, force=True)
    if importlib.util.find_spec("cv2") is not None:
        importlib.import_module("cv2").setNumThreads(opencv_num_threads)
    if distributed:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("MKL_NUM_THREADS", "1")


def mmcv_full_available() -> bool:
    """Whether mmcv is installed with its compiled operators."""
    return importlib.util.find_spec("mmcv") is not None and importlib.util.find_spec("mmcv._ext") is not None


def tensor2imgs(
    tensor: Tensor,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    to_bgr: bool = True,
) -> list[np.ndarray[Any, Any]]:
    """Normalised images as arrays in the range they had before.

    Args:
        tensor: (N, C, H, W) with 1 or 3 channels.
        mean: what was subtracted, a value a channel; 0 by default.
        std: what it was divided by, a value a channel; 1 by default.
        to_bgr: turn RGB into BGR; only for 3 channels.

    Returns:
        N contiguous arrays (H, W, C): uint8 for a uint8 tensor that was not normalised, else float32.

    Raises:
        ArgumentError: another shape, or as many values as channels were not given.
    """
    channels = tensor.shape[1] if tensor.ndim == 4 else 0
    if channels not in (1, 3):
        raise ArgumentError(f"tensor2imgs takes (N, 1 or 3, H, W), got a tensor of shape {tuple(tensor.shape)}.")
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ArgumentError(f"{name} must have a value for each of the {channels} channels, got {values!r}.")
    if channels == 1 and to_bgr:
        raise ArgumentError("one channel has no colours to turn around: give to_bgr=False.")
    if mean is not None or std is not None:
        shape = (1, channels, 1, 1)
        scale, shift = torch.tensor(std or [1.0] * channels), torch.tensor(mean or [0.0] * channels)
        tensor = tensor.detach().cpu().float() * scale.view(shape) + shift.view(shape)
    images = tensor.detach().cpu().permute(0, 2, 3, 1)
    return [np.ascontiguousarray(image) for image in (images.flip(3) if to_bgr else images).numpy()]


def torch_meshgrid(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The grid that one-dimensional tensors span, rows first (`indexing="ij"`)."""
    return torch.meshgrid(*tensors, indexing="ij")


def is_jit_tracing() -> bool:
    """Whether the caller is being traced by `torch.jit.trace`."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined]


class TimeCounter:
    """Measures how long a block or function takes, averaged over its runs: `with TimeCounter(tag="nms"): ...`.

    Counters with the same tag are one. A function that is decorated without a tag is counted under its name.

    Args:
        log_interval: report every so many runs.
        warmup_interval: run to begin measuring with, counted from 1.
        with_sync: wait for the accelerator before each reading of the clock; without, only the launch is timed.
        tag: name in the report.
        logger: logs the report; printed without one.

    Raises:
        ArgumentError: `warmup_interval` is below 1, or a `with` block has no tag.
    """

    instance_dict: dict[str, TimeCounter] = {}
    log_interval: int
    warmup_interval: int
    logger: MMLogger | None

    def __new__(
        cls,
        log_interval: int = 1,
        warmup_interval: int = 1,
        with_sync: bool = True,
        tag: str | None = None,
        logger: MMLogger | None = None,
    ) -> TimeCounter:
        if warmup_interval < 1:
            raise ArgumentError(f"warmup_interval is the run to begin with, 1 or more, got {warmup_interval}.")
        if tag is not None and tag in cls.instance_dict:
            return cls.instance_dict[tag]
        counter = super().__new__(cls)
        counter.log_interval, counter.warmup_interval, counter.logger = log_interval, warmup_interval, logger
        counter.with_sync, counter.tag = with_sync, tag
        counter._runs, counter._seconds, counter._start = 0, 0.0, 0.0
        if tag is not None:
            cls.instance_dict[tag] = counter
        return counter

    with_sync: bool
    tag: str | None
    _runs: int
    _seconds: float
    _start: float

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """`fn`, measured on the main process of a run."""
        if self.tag is None:
            self.tag = fn.__name__

        @functools.wraps(fn)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return fn(*args, **kwargs)

        return measured if is_main_process() else fn

    def __enter__(self) -> TimeCounter:
        if self.tag is None:
            raise ArgumentError("a block has no name of its own: give TimeCounter(tag=...).")
        self._start = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = self._now() - self._start
        self._runs += 1
        if self._runs >= self.warmup_interval:
            self._seconds += elapsed
            if self._runs % self.log_interval == 0:
                self.print_time(elapsed)

    def print_time(self, elapsed: float) -> None:
        """Report the mean of the runs so far, of which the last took `elapsed` seconds."""
        mean = self._seconds / (self._runs - self.warmup_interval + 1)
        message = f"[{self.tag}]-time per run averaged in the past {self._runs} runs: {mean * 1000:.1f} ms"
        print_log(message, self.logger)

    def _now(self) -> float:
        if self.with_sync and torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter()
