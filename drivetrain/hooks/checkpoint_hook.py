"""Save checkpoints: at an interval, at the end, and at the best result."""

from __future__ import annotations

import inspect
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union

from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.fileio import join_path, put_text
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike

from . import _best
from ._retention import publish, remove_files, take_surplus
from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves the run every `interval` epochs or iterations, at its end, and whenever a metric is best.

    The newest `max_keep_ckpts` stay. A file is deleted only after the one that replaces it is complete. The text file
    `last_checkpoint` in the work_dir names the newest. Best checkpoints are complete: a run can be resumed from them.
    What is kept and what was best stands in the message hub, so a resumed run goes on where it was.

    Args:
        interval: save every so many epochs or iterations; -1 is never.
        by_epoch: count epochs, else iterations.
        save_optimizer: save the optimizer's state too.
        save_param_scheduler: save the schedules' states too.
        out_dir: folder or URL; checkpoints go to `out_dir/<name of work_dir>`. None is the work_dir itself.
        max_keep_ckpts: how many regular checkpoints stay; -1 is all.
        save_last: save at the end of training, whatever the interval.
        save_best: a metric, several, or 'auto' (the first of the first evaluation), whose best result is kept.
        rule: 'greater' or 'less', one for all metrics or one for each; None infers it from the metric's name.
        greater_keys: names and parts of names of metrics of which more is better; None is the default list.
        less_keys: the same for less.
        file_client_args: the old name of `backend_args`.
        filename_tmpl: name of a file, with `{}` for the number; `epoch_{}.pth` or `iter_{}.pth` when None.
        backend_args: options of a remote storage.
        published_keys: at the end of training, write copies of the last and best checkpoints with these keys alone.
        save_begin: first epoch or iteration at which a checkpoint is saved.
        **kwargs: handed to `runner.save_checkpoint`.

    Raises:
        ArgumentError, ArgumentTypeError, NotFoundError: an argument is wrong; see the message.
    """

    out_dir: str
    priority = "VERY_LOW"
    rule_map = _best.RULES
    init_value_map = {"greater": -math.inf, "less": math.inf}
    _default_greater_keys = _best.GREATER_KEYS
    _default_less_keys = _best.LESS_KEYS

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: Union[str, Path, None] = None,  # noqa: UP007
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: Union[str, list[str], None] = None,  # noqa: UP007
        rule: Union[str, list[str], None] = None,  # noqa: UP007
        greater_keys: Sequence[str] | None = None,
        less_keys: Sequence[str] | None = None,
        file_client_args: dict[str, Any] | None = None,
        filename_tmpl: str | None = None,
        backend_args: dict[str, Any] | None = None,
        published_keys: Union[str, list[str], None] = None,  # noqa: UP007
        save_begin: int = 0,
        **kwargs: Any,
    ) -> None:
        _check_counts(interval, max_keep_ckpts, save_begin)
        if file_client_args is not None and backend_args is not None:
            raise ArgumentError("file_client_args and backend_args say the same thing: keep backend_args alone.")
        self.interval = interval
        self.by_epoch = by_epoch
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_begin = save_begin
        self.args = kwargs
        self.file_client_args = file_client_args
        self.backend_args = backend_args
        self.published_keys = _best.parse_names("published_keys", published_keys)
        self.filename_tmpl = _check_template(filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth"))
        self.greater_keys = _best.parse_names("greater_keys", greater_keys) or list(self._default_greater_keys)
        self.less_keys = _best.parse_names("less_keys", less_keys) or list(self._default_less_keys)
        self.save_best = save_best
        self._given_out_dir = None if out_dir is None else os.fspath(out_dir)
        self.out_dir = self._given_out_dir or ""
        self.last_ckpt: str | None = None
        self.keep_ckpt_ids: deque[int] = deque()
        self.best_ckpt_path: str | None = None
        self.best_ckpt_path_dict: dict[str, str | None] = {}
        self._training = False
        self._given_rule = rule
        self._init_rule(rule, _best.parse_indicators(save_best))

    def before_train(self, runner: RunnerLike) -> None:
        """Find the folder, and take up rotation and best scores where a resumed run left them.

        Raises:
            ArgumentTypeError: `runner.save_checkpoint` does not know an argument that this hook was given.
        """
        _check_extra(self.args, runner)
        self.out_dir = _folder(self._given_out_dir, runner.work_dir, self._storage)
        if self._given_out_dir is not None:
            runner.logger.info(f"Checkpoints will be saved to {self.out_dir}.")
        if self.save_best is not None and runner.val_loop is None:
            runner.logger.warning(f"save_best={self.save_best!r} has no effect: the run has no validation loop.")
        hub = runner.message_hub
        self.last_ckpt = hub.get_info("last_ckpt")
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(hub.get_info("keep_ckpt_ids", []))
            self._drop(take_surplus(self.keep_ckpt_ids, self.max_keep_ckpts))
        for key in self.key_indicators:
            self._note_best(key, hub.get_info(self._best_name("best_ckpt", key)))
        self._training = True

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Save if an epoch is due."""
        if not self.by_epoch:
            return
        done = runner.epoch + 1
        if self._due(done) or (self.save_last and self.is_last_train_epoch(runner)):
            runner.logger.info(f"Saving checkpoint at {done} epochs")
            self._save_checkpoint(runner)

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any = None,
    ) -> None:
        """Save if an iteration is due."""
        if self.by_epoch:
            return
        done = runner.iter + 1
        if self._due(done) or (self.save_last and self.is_last_train_iter(runner)):
            runner.logger.info(f"Saving checkpoint at {done} iterations")
            self._save_checkpoint(runner)

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None) -> None:  # type: ignore[override]
        """Save if a watched metric is better than it ever was.

        Raises:
            NotFoundError: the evaluation did not give a watched metric.
            MetricError: a watched metric is no number.
        """
        if self.save_best is None or not self._training:
            return
        if not metrics:
            runner.logger.warning("The evaluation gave no metrics: no best checkpoint is saved this time.")
            return
        for hook in getattr(runner, "hooks", ()):
            # The file must hold what hooks that come after this one make of the result.
            if hasattr(hook, "count_result"):
                hook.count_result(runner, metrics)
        self._save_best_checkpoint(runner, metrics)

    def after_train(self, runner: RunnerLike) -> None:
        """Save a run that was stopped early, and publish."""
        self._training = False
        if self.save_last and getattr(runner.train_loop, "stop_training", False):
            self._save_stopped(runner)
        if self.published_keys:
            for path in filter(None, [self.last_ckpt, self.best_ckpt_path, *self.best_ckpt_path_dict.values()]):
                self._publish_model(runner, path)

    @property
    def _storage(self) -> dict[str, Any] | None:
        return self.backend_args if self.file_client_args is None else self.file_client_args

    def _due(self, done: int) -> bool:
        since = done - self.save_begin
        return self.interval > 0 and since >= 0 and since % self.interval == 0

    def _save_checkpoint(self, runner: RunnerLike) -> None:
        """Save the epoch or iteration that is ending."""
        step = runner.epoch + 1 if self.by_epoch else runner.iter + 1
        self._save_checkpoint_with_step(runner, step, meta=None)

    def _save_checkpoint_with_step(self, runner: RunnerLike, step: int, meta: dict[str, Any] | None) -> None:
        """Save a regular checkpoint called after `step`, then delete what is too old.

        The hub is told first: the file itself must know which files are there, for the run that resumes from it.
        """
        surplus = []
        if self.max_keep_ckpts > 0:
            if step not in self.keep_ckpt_ids:
                self.keep_ckpt_ids.append(step)
            surplus = take_surplus(self.keep_ckpt_ids, self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(join_path(self.out_dir, name, backend_args=self._storage))
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        self._write(runner, name, meta)
        if is_main_process():
            put_text(self.last_ckpt, join_path(runner.work_dir, "last_checkpoint"))
        self._drop(surplus)

    def _write(self, runner: RunnerLike, name: str, meta: dict[str, Any] | None) -> None:
        runner.save_checkpoint(
            self.out_dir,
            filename=name,
            file_client_args=self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )

    def _drop(self, steps: Sequence[int]) -> None:
        remove_files(self.out_dir, [self.filename_tmpl.format(step) for step in steps], self._storage)

    def _save_stopped(self, runner: RunnerLike) -> None:
        """Save where training was stopped before its end, unless that was just saved."""
        step = runner.epoch if self.by_epoch else runner.iter
        if step > 0 and self.filename_tmpl.format(step) != os.path.basename(self.last_ckpt or ""):
            runner.logger.info(f"Saving checkpoint at {step} {'epochs' if self.by_epoch else 'iterations'}")
            self._save_checkpoint_with_step(runner, step, meta=_position(runner))

    def _save_best_checkpoint(self, runner: RunnerLike, metrics: dict[str, Any]) -> None:
        """Save one complete checkpoint for every metric that is better than ever; then delete the previous best."""
        if self.key_indicators == [_best.AUTO]:
            self._init_rule(self._given_rule, [next(iter(metrics))])
            self._note_best(self.key_indicators[0], runner.message_hub.get_info("best_ckpt"))
        step, unit = (runner.epoch, "epoch") if self.by_epoch else (runner.iter, "iter")
        better = [key for key in self.key_indicators if self._is_best(runner, key, _best.score_of(metrics, key))]
        regular = self.filename_tmpl.format(step)
        previous = {key: self._best_of(key) for key in better}
        names = {key: f"best_{key.replace('/', '_')}_{regular}" for key in better}
        for key in better:
            path = str(join_path(self.out_dir, names[key], backend_args=self._storage))
            self._note_best(key, path)
            runner.message_hub.update_info(self._best_name("best_score", key), _best.score_of(metrics, key))
            runner.message_hub.update_info(self._best_name("best_ckpt", key), path)
        for key in better:
            self._write(runner, names[key], _position(runner))
            self._remove_previous(runner, previous[key], names[key])
            score = _best.score_of(metrics, key)
            runner.logger.info(
                f"The best checkpoint with {score:0.4f} {key} at {step} {unit} is saved to {names[key]}."
            )
        if better and regular == os.path.basename(self.last_ckpt or ""):
            # It was saved before this validation: whoever resumes from it must know the new best.
            self._save_checkpoint_with_step(runner, step, meta=_position(runner))

    def _is_best(self, runner: RunnerLike, key: str, score: float) -> bool:
        start = self.init_value_map[self.rules[self.key_indicators.index(key)] or "greater"]
        return self.is_better_than[key](score, runner.message_hub.get_info(self._best_name("best_score", key), start))

    def _remove_previous(self, runner: RunnerLike, previous: str | None, name: str) -> None:
        """Delete the former best, only in our own folder: a copied run's hub names files of its original."""
        former = os.path.basename(previous or "")
        if former and former != name:
            remove_files(self.out_dir, [former], self._storage)
            runner.logger.info(f"The previous best checkpoint {previous} is removed")

    def _best_name(self, info: str, key: str) -> str:
        return info if len(self.key_indicators) == 1 else f"{info}_{key}"

    def _best_of(self, key: str) -> str | None:
        return self.best_ckpt_path if len(self.key_indicators) == 1 else self.best_ckpt_path_dict.get(key)

    def _note_best(self, key: str, path: str | None) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key] = path

    def _init_rule(self, rules: Any, key_indicators: Any) -> None:
        """Set what is watched and what better means; 'auto' waits for the first evaluation."""
        self.key_indicators: list[str] = list(key_indicators)
        self.rules = [
            rule if rule is not None or key == _best.AUTO else _best.infer_rule(key, self.greater_keys, self.less_keys)
            for rule, key in zip(_best.parse_rules(rules, self.key_indicators), self.key_indicators, strict=True)
        ]
        self.is_better_than: dict[str, Callable[[Any, Any], bool]] = {
            key: self.rule_map[rule]
            for rule, key in zip(self.rules, self.key_indicators, strict=True)
            if rule is not None
        }

    def _publish_model(self, runner: RunnerLike, ckpt_path: str) -> None:
        """Write the copy of a checkpoint that is meant for others."""
        publish(ckpt_path, self.published_keys, self._storage, runner.logger)


