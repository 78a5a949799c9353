"""Writes checkpoints in the background: a copy is taken at once, a thread writes it, and what follows comes after."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from drivetrain.errors import CheckpointError
from drivetrain.logging import print_log

from ._staging import Staging

Job = Callable[[], None]


class Batch:
    """What one save consists of: files to write, and what to do once they are complete, in order."""

    def __init__(self, staging: Staging | None) -> None:
        self._staging = staging
        self.jobs: list[Job] = []
        self.taken: list[Any] = []

    def add(self, plain: Any, write: Callable[[Any], None]) -> None:
        """Write `plain`, which `encode` returned: now, or from a copy that is made now."""
        if self._staging is None:
            write(plain)
            return
        copied, taken = self._staging.copy(plain)
        self.taken += taken
        self.jobs.append(lambda: write(copied))

    def then(self, job: Job) -> None:
        """Do something after what stands before it in this save; not done when that failed."""
        if self._staging is None:
            job()
        else:
            self.jobs.append(job)


class CheckpointWriter:
    """Writes what `save_checkpoint` is asked for inside `with writer.saving():`, one save after the other.

    In the background the block ends once the tensors are copied; the process does not end before the file is written.

    Args:
        background: write in a thread of its own; else at once.
    """

    def __init__(self, background: bool) -> None:
        self._staging = Staging() if background else None
        self._thread: threading.Thread | None = None
        self.failure: CheckpointError | None = None
        _writers.add(self)

    @property
    def busy(self) -> bool:
        """Whether a save is being written."""
        return self._thread is not None and self._thread.is_alive()

    @contextlib.contextmanager
    def saving(self) -> Iterator[Batch]:
        """Collect one save; it waits for the former one.

        Raises:
            CheckpointError: the former one failed.
        """
        self.wait()
        batch = Batch(self._staging)
        token = _current.set(batch)
        try:
            yield batch
        finally:
            _current.reset(token)
        if batch.jobs:
            # No daemon: the interpreter ends only after the file is complete.
            self._thread = threading.Thread(target=self._run, args=(batch,), name="checkpoint-writer")
            self._thread.start()

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            CheckpointError: a save failed, and nobody was told yet.
        """
        self.join()
        self.check()

    def join(self) -> None:
        """Wait until everything is written, or has failed."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Raise the error of a save that failed, once.

        Raises:
            CheckpointError: with the path and the cause.
        """
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _run(self, batch: Batch) -> None:
        try:
            for job in batch.jobs:
                job()
        except BaseException as error:
            self.failure = CheckpointError(f"a checkpoint could not be saved in the background: {error}")
            self.failure.__cause__ = error
            print_log(str(self.failure), "current", logging.ERROR)
        batch.jobs.clear()
        if self._staging is not None:
            self._staging.give_back(batch.taken)


_current: ContextVar[Batch | None] = ContextVar("checkpoint_batch", default=None)
_writers: weakref.WeakSet[CheckpointWriter] = weakref.WeakSet()


def current_batch() -> Batch | None:
    """The save that is being collected, None outside of one."""
    return _current.get()


def wait_for_saves() -> None:
    """Wait until everything that is being saved in the background is on the disk, or has failed."""
    for writer in list(_writers):
        writer.join()
