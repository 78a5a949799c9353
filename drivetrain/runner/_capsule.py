"""A crash capsule: the batch and the state of a training step that failed, in a file from which it can be run again."""

from __future__ import annotations

import glob
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from drivetrain.checkpoint import encode, find_latest_checkpoint, save_checkpoint
from drivetrain.errors import ArgumentError, ArgumentTypeError, CheckpointError, NonFiniteError, did_you_mean
from drivetrain.hooks import RollBack
from drivetrain.typing import StateDict

from ._capsule_batch import pack
from ._state import collect_meta, collect_schedulers, random_state
from ._taps import Taps

FORMAT = 1
"""Number of the layout; raised when a reader of the old one could not follow."""

_MOST_TEXT = 20_000
_STEPS = ("run_iter", "_step")
# Where saving fails, a capsule has no place either; RollBack is no failure.
_NO_FAULT_OF_A_STEP = (RollBack, OSError, CheckpointError)


@dataclass
class CrashGuard:
    """Writes a capsule when a training step fails.

    Args:
        is_on: whether it does.
        keep: how many capsules stay in the work dir, the newest.
        max_bytes: what weights and optimizer may take; above it they are left out, and the capsule names the newest
            checkpoint instead. A batch above it is left out too.
        rng: note the states of the random generators before each step, at some microseconds a step. Without, the
            capsule has those at the crash: what the step drew before it failed is drawn again from other numbers.

    Raises:
        ArgumentError: a count is below 1.
    """

    is_on: bool = True
    keep: int = 2
    max_bytes: int = 2**30
    rng: bool = False
    _noted: StateDict | None = field(default=None, init=False, repr=False)

    @classmethod
    def parse(cls, given: Any) -> CrashGuard:
        """The guard from the runner's argument: True, False, or a dict of the arguments `keep`, `max_bytes` and `rng`.

        Raises:
            ArgumentTypeError: it is something else.
            ArgumentError: a setting is unknown.
        """
        if type(given) is bool:
            return cls(is_on=given)
        if not hasattr(given, "items"):
            raise ArgumentTypeError(f"capsule must be True, False or a dict of settings, got {given!r}.")
        settings = ("keep", "max_bytes", "rng")
        for name in given:
            if name not in settings:
                hint = did_you_mean(str(name), settings)
                raise ArgumentError(f"capsule has no setting {name!r}.{hint} It has {', '.join(settings)}.")
        return cls(**given)

    def __post_init__(self) -> None:
        for name in ("keep", "max_bytes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ArgumentError(f"{name} of capsule must be a whole number of at least 1, got {value!r}.")

    @contextmanager
    def around_training(self, runner: Any, loop: Any) -> Iterator[None]:
        """Write a capsule when an exception comes out of a step of `loop`; the exception goes on."""
        try:
            yield
        except Exception as error:
            if self.is_on and not issubclass(type(error), _NO_FAULT_OF_A_STEP):
                self._write_quietly(runner, loop, error)
            raise
        finally:
            self._noted = None

    @contextmanager
    def noting(self, loop: Any) -> Iterator[None]:
        """With `rng`, note random states before each step of `loop`; without, do nothing."""
        if not self.is_on or not self.rng:
            yield
            return
        taps, inner = Taps(), loop.train_step

        def train_step(data_batch: Any) -> Any:
            self._noted = random_state()
            return inner(data_batch)

        taps.replace(loop, "train_step", train_step)
        try:
            yield
        finally:
            taps.remove()

    def _write_quietly(self, runner: Any, loop: Any, error: Exception) -> None:
        """Write; whatever goes wrong is said in the log and does not hide `error`."""
        step = _failed_step(error, loop)
        if step is None and not issubclass(type(error), NonFiniteError):
            return
        try:
            path = self._write(runner, loop, error, step or {})
        except Exception as trouble:
            runner.logger.warning(f"No crash capsule could be written: {type(trouble).__name__}: {trouble}")
            return
        runner.logger.error(
            f"Training failed after {loop.iter} whole steps. Batch and state are in {path}; run the step again with: "
            f"drivetrain replay {path}"
        )

    def _write(self, runner: Any, loop: Any, error: Exception, step: Mapping[str, Any]) -> str:
        left_out: list[str] = []
        batch = pack(step.get("data_batch"), left_out)
        if _bytes_in(batch) > self.max_bytes:
            left_out.append(f"the batch: more than max_bytes={self.max_bytes}")
            batch = None
        content: StateDict = {
            "capsule": self._facts(runner, loop, error, step),
            "batch": batch,
            "meta": _kept("meta", lambda: collect_meta(runner, False, _position_of(loop)), left_out),
            "drivetrain": {"random": self._noted or random_state()},
            **self._state(runner, left_out),
        }
        content["capsule"]["left_out"] = left_out
        rank = f"_rank{runner.rank}" if runner.world_size > 1 else ""
        path = os.path.join(runner.work_dir, f"crash_{loop.iter}{rank}.capsule")
        save_checkpoint(content, path)
        self._rotate(runner.work_dir, rank)
        return path

    def _facts(self, runner: Any, loop: Any, error: Exception, step: Mapping[str, Any]) -> StateDict:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        has_saved = os.path.exists(os.path.join(runner.work_dir, "last_checkpoint"))
        checkpoint = find_latest_checkpoint(runner.work_dir) if has_saved else None
        return {
            "format": FORMAT,
            "error": type(error).__name__,
            "message": str(error)[:_MOST_TEXT],
            "traceback": text[-_MOST_TEXT:],
            "step": getattr(error, "step", None) or loop.iter + 1,
            "batch_idx": step.get("batch_idx"),
            "max_iters": loop.max_iters,
            "moment": _moment(error, step),
            "random": "before the step" if self._noted else "at the crash",
            "checkpoint": None if checkpoint is None else os.path.abspath(checkpoint),
            "config_file": str(getattr(runner.cfg, "filename", None) or ""),
        }

    def _state(self, runner: Any, left_out: list[str]) -> StateDict:
        """Weights, optimizer and what else a step depends on, without what cannot be had."""
        wrapper, strategy = runner.optim_wrapper, runner.strategy
        parts: dict[str, Callable[[], Any]] = {
            "state_dict": lambda: strategy.model_state_dict(runner.model),
            "optimizer": lambda: strategy.optim_state_dict(wrapper),
            "param_schedulers": lambda: collect_schedulers(runner.param_schedulers),
            "message_hub": lambda: runner.message_hub.state_dict(),
            "window": lambda: wrapper.window_state() if hasattr(wrapper, "window_state") else None,
        }
        tensors = list(runner.model.state_dict().values())
        needed = _bytes_in(tensors) + _bytes_in(_optimizer_tensors(wrapper))
        if needed > self.max_bytes:
            left_out.append(f"weights and optimizer: {needed} bytes, more than max_bytes={self.max_bytes}")
            parts = {"message_hub": parts["message_hub"]}
        collected = {name: _kept(name, take, left_out) for name, take in parts.items()}
        return {name: value for name, value in collected.items() if value is not None}

    def _rotate(self, folder: str, rank: str) -> None:
        """Remove all but the newest capsules."""
        found = glob.glob(os.path.join(glob.escape(folder), f"crash_[0-9]*{rank}.capsule"))
        for path in sorted(found, key=os.path.getmtime)[: -self.keep]:
            os.unlink(path)


def _failed_step(error: BaseException, loop: Any) -> Mapping[str, Any] | None:
    """The variables of the loop's step that `error` came through; None if it came from elsewhere.

    Looking them up in the traceback costs nothing while nothing fails.
    """
    found = None
    entry = error.__traceback__
    while entry is not None:
        names = entry.tb_frame.f_locals
        if entry.tb_frame.f_code.co_name in _STEPS and names.get("self") is loop and "data_batch" in names:
            found = dict(names)
        entry = entry.tb_next
    return found


def _moment(error: BaseException, step: Mapping[str, Any]) -> str:
    """Whether the weights are still those from before the step."""
    if not step or "outputs" in step:
        return "after the update"
    entry = error.__traceback__
    while entry is not None:
        owner = entry.tb_frame.f_locals.get("self")
        if entry.tb_frame.f_code.co_name == "step" and issubclass(type(owner), Optimizer):
            return "in the update"
        entry = entry.tb_next
    return "before the update"


def _position_of(loop: Any) -> StateDict:
    return {"epoch": loop.epoch, "iter": loop.iter}


def _kept(name: str, take: Callable[[], Any], left_out: list[str]) -> Any:
    """A part that can be saved; None, and a note, where it cannot."""
    try:
        part = take()
        encode(part)  # finds what cannot be saved; it copies no tensor
    except Exception as error:  # after an error of the device nothing on it can be read
        left_out.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return None
    return part


def _optimizer_tensors(wrapper: Any) -> list[Any]:
    members = wrapper.values() if hasattr(wrapper, "values") else [wrapper]
    optimizers = [getattr(member, "optimizer", None) for member in members]
    return [list(getattr(optimizer, "state", {}).values()) for optimizer in optimizers]


def _bytes_in(value: Any) -> int:
    """Bytes of all tensors inside nested containers."""
    if torch.is_tensor(value):
        return value.numel() * value.element_size()
    if hasattr(value, "values") and callable(value.values):
        return sum(map(_bytes_in, value.values()))
    return sum(map(_bytes_in, value)) if type(value) in (list, tuple) else 0
