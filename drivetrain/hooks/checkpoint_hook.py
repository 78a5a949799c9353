"""Save checkpoints: at an interval, at the end, and at the best result."""

from __future__ import annotations

import inspect
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Union

from drivetrain.checkpoint import CheckpointWriter
from drivetrain.dist import is_main_process
from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.fileio import join_path, put_text
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike
from drivetrain.utils import Interval, Ticker

from . import _best
from ._intervals import epochs_by_steps, read_interval, start_ticker
from ._retention import any_process, check_kept, link_file, publish, remove_files, sweep, take_surplus
from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Saves the run every `interval` epochs or iterations, at its end, and whenever a metric is best.

    The newest `max_keep_ckpts` stay, and every `keep_every`th. A file is deleted only after the one that replaces it is
    complete. The text file `last_checkpoint` in the work_dir names the newest. Best checkpoints are complete: a
    run can be resumed from them. Where a best and a regular file are of the same step, they are one file with two
    names. What is kept and what was best stands in the message hub, so a resumed run goes on where it was.

    Args:
        interval: save every so many epochs or iterations, or at an interval such as '500it', '0.25ep' or '10min'; -1
            is never.
        by_epoch: count epochs, else iterations. An interval with a unit of its own counts in that; what is not whole
            epochs is named, and `save_begin` counted, by iteration.
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
        async_save: copy the state to the host and write it in the background. It takes host memory for one more copy.
            `last_checkpoint` and rotation follow when the file is complete; a save that failed raises at the next step.
        on_busy: what a save does while the former is being written: 'wait' for it, or 'drop', leave itself out. The
            last save, a best one, and one at a signal always wait.
        keep_best: how many of the best stay for each metric of `save_best`.
        keep_every: regular checkpoints at multiples of this number stay for ever, and count for no `max_keep_ckpts`.
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
        interval: Union[int, str] = -1,  # noqa: UP007
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
        *,
        async_save: bool = False,
        on_busy: str = "wait",
        keep_best: int = 1,
        keep_every: int | None = None,
        **kwargs: Any,
    ) -> None:
        every, by_epoch = read_interval(interval, by_epoch)
        _check_counts(-1 if type(every) is Interval else every, max_keep_ckpts, save_begin)
        check_kept(keep_best, keep_every, on_busy)
        if file_client_args is not None and backend_args is not None:
            raise ArgumentError("file_client_args and backend_args say the same thing: keep backend_args alone.")
        self._given_interval = interval
        self.interval: Any = every
        self._ticker: Ticker | None = None
        self._clock: dict[str, Any] | None = None
        self.by_epoch = by_epoch
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_begin = save_begin
        self.on_busy = on_busy
        self.keep_best = keep_best
        self.keep_every = keep_every
        self._writer = CheckpointWriter(background=async_save)
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
        steps = epochs_by_steps(runner, self._given_interval, self.interval if self.by_epoch else None)
        if steps is not None:
            self.interval, self.by_epoch = steps, False
            self.filename_tmpl = "iter_{}.pth" if self.filename_tmpl == "epoch_{}.pth" else self.filename_tmpl
        self._ticker = start_ticker(runner, self.interval, self._clock)
        self.out_dir = _folder(self._given_out_dir, runner.work_dir, self._storage)
        if self._given_out_dir is not None:
            runner.logger.info(f"Checkpoints will be saved to {self.out_dir}.")
        if self.save_best is not None and runner.val_loop is None:
            runner.logger.warning(f"save_best={self.save_best!r} has no effect: the run has no validation loop.")
        if self._storage is None:
            sweep(self.out_dir)
        hub = runner.message_hub
        self.last_ckpt = hub.get_info("last_ckpt")
        remove_files(self.out_dir, hub.get_info("surplus_ckpts", []), self._storage)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(hub.get_info("keep_ckpt_ids", []))
            remove_files(
                self.out_dir, self._names(take_surplus(self.keep_ckpt_ids, self.max_keep_ckpts)), self._storage
            )
        for key in self.key_indicators:
            self._note_best(key, hub.get_info(self._best_name("best_ckpt", key)))
        self._training = True

    def after_train_epoch(self, runner: RunnerLike) -> None:
        """Save if an epoch is due."""
        if not self.by_epoch:
            return
        done = runner.epoch + 1
        is_last = self.save_last and self.is_last_train_epoch(runner)
        if is_last or (self._due(done) and self._is_ready(runner)):
            runner.logger.info(f"Saving checkpoint at {done} epochs")
            self._save_checkpoint(runner)

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Any = None,
    ) -> None:
        """Save if an iteration is due.

        Raises:
            CheckpointError: a save in the background failed.
        """
        if self._writer.failure is not None:
            self._writer.check()
        if self.by_epoch:
            return
        done = runner.iter + 1
        is_last = self.save_last and self.is_last_train_iter(runner)
        if is_last or (self._due(done) and self._is_ready(runner)):
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
        """Save a run that was stopped early, wait until all is on the disk, and publish."""
        self._training = False
        if self.save_last and getattr(runner.train_loop, "stop_training", False):
            self._save_stopped(runner)
        self._writer.wait()
        if self.published_keys:
            for path in filter(None, [self.last_ckpt, self.best_ckpt_path, *self.best_ckpt_path_dict.values()]):
                self._publish_model(runner, path)

    def release_on_error(self) -> None:
        """Training ended in an error: let the file that is being written be complete before that is raised."""
        self._writer.join()

    def _is_ready(self, runner: RunnerLike) -> bool:
        """Whether a save may begin: with on_busy='drop', only when the former is written."""
        if self.on_busy == "wait" or not any_process(self._writer.busy):
            return True
        runner.logger.warning("A checkpoint is left out: the former one is still being written (on_busy='drop').")
        return False

    @property
    def _storage(self) -> dict[str, Any] | None:
        return self.backend_args if self.file_client_args is None else self.file_client_args

    def _due(self, done: int) -> bool:
        if self._ticker is not None:
            return self._ticker.due(done) and done >= self.save_begin
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
            if step not in self.keep_ckpt_ids and not (self.keep_every and step % self.keep_every == 0):
                self.keep_ckpt_ids.append(step)
            surplus = take_surplus(self.keep_ckpt_ids, self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        interim = self._note_interim(runner, None)
        self._save_as(runner, self.filename_tmpl.format(step), meta, self._names(surplus) + interim)

    def _save_as(self, runner: RunnerLike, name: str, meta: dict[str, Any] | None, drop: Sequence[str]) -> None:
        """Save under a name, note in the hub and in `last_checkpoint` that it is the newest, then delete others."""
        path = self.last_ckpt = str(join_path(self.out_dir, name, backend_args=self._storage))
        runner.message_hub.update_info("last_ckpt", path)
        self._note_surplus(runner, drop)
        record = join_path(runner.work_dir, "last_checkpoint")
        with self._writer.saving() as batch:
            self._write(runner, name, meta)
            if is_main_process():
                batch.then(partial(put_text, path, record))
            batch.then(partial(remove_files, self.out_dir, drop, self._storage))

    def _note_surplus(self, runner: RunnerLike, names: Sequence[str]) -> None:
        """Let the file know what goes once it is complete: a run that is killed before that deletes it on resume."""
        if names or runner.message_hub.get_info("surplus_ckpts"):
            runner.message_hub.update_info("surplus_ckpts", list(names))

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

    def _names(self, steps: Sequence[int]) -> list[str]:
        return [self.filename_tmpl.format(step) for step in steps]

    def _save_stopped(self, runner: RunnerLike) -> None:
        """Save where training was stopped before its end, unless that was just saved."""
        step = runner.epoch if self.by_epoch else runner.iter
        if step > 0 and self.filename_tmpl.format(step) != os.path.basename(self.last_ckpt or ""):
            runner.logger.info(f"Saving checkpoint at {step} {'epochs' if self.by_epoch else 'iterations'}")
            self._save_checkpoint_with_step(runner, step, meta=_position(runner))

    def state_dict(self) -> dict[str, Any]:
        """How long ago the last save was, where saves come by time."""
        return {} if self._ticker is None else self._ticker.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._clock = dict(state)

    def save_now(self, runner: RunnerLike, meta: dict[str, int]) -> str:
        """Save the run as it stands, between two regular saves; returns the path.

        The file is called after the iteration. It gives way to the next save where not all files are to stay.

        Args:
            runner: the runner.
            meta: `epoch` and `iter` that the resumed run begins with.
        """
        step = meta["iter"]
        name = ("iter_{}.pth" if self.by_epoch else self.filename_tmpl).format(step)
        if name == os.path.basename(self.last_ckpt or ""):
            self._writer.wait()
            return str(self.last_ckpt)
        runner.logger.info(f"Saving checkpoint at {step} iterations")
        if self.by_epoch:
            former = self._note_interim(runner, name)
            self._save_as(runner, name, meta, former)
        else:
            self._save_checkpoint_with_step(runner, step, meta=meta)
        self._writer.wait()
        return str(self.last_ckpt)

    def _note_interim(self, runner: RunnerLike, name: str | None) -> list[str]:
        """Note the file that lies between two regular saves, or that there is none; the former, if it is to go."""
        former = runner.message_hub.get_info("interim_ckpt")
        if name is not None or former is not None:
            runner.message_hub.update_info("interim_ckpt", name)
        return [former] if former is not None and former != name and self.max_keep_ckpts > 0 else []

    def _save_best_checkpoint(self, runner: RunnerLike, metrics: dict[str, Any]) -> None:
        """Save one complete checkpoint for every metric that is better than ever; then delete the previous best."""
        if self.key_indicators == [_best.AUTO]:
            self._init_rule(self._given_rule, [next(iter(metrics))])
            self._note_best(self.key_indicators[0], runner.message_hub.get_info("best_ckpt"))
        # A validation inside an epoch is no result of the epoch before it, nor of its file.
        by_step = not self.by_epoch or getattr(runner.train_loop, "inside_epoch", False)
        template = "iter_{}.pth" if by_step and self.by_epoch else self.filename_tmpl
        regular = template.format(runner.iter if by_step else runner.epoch)
        entered: dict[str, str] = {}
        dropped: list[str] = []
        for key in self.key_indicators:
            name = f"best_{key.replace('/', '_')}_{regular}"
            former = self._enter(runner, key, _best.score_of(metrics, key), name)
            if former is not None:
                entered[key] = name
                dropped += former
        if entered:
            self._write_best(runner, entered, regular, dropped)

    def _enter(self, runner: RunnerLike, key: str, score: float, name: str) -> list[str] | None:
        """Note a result that is among the best of its metric; files that give way, or None where it is not."""
        hub = runner.message_hub
        start = self.init_value_map[self.rules[self.key_indicators.index(key)] or "greater"]
        best = [hub.get_info(self._best_name("best_score", key), start), self._best_of(key)]
        ranking = hub.get_info(self._best_name("best_ckpts", key), [best])
        path = str(join_path(self.out_dir, name, backend_args=self._storage))
        entry = _best.Entry(score, path)
        found = _best.enter([_best.Entry(*each) for each in ranking], entry, self.keep_best, self.is_better_than[key])
        if found is None:
            return None
        self._note_best(key, found.ranking[0].path)
        hub.update_info(self._best_name("best_score", key), found.ranking[0].score)
        hub.update_info(self._best_name("best_ckpt", key), found.ranking[0].path)
        if self.keep_best > 1:
            hub.update_info(self._best_name("best_ckpts", key), [list(each) for each in found.ranking])
        # Only in our own folder: the hub of a copied run names files of its original.
        return [os.path.basename(each) for each in found.dropped]

    def _write_best(self, runner: RunnerLike, entered: dict[str, str], regular: str, dropped: Sequence[str]) -> None:
        """Write one file, give it all its names, and delete what it replaces.

        The regular file of the same step was saved before the validation: whoever resumes from it must know the new
        best too.
        """
        first, *others = entered.values()
        self._note_surplus(runner, dropped)
        step, unit = (runner.epoch, "epoch") if self.by_epoch else (runner.iter, "iter")
        with self._writer.saving() as batch:
            self._write(runner, first, _position(runner))
            for name in [*others, regular] if regular == os.path.basename(self.last_ckpt or "") else others:
                if self._storage is None and "://" not in self.out_dir:
                    batch.then(partial(link_file, self.out_dir, first, name))
                else:
                    self._write(runner, name, _position(runner))
            batch.then(partial(remove_files, self.out_dir, dropped, self._storage))
            for name in dropped:
                batch.then(partial(runner.logger.info, f"The previous best checkpoint {name} is removed"))
            for key, name in entered.items():
                score = runner.message_hub.get_info(self._best_name("best_score", key))
                said = f"The best checkpoint with {score:0.4f} {key} at {step} {unit} is saved to {name}."
                batch.then(partial(runner.logger.info, said))

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
