"""What a worker process does when it starts."""

from __future__ import annotations

import random
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch


def worker_init_fn(
    worker_id: int, num_workers: int, rank: int, seed: int, disable_subprocess_warning: bool = False
) -> None:
    """Seed `random`, NumPy and torch of a worker with `num_workers * rank + worker_id + seed`.

    Args:
        worker_id: number of the worker in its loader.
        num_workers: workers of the loader.
        rank: rank of the process that owns the loader.
        seed: the seed of the run.
        disable_subprocess_warning: silence warnings in every worker but the first.
    """
    own = num_workers * rank + worker_id + seed
    np.random.seed(own % 2**32)
    random.seed(own)
    torch.manual_seed(own)
    if disable_subprocess_warning and worker_id != 0:
        warnings.simplefilter("ignore")


def reseeded(init: Any, old: int | None, seed: int) -> Any:
    """`init` with another seed, where it is the function above with the old one; anything else as it is."""
    given = getattr(init, "keywords", {})
    if getattr(init, "func", None) is worker_init_fn and given.get("seed") == old:
        return partial(worker_init_fn, **{**given, "seed": seed})
    return init