def _check_counts(interval: int, max_keep_ckpts: int, save_begin: int) -> None:
    for name, value in (("interval", interval), ("max_keep_ckpts", max_keep_ckpts), ("save_begin", save_begin)):
        if type(value) is not int:
            raise ArgumentTypeError(f"{name} takes a whole number, got {value!r} of type {type(value).__name__}.")
    if interval < 1 and interval != -1:
        raise ArgumentError(f"interval takes a number of at least 1, or -1 for never, got {interval}.")
    if max_keep_ckpts < -1:
        raise ArgumentError(f"max_keep_ckpts takes a number of at least 1, or -1 for all, got {max_keep_ckpts}.")
    if save_begin < 0:
        raise ArgumentError(f"save_begin takes a number of at least 0, got {save_begin}.")


def _check_template(template: str) -> str:
    """Refuse a name without a number in it: each save would replace, and rotation delete, the only file."""
    try:
        distinct = template.format(1) != template.format(2)
    except (KeyError, IndexError, ValueError):
        distinct = False
    if not distinct:
        raise ArgumentError(
            f"filename_tmpl={template!r} must hold '{{}}' once, for the number: for example 'epoch_{{}}.pth'."
        )
    return template


def _check_extra(extra: dict[str, Any], runner: RunnerLike) -> None:
    """Refuse, before training, what `runner.save_checkpoint` would refuse at the first save."""
    taken = inspect.signature(runner.save_checkpoint).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    known = {*taken, *inspect.signature(CheckpointHook.__init__).parameters}
    for name in extra:
        if name not in taken:
            raise ArgumentTypeError(
                f"CheckpointHook got {name}={extra[name]!r}, which neither it nor runner.save_checkpoint takes."
                f"{did_you_mean(name, known)}"
            )


def _folder(out_dir: str | None, work_dir: str, storage: dict[str, Any] | None) -> str:
    """Where checkpoints go: the work_dir, or a folder of its name in `out_dir`."""
    if out_dir is None:
        return work_dir
    return str(join_path(out_dir, os.path.basename(work_dir.rstrip(os.sep)), backend_args=storage))


def _position(runner: RunnerLike) -> dict[str, int]:
    """The counters as they are: after the epoch they already count it."""
    return {"epoch": runner.epoch, "iter": runner.iter}
