"""Ranks of one node that packed the same annotations keep them once.

Nobody waits for anybody: whoever is first under a key made of the node and the content writes where its memory is, the
others find that, map the same memory and let their own go. A rank whose annotations differ has another key; a rank that
fails, or never comes, is missed by none; where processes cannot see each other (containers of their own, another user)
each keeps its own.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Any

from torch import distributed as torch_dist

from drivetrain.dist import get_world_size


def the_one_of_this_node(fd: int, content: Any) -> int | None:
    """The open file of another process of this node with the same content, opened here; None if there is none.

    Args:
        fd: a memfd of this process, which is sealed: nobody can write to it from here on.
        content: its bytes.
    """
    if get_world_size() == 1 or not _sealed(fd):
        return None
    try:
        store = _store()
        key = f"drivetrain/annotations/{_node()}/{hashlib.blake2b(content, digest_size=32).hexdigest()}"
        first = store.compare_set(key, "", _address(fd)).decode()
    except Exception:  # whatever a store of any kind raises: sharing is a saving, not a need
        return None
    return None if first == _address(fd) else _opened(first)


def _store() -> Any:
    return torch_dist.distributed_c10d._get_default_store()


def _node() -> str:
    """Processes with the same name see each other's files: one machine, one user, one table of processes."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()}-{os.readlink('/proc/self/ns/pid')}-{os.getuid()}"


def _address(fd: int) -> str:
    state = os.fstat(fd)
    return f"{os.getpid()} {fd} {state.st_dev} {state.st_ino} {state.st_size}"


def _opened(address: str) -> int | None:
    """The file at an address, unless its owner closed it meanwhile."""
    pid, number, *identity = map(int, address.split())
    try:
        fd = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    state = os.fstat(fd)
    if [state.st_dev, state.st_ino, state.st_size] == identity:
        return fd
    os.close(fd)
    return None


def _sealed(fd: int) -> bool:
    """Close a memfd for writing; other files cannot be."""
    with suppress(ImportError, OSError, AttributeError):
        import fcntl

        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return True
    return False
