"""How a worker process settles in: with signals that are meant for the run, and memory that is its parent's."""

from __future__ import annotations

import gc
import signal
from types import FrameType


def settle_in() -> None:
    """What every worker does first."""
    outlive_signals()
    # The garbage collector writes into the header of every object that it looks at: a forked worker would copy the
    # pages of all objects of its parent, which it can never free.
    gc.freeze()


def outlive_signals() -> None:
    """Let the first SIGINT and SIGUSR1 that reach this worker pass.

    A terminal sends Ctrl-C to all processes of a run. The main process saves at the end of its step, for which it needs
    its workers; they end with it, or at a second signal. SIGTERM stays as torch has it: that is how workers are ended.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _let_pass)


def _let_pass(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
