"""Join the processes that a launcher started: torchrun, Slurm or Open MPI."""

from __future__ import annotations

import datetime
import os
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as torch_dist

from drivetrain.device import get_device
from drivetrain.errors import ArgumentError, NotFoundError, did_you_mean

DEFAULT_PORT = "29500"


def infer_launcher() -> str:
    """The launcher that started this process, judged by its environment: 'pytorch', 'slurm', 'mpi' or 'none'."""
    signs = {"WORLD_SIZE": "pytorch", "SLURM_NTASKS": "slurm", "OMPI_COMM_WORLD_LOCAL_RANK": "mpi"}
    return next((launcher for variable, launcher in signs.items() if variable in os.environ), "none")


def init_dist(launcher: str, backend: str = "nccl", init_backend: str = "torch", **kwargs: Any) -> None:
    """Initialise the default process group and choose this process's accelerator.

    Args:
        launcher: 'pytorch' (torchrun, torch.distributed.launch), 'slurm' or 'mpi' (Open MPI).
        backend: the backend of torch.distributed. 'nccl', the default, needs a CUDA GPU; on another device torch's
            default for that device is taken instead ('gloo' on the CPU), with a warning.
        init_backend: 'torch'; others belong to engines that bring their own.
        **kwargs: passed to `torch.distributed.init_process_group`; `timeout` may be seconds. 'slurm' takes `port` too.

    Raises:
        ArgumentError: the launcher or the init backend is unknown.
        NotFoundError: the launcher's environment variables are missing.
    """
    prepare = _PREPARE.get(launcher)
    if prepare is None:
        raise ArgumentError(
            f"launcher must be one of {', '.join(_PREPARE)}, got {launcher!r}.{did_you_mean(launcher, _PREPARE)}"
        )
    if init_backend != "torch":
        raise ArgumentError(f"init_backend must be 'torch', got {init_backend!r}: no other is part of drivetrain.")
    prepare(kwargs.pop("port", None))
    _choose_accelerator(int(os.environ["LOCAL_RANK"]))
    if type(kwargs.get("timeout")) in (int, float):
        kwargs["timeout"] = datetime.timedelta(seconds=kwargs["timeout"])
    torch_dist.init_process_group(backend=_usable_backend(backend), **kwargs)


def _usable_backend(backend: str) -> str:
    device = get_device()
    if backend != "nccl" or device == "cuda":
        return backend
    usable = torch_dist.get_default_backend_for_device(device)
    warnings.warn(f"backend 'nccl' needs a CUDA GPU and the device is {device!r}: using {usable!r}.", stacklevel=3)
    return usable


def _choose_accelerator(local_rank: int) -> None:
    count = torch.accelerator.device_count()
    if count:
        torch.accelerator.set_device_index(local_rank % count)


def _prepare_pytorch(port: int | None) -> None:
    _require("pytorch", "RANK", "WORLD_SIZE")
    os.environ.setdefault("LOCAL_RANK", os.environ["RANK"])
    _set_address(port)


def _prepare_slurm(port: int | None) -> None:
    _require("slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    if "MASTER_ADDR" not in os.environ:
        _require("slurm", "SLURM_NODELIST")
        os.environ["MASTER_ADDR"] = _first_host(os.environ["SLURM_NODELIST"])
    _set_ranks("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    _set_address(port)


def _prepare_mpi(port: int | None) -> None:
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")
    _require("mpi", "MASTER_ADDR", *names)
    _set_ranks(*names)
    _set_address(port)


def _set_ranks(rank: str, world_size: str, local_rank: str) -> None:
    """Hand on a launcher's variables under the names that torch reads."""
    for name, source in (("RANK", rank), ("WORLD_SIZE", world_size), ("LOCAL_RANK", local_rank)):
        os.environ[name] = os.environ[source]


def _set_address(port: int | None) -> None:
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    os.environ.setdefault("MASTER_PORT", DEFAULT_PORT)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")


def _first_host(node_list: str) -> str:
    """First host of Slurm's compact list (`node[03-07]`), as Slurm itself expands it."""
    shown = subprocess.run(["scontrol", "show", "hostname", node_list], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()[0].strip()


def _require(launcher: str, *names: str) -> None:
    missing = [name for name in names if name not in os.environ]
    if missing:
        starters = {"pytorch": "torchrun", "slurm": "srun", "mpi": "mpirun"}
        raise NotFoundError(
            f"launcher={launcher!r} reads {', '.join(missing)} from the environment and finds nothing there. "
            f"Start the program with {starters[launcher]}, or use launcher='none'."
        )


_PREPARE: dict[str, Callable[[int | None], None]] = {
    "pytorch": _prepare_pytorch, "slurm": _prepare_slurm, "mpi": _prepare_mpi,
}  # fmt: skip
