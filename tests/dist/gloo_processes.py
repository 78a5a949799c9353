"""Run a function on several processes joined by gloo, and get what each returned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def _process(rank: int, world_size: int, function: Callable[..., Any], folder: str, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    result = function(rank, *args)
    torch.save(result, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def run_on_processes(function: Callable[..., Any], *args: Any, world_size: int = 2) -> list[Any]:
    """What `function(rank, *args)` returned on each process, in rank order; an error on one is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_process, (world_size, function, folder, args), nprocs=world_size)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(world_size)]
