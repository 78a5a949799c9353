"""The machine and the versions that a run depends on."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from drivetrain.version import CONTRACT_VERSION, __version__

from ._kind import is_cuda_available, is_musa_available

_SECONDS = 5.0


def collect_env() -> OrderedDict[str, object]:
    """The platform, the devices, the compilers and the versions, by the names that OpenMMLab's reports use.

    It takes a fraction of a second: a command that is missing or hangs gives 'n/a', and no package is imported that
    was not.

    >>> [key for key in collect_env() if key in ("sys.platform", "PyTorch", "MMEngine")]
    ['sys.platform', 'PyTorch', 'MMEngine']
    """
    facts: OrderedDict[str, object] = OrderedDict()
    facts["sys.platform"] = sys.platform
    facts["Python"] = sys.version.replace("\n", "")
    facts["CUDA available"] = is_cuda_available()
    facts["MUSA available"] = is_musa_available()
    facts["numpy_random_seed"] = int(np.random.get_state(legacy=True)[1][0])  # type: ignore[index,unused-ignore]
    facts.update(_gpus())
    facts["GCC"] = _first_line(["gcc", "--version"])
    if platform.system() == "Windows":
        facts["MSVC"] = _first_line(["cl"])
    facts["PyTorch"] = torch.__version__
    facts["PyTorch compiling details"] = torch.__config__.show()
    facts.update(_versions())
    facts["MMEngine"] = f"{CONTRACT_VERSION} (contract, kept by drivetrain {__version__})"
    return facts


def _gpus() -> Iterator[tuple[str, object]]:
    """The GPUs, those of one name together, and the CUDA toolkit."""
    if not is_cuda_available():
        return
    by_name: dict[str, list[str]] = defaultdict(list)
    for index in range(torch.cuda.device_count()):
        by_name[torch.cuda.get_device_name(index)].append(str(index))
    yield from ((f"GPU {','.join(indices)}", name) for name, indices in by_name.items())
    home = _cuda_home()
    yield "CUDA_HOME", home
    if home is not None:
        yield "NVCC", _last_line([str(Path(home, "bin", "nvcc")), "-V"])


def _cuda_home() -> str | None:
    """The folder of the CUDA toolkit: as the environment says, of the `nvcc` that is found, or the usual one."""
    given = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if given:
        return given
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        return str(Path(nvcc).resolve().parent.parent)
    return "/usr/local/cuda" if os.path.isdir("/usr/local/cuda") else None


def _versions() -> Iterator[tuple[str, object]]:
    """The versions of the packages that images are read with, where these are installed."""
    if (torchvision := _version("torchvision")) is not None:
        yield "TorchVision", torchvision
    if importlib.util.find_spec("cv2") is not None:
        names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
        yield "OpenCV", next(filter(None, map(_version, names)), "n/a")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str:
    return (_lines(command) or ["n/a"])[0]


def _last_line(command: list[str]) -> str:
    return (_lines(command) or ["n/a"])[-1]


def _lines(command: list[str]) -> list[str]:
    """What a command prints, line by line; nothing if it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return (done.stdout or done.stderr).strip().splitlines()
