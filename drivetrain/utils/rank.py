"""Rank and world size without importing torch: torch.distributed if it runs, else the launcher's environment."""

from __future__ import annotations

import os
import sys


def _initialised_dist() -> object | None:
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def process_rank() -> int:
    """Rank of this process, 0 when nothing is distributed."""
    dist = _initialised_dist()
    return int(dist.get_rank()) if dist else int(os.environ.get("RANK", "0"))  # type: ignore[attr-defined]


def process_count() -> int:
    """Number of processes, 1 when nothing is distributed."""
    dist = _initialised_dist()
    return int(dist.get_world_size()) if dist else int(os.environ.get("WORLD_SIZE", "1"))  # type: ignore[attr-defined]
