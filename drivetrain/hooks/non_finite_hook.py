"""What to do when a loss or gradient is not finite: stop, leave the update out, or go back to a checkpoint."""

from __future__ import annotations

import os
import re
from typing import Any, Union

from drivetrain.checkpoint import find_good_checkpoint, wait_for_saves
from drivetrain.errors import ArgumentError, ArgumentTypeError, NonFiniteError, did_you_mean
from drivetrain.fileio import join_path, put_text
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike, StateDict
from drivetrain.utils import Interval

from ._intervals import read_steps, steps_of
from ._non_finite import Finding, LogWatch, bad_weights, finite_names, in_words
from .hook import DATA_BATCH, Hook

_POLICIES = ("raise", "skip", "rollback")
_ROLLBACK = re.compile(r"rollback\((\d+)\)")


class RollBack(Exception):
    """Raised out of a training loop to have the run go on from its newest checkpoint.

    Args:
        hook: whose `roll_back` puts the run there.
        reason: what was found.
    """

    def __init__(self, hook: NonFiniteHook, reason: str) -> None:
        super().__init__(reason)
        self.hook = hook


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Notices losses and gradients that are NaN or infinite, without a device read of its own, and acts.

    The values are those that are logged anyway. They are looked at when a log point has read them, before a checkpoint
    is written, and at the latest after `interval` steps. Policies:

    - 'raise': end the run with an error that names the first bad step and its values. No checkpoint is written that
      holds the damage.
    - 'skip': leave out each update whose gradients are not finite, before it happens; schedules and averaged weights
      wait, `train/skipped_steps` counts. Reads one flag from the device at each update. What forward itself changes,
      such as statistics of batch norm, is not undone.
    - 'rollback': go back to the newest checkpoint of this run and train from there; up to the step at which the trouble
      was found, updates whose gradients are not finite are then left out as with 'skip'. 'rollback(2)' goes back to the
      one before the newest, and so on, as far as there are: trouble may have begun before it could be seen.

    With float16 the loss scale leaves out updates itself and an infinite norm is its daily bread: only losses count.

    Args:
        policy: 'raise', 'skip', 'rollback' or 'rollback(n)'.
        interval: steps after which values are looked at although no log point has read them; also '500it', '0.5ep'.
        watch: regular expression; values in whose name it is found decide. Others are only named.
        max_skips: updates left out in a row at which 'skip' gives up with an error.
        max_rollbacks: how often 'rollback' goes back before it gives up.

    Attributes:
        rollbacks: how often the run went back.

    Raises:
        ArgumentError: the policy is unknown, or a count below 1.
        ArgumentTypeError: an argument of a wrong type.
    """

    priority = "LOW"

    def __init__(
        self,
        policy: str = "raise",
        interval: Union[int, str] = 100,  # noqa: UP007
        watch: str = "loss|grad_norm",
        max_skips: int = 25,
        max_rollbacks: int = 3,
    ) -> None:
        self.policy, self.back = _parsed(policy)
        self._given_interval = read_steps("interval", interval)
        self.interval: int = 1 if type(self._given_interval) is Interval else self._given_interval
        self.watch = re.compile(watch)
        self.max_skips = _checked_count("max_skips", max_skips)
        self.max_rollbacks = _checked_count("max_rollbacks", max_rollbacks)
        self.rollbacks = 0
        self._log = LogWatch()
        self._flushes = 0
        self._known: frozenset[str] = frozenset()
        self._guarded_until = 0
        self._first_record: int | None = None
        self._has_started = False

    def before_train(self, runner: RunnerLike) -> None:
        """Begin to watch, and with 'skip' guard the updates."""
        if not self._has_started:
            self._has_started = True
            self.interval = steps_of("interval", self._given_interval, runner)
            self._known = finite_names(runner.model)
            # What another run has left in this folder is no place to go back to; what this one resumed from is.
            self._first_record = None if getattr(runner, "_resume", False) else _record_of(runner)
        runner.message_hub.retain(self.interval)
        self._log.mark(runner.message_hub, runner.iter)
        self._flushes = runner.message_hub.flush_count
        if self.policy == "skip" or self._guarded_until > runner.iter:
            _guard(runner, True)

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look, if a log point has just read the values, or nobody has for long."""
        done = runner.iter + 1
        if runner.message_hub.flush_count != self._flushes or self._log.steps_since(done) >= self.interval:
            self._look(runner, done)

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Look before the epoch's checkpoint."""
        self._look(runner, runner.iter)

    def after_train(self, runner: RunnerLike) -> None:
        """Stop guarding."""
        if self.policy != "raise":
            _guard(runner, False)

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Refuse to save damaged weights, or weights whose steps went wrong.

        Raises:
            NonFiniteError: they are; nothing is written.
        """
        step = checkpoint["meta"]["iter"]
        self._look(runner, step)
        bad = bad_weights([checkpoint["state_dict"], checkpoint.get("ema_state_dict", {})], self._known)
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            self._act(runner, f"the weights {bad[0]!r}{more} are not finite after step {step}", step)

    def state_dict(self) -> StateDict:
        """How often the run went back."""
        return {"rollbacks": self.rollbacks}

    def load_state_dict(self, state: StateDict) -> None:
        """Take over a count; going back does not lower it."""
        self.rollbacks = max(self.rollbacks, state["rollbacks"])

    def roll_back(self, runner: Any, reason: str) -> None:
        """Put the run where its newest checkpoint was saved.

        Raises:
            NonFiniteError: there is none, or the run went back too often.
        """
        self.rollbacks += 1
        if self.rollbacks > self.max_rollbacks:
            raise NonFiniteError(
                f"{reason}. The run went back {self.max_rollbacks} times already (max_rollbacks): it does not get past "
                f"this point. {_ADVICE}"
            )
        wait_for_saves()
        first, newest = self._first_record, _record_of(runner)
        since = 0 if first is None else first + 1
        path = None if newest == first else find_good_checkpoint(runner.work_dir, back=self.back - 1, since=since)
        if path is None:
            raise NonFiniteError(
                f"{reason}, and policy='rollback' finds no checkpoint of this run in {runner.work_dir} to go back to. "
                f"Save earlier, such as CheckpointHook(by_epoch=False, interval=500), or use policy='skip'. {_ADVICE}"
            )
        runner.logger.warning(f"{reason}. Going back to {path} ({self.rollbacks} of {self.max_rollbacks} times).")
        if self.back > 1:  # a run that ends now must not go on from what is newer
            put_text(path, join_path(runner.work_dir, "last_checkpoint"))
        runner.resume(path)

    def _look(self, runner: RunnerLike, step: int) -> None:
        findings = self._log.look(runner.message_hub, step)
        self._flushes = runner.message_hub.flush_count
        if findings:
            self._judge(runner, findings, step)
        if self._is_guarding(runner):
            self._check_skips(runner, step)

    def _judge(self, runner: RunnerLike, findings: list[Finding], step: int) -> None:
        """Act on findings that count; name the others in the log."""
        scaled = _has_scaler(runner.optim_wrapper)
        deciding = [
            found for found in findings if self.watch.search(found.name) and not (scaled and "grad" in found.name)
        ]
        if not deciding or self._is_guarding(runner):
            runner.logger.warning(f"{_place(findings[0], step)}: {in_words(findings)}.")
            return
        first = deciding[0]
        named = in_words(found for found in findings if found.step == first.step)
        self._act(runner, f"{_place(first, step)}: {named}", step, first.step)

    def _act(self, runner: RunnerLike, reason: str, step: int, first: int | None = None) -> None:
        if self.policy != "rollback":
            error = NonFiniteError(f"{reason}. {_ADVICE}")
            error.step = first
            raise error
        self._guarded_until = max(self._guarded_until, step)
        raise RollBack(self, reason)

    def _is_guarding(self, runner: RunnerLike) -> bool:
        return self.policy == "skip" or self._guarded_until > 0

    def _check_skips(self, runner: RunnerLike, step: int) -> None:
        """Give up when nothing but skips is left; end the guard of a stretch that is passed."""
        in_row = getattr(runner.optim_wrapper, "skipped_in_row", 0)
        if in_row >= self.max_skips:
            raise NonFiniteError(
                f"the last {in_row} updates, up to step {step}, were left out because gradients were not finite "
                f"(max_skips={self.max_skips}): the run does not learn any more. {_ADVICE}"
            )
        if self.policy == "rollback" and step > self._guarded_until:
            self._guarded_until = 0
            _guard(runner, False)


_ADVICE = (
    "A lower learning rate, warm-up (LinearLR) or clip_grad=dict(max_norm=1.0) often helps; "
    "torch.autograd.set_detect_anomaly(True) finds the operation."
)


def _guard(runner: RunnerLike, on: bool) -> None:
    if hasattr(runner.optim_wrapper, "skip_non_finite"):
        runner.optim_wrapper.skip_non_finite = on


def _has_scaler(optim_wrapper: Any) -> bool:
    members = optim_wrapper.values() if hasattr(optim_wrapper, "values") else [optim_wrapper]
    return any(getattr(member, "loss_scaler", None) is not None for member in members)


def _place(found: Finding, step: int) -> str:
    return f"step {found.step}" if found.step is not None else f"a step up to {step}"


def _record_of(runner: RunnerLike) -> int | None:
    """When the record of the newest checkpoint was written, in nanoseconds; None where there is none."""
    path = os.path.join(runner.work_dir, "last_checkpoint")
    return os.stat(path).st_mtime_ns if os.path.exists(path) else None


def _parsed(policy: Any) -> tuple[str, int]:
    """The policy's name, and how many checkpoints to go back.

    Raises:
        ArgumentError: there is no such policy.
    """
    counted = _ROLLBACK.fullmatch(str(policy))
    if counted is not None and int(counted[1]) > 0:
        return "rollback", int(counted[1])
    if policy not in _POLICIES:
        hint = did_you_mean(str(policy), _POLICIES)
        raise ArgumentError(f"policy must be 'raise', 'skip', 'rollback' or 'rollback(n)', got {policy!r}.{hint}")
    return policy, 1


def _checked_count(name: str, value: Any) -> int:
    if type(value) is not int:
        raise ArgumentTypeError(f"{name} takes a whole number, got {value!r} of type {type(value).__name__}.")
    if value < 1:
        raise ArgumentError(f"{name} takes a number of at least 1, got {value}.")
    return value
