"""Find the lines that ask the system for random bits or the time, which no seed governs."""

from __future__ import annotations

import linecache
import os
import random
import sys
import sysconfig
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

_CLOCKS = frozenset(name for name in dir(time) if name.removesuffix("_ns") in ("time", "monotonic", "perf_counter"))
_RANDOM = os.path.normcase(random.__file__)
_PACKAGES = tuple(
    os.path.normcase(os.path.dirname(str(module.__file__))) + os.sep
    for module in (np, torch, sys.modules["drivetrain"])
)
_STDLIB = os.path.normcase(sysconfig.get_path("stdlib")) + os.sep
_INSTALLED = os.path.normcase(sysconfig.get_path("purelib")) + os.sep


class EntropyTrace:
    """Notes, while it is entered, each place from which the system was asked for random bits, or for the time.

    Attributes:
        found: pairs of what was asked for and `file:line: source`, in the order of their first call.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], None] = {}
        self._previous: Callable[..., Any] | None = None

    def __enter__(self) -> EntropyTrace:
        self._previous = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(self._previous)

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        what = _asked_in_python(frame) if event == "call" else _asked_in_c(argument) if event == "c_call" else ""
        if what:
            place = place_of(frame)
            if place:
                self.found[what, place] = None


def _asked_in_python(frame: FrameType) -> str:
    code = frame.f_code
    if code.co_name not in ("seed", "getrandbits", "random") or os.path.normcase(code.co_filename) != _RANDOM:
        return ""
    if type(frame.f_locals.get("self")) is random.SystemRandom:
        return "random bits of the system"
    return "a seed from the system" if code.co_name == "seed" and frame.f_locals.get("a", 0) is None else ""


def _asked_in_c(function: Any) -> str:
    name, module = getattr(function, "__name__", ""), getattr(function, "__module__", "")
    if name == "urandom" and module in ("posix", "nt"):
        return "random bits of the system"
    if name == "seed" and type(getattr(function, "__self__", None)) is torch.Generator:
        return "a seed from the system"
    return "the time" if module == "time" and name in _CLOCKS else ""


def place_of(frame: FrameType | None) -> str:
    """File, line and source of the innermost frame that is neither Python's own nor torch's, NumPy's or ours."""
    while frame is not None:
        file = os.path.normcase(frame.f_code.co_filename)
        own = not file.startswith(_PACKAGES) and (not file.startswith(_STDLIB) or file.startswith(_INSTALLED))
        if own and not file.startswith("<"):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}: {linecache.getline(file, frame.f_lineno).strip()}"
        frame = frame.f_back
    return ""
